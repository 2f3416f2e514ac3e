"""Stop what is deployed in an environment."""

from __future__ import annotations

import argparse

from infrastructure.cli._releases import add_environment_and_port, open_environment, recorded
from shared.console import show_step
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which environment is stopped."""
    add_environment_and_port(parser)


def run(args: argparse.Namespace) -> None:
    """Stop front and release."""
    settings = Settings.load()
    environment = open_environment(args, settings)
    with recorded("stop", args, settings, environment):
        stopped = environment.stop()
    show_step("stopped" if stopped else "nothing", f"in {args.env}")
