"""Check that a deployed service reproduces its golden predictions."""

from __future__ import annotations

import argparse

from domain.errors import DeploymentError
from infrastructure.cli._releases import add_environment_and_port, open_environment
from infrastructure.deployment.targets import recorded_place
from shared.console import show_step
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the environment and its port."""
    add_environment_and_port(parser)


def run(args: argparse.Namespace) -> None:
    """Send the golden requests."""
    if place := recorded_place(Settings.load().releases_dir / args.env):
        raise DeploymentError(
            f"{args.env} runs on {place.target}, where every deployment checks them; make status "
            "shows its health"
        )
    version = open_environment(args, Settings.load()).smoke()
    show_step("smoke", f"{args.env} reproduces its golden predictions, version {version}")
