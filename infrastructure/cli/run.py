"""Serve the champion from the source files, reloading when they change."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from domain.errors import DeploymentError
from infrastructure.cli._arguments import add_port
from infrastructure.deployment.local import DEFAULT_PORT, check_free
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the champion and the port."""
    parser.add_argument("--champion", type=Path, required=True, help="receipt of the promotion")
    add_port(parser, DEFAULT_PORT)


def run(args: argparse.Namespace) -> None:
    """Replace this process with BentoML's development server."""
    try:
        champion = json.loads(args.champion.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DeploymentError("accepted, not promoted yet: run make promote") from error
    check_free(args.port, Settings.load().releases_dir)
    command = [
        *(sys.executable, "-m", "bentoml", "serve", champion["service"]),
        *("--arg", f"model_tag={champion['model_tag']}", "--development", "--reload"),
        *("--host", "127.0.0.1", "--port", str(args.port)),
    ]
    os.execv(sys.executable, command)  # nosec B606  # no shell; signals reach the server
