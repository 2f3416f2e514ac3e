"""Check that a deployed service answers its golden requests right."""

from __future__ import annotations

import argparse

from infrastructure.cli._releases import add_environment_and_port, open_environment
from shared.console import show_step
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which environment is checked."""
    add_environment_and_port(parser)


def run(args: argparse.Namespace) -> None:
    """Send the golden requests."""
    version = open_environment(args, Settings.load()).smoke()
    show_step("smoke", f"{args.env} answers right, version {version}")
