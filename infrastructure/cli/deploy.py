"""Roll a built Bento out on this machine: ready and right first, then switched.

The current release serves until the new one has answered its golden requests.
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
    recorded,
)
from infrastructure.deployment.local import Build
from infrastructure.deployment.variables import named_variables
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is deployed, and where."""
    add_environment_and_port(parser)
    parser.add_argument("--bento", type=Path, required=True, help="receipt of bento-build")
    parser.add_argument("--workers", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--replace", action="store_true", help="take the place of another model")
    add_patience(parser)


def run(args: argparse.Namespace) -> None:
    """Deploy."""
    settings = Settings.load()
    environment = open_environment(args, settings)
    build, named = _built(args.bento), named_variables()
    environment.prepare(build)
    with recorded("deploy", args, settings, environment):
        environment.deploy(build, args.workers, named, args.replace)


def _built(receipt: Path) -> Build:
    """What a receipt of bento-build stands for; the Bento lies in the same folder."""
    try:
        built = json.loads(receipt.read_text(encoding="utf-8"))
        return Build(receipt.parent / "bento", built["version"], built["bento_tag"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeploymentError(f"{receipt} is not a receipt of bento-build: run it again") from error
