"""Deploy a built Bento on this machine without interrupting the service.

The current release serves until the new one is ready and has reproduced its golden predictions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from infrastructure.cli._arguments import valid_workers
from infrastructure.cli._releases import (
    add_environment_and_port,
    add_patience,
    open_environment,
    record_change,
)
from infrastructure.compute.receipts import read_build
from infrastructure.deployment.local import Build
from infrastructure.deployment.variables import explicit_variables
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the Bento, the environment and how to deploy."""
    add_environment_and_port(parser)
    parser.add_argument("--bento", type=Path, required=True, help="receipt of bento-build")
    parser.add_argument(
        "--workers", type=valid_workers, default=1, help="processes (default: %(default)s)"
    )
    parser.add_argument("--replace", action="store_true", help="allow replacing another model")
    add_patience(parser)


def run(args: argparse.Namespace) -> None:
    """Deploy."""
    settings = Settings.load()
    environment = open_environment(args, settings)
    built, explicit = read_build(args.bento), explicit_variables()
    build = Build(args.bento.parent / "bento", built["version"], built["bento_tag"])
    with record_change("deploy", args, settings, environment, build):
        environment.deploy(build, args.workers, explicit, args.replace)
