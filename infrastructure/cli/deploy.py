"""Deploy a built Bento on this machine without interrupting the service.

The current release serves until the new one is ready and has reproduced its golden predictions.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from domain.errors import DeploymentError
from infrastructure.cli._releases import (
    add_environment_and_port,
    add_patience,
    open_environment,
    record_change,
)
from infrastructure.deployment.local import Build
from infrastructure.deployment.variables import explicit_variables
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the Bento, the environment and how to deploy."""
    add_environment_and_port(parser)
    parser.add_argument("--bento", type=Path, required=True, help="receipt of bento-build")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--replace", action="store_true", help="allow replacing another model")
    add_patience(parser)


def run(args: argparse.Namespace) -> None:
    """Deploy."""
    settings = Settings.load()
    environment = open_environment(args, settings)
    build, explicit = _read_build(args.bento), explicit_variables()
    with record_change("deploy", args, settings, environment, build):
        environment.deploy(build, args.workers, explicit, args.replace)


def _read_build(receipt: Path) -> Build:
    """The build that a receipt of bento-build describes; its Bento is in the same folder."""
    try:
        built = json.loads(receipt.read_text(encoding="utf-8"))
        return Build(receipt.parent / "bento", built["version"], built["bento_tag"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeploymentError(
            f"{receipt} is not a receipt of bento-build: run make bento-build again"
        ) from error
