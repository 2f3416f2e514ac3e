"""Start again what is deployed in an environment, as after a reboot, and keep it running.

With --at-boot, a systemd user unit does so from now on whenever the machine boots.
"""

from __future__ import annotations

import argparse

from infrastructure.cli._releases import add_environment_and_port, add_patience, open_environment
from shared.console import show_step
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the environment, the time limit and whether to start at boot."""
    add_environment_and_port(parser)
    add_patience(parser)
    parser.add_argument(
        "--at-boot", action="store_true", help="let systemd start it whenever the machine boots"
    )


def run(args: argparse.Namespace) -> None:
    """Start what has ended."""
    environment = open_environment(args, Settings.load())
    version = environment.start(args.at_boot)
    show_step(
        "started", f"{args.env} serves version {version} at http://127.0.0.1:{environment.port}"
    )
