"""Roll the previous release of an environment out again, with its own settings."""

from __future__ import annotations

import argparse

from infrastructure.cli._releases import (
    add_environment_and_port,
    add_patience,
    open_environment,
    recorded,
)
from infrastructure.deployment.variables import named_variables
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which environment is rolled back."""
    add_environment_and_port(parser)
    add_patience(parser)


def run(args: argparse.Namespace) -> None:
    """Roll back."""
    settings, named = Settings.load(), named_variables()
    environment = open_environment(args, settings)
    with recorded("rollback", args, settings, environment):
        environment.rollback(named)
