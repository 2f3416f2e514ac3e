"""Show the last lines that the service, its front and its supervisor have logged."""

from __future__ import annotations

import argparse
import subprocess
from contextlib import suppress

from domain.errors import DeploymentError
from infrastructure.cli._arguments import add_environment, valid_count
from infrastructure.cli._targets import recorded_target
from infrastructure.deployment.local import LocalEnvironment
from shared.console import show_line
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the environment and what to show."""
    add_environment(parser)
    parser.add_argument(
        "--lines", type=valid_count, default=50, help="of each log (default: %(default)s)"
    )
    parser.add_argument("--follow", action="store_true", help="show new lines, too, until Ctrl-C")


def run(args: argparse.Namespace) -> None:
    """Show the logs."""
    folder = Settings.load().releases_dir / args.env
    with recorded_target(folder) as target:
        if target:
            if args.follow:
                raise DeploymentError(f"TARGET={target.place.target} does not have FOLLOW")
            for line in target.running.logs(args.lines).splitlines():
                show_line(line)
            return
    logs = LocalEnvironment(folder).logs()
    if not logs:
        raise DeploymentError(f"nothing was deployed in {args.env}: run make deploy ENV={args.env}")
    follow = ("-F",) if args.follow else ()
    with suppress(KeyboardInterrupt):
        command = ["tail", "-n", str(args.lines), *follow, *logs]
        subprocess.run(command, check=False)
