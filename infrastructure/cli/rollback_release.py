"""Deploy the previous release of an environment again, with its own settings.

While there is a canary, this only ends the canary.
"""

from __future__ import annotations

import argparse

from infrastructure.cli._releases import (
    add_environment_and_port,
    add_patience,
    open_environment,
    record_change,
)
from infrastructure.cli._targets import recorded_target, roll_back
from infrastructure.deployment.variables import explicit_variables
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the environment, its port and the time limit."""
    add_environment_and_port(parser)
    add_patience(parser)


def run(args: argparse.Namespace) -> None:
    """Deploy the previous release again."""
    settings, explicit = Settings.load(), explicit_variables()
    folder = settings.releases_dir / args.env
    with recorded_target(folder) as target:
        if target:
            roll_back(target, folder)
            return
    environment = open_environment(args, settings)
    with record_change("rollback", args, settings, environment):
        environment.rollback(explicit)
