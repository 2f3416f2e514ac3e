"""Serve the champion from the source files: `make run`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from domain.errors import DeploymentError, MlopsError
from infrastructure.deployment.local import DEFAULT_PORT, check_free
from shared.arguments import valid_port
from shared.commands import entry_point
from shared.settings import Settings


@entry_point(MlopsError)
def main(arguments: list[str] | None = None) -> int:
    """Become BentoML's development server, which loads source files again when they change."""
    parser = argparse.ArgumentParser(description="Serve the champion from the source files.")
    parser.add_argument("--champion", type=Path, required=True, help="receipt of its promotion")
    parser.add_argument("--port", type=valid_port, default=DEFAULT_PORT, help="%(default)s")
    options = parser.parse_args(arguments)
    try:
        champion = json.loads(options.champion.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DeploymentError("what was accepted waits for make promote") from error
    check_free(options.port, Settings().releases_dir)
    command = [
        *(sys.executable, "-m", "bentoml", "serve", champion["service"]),
        *("--arg", f"model_tag={champion['model_tag']}", "--development", "--reload"),
        *("--host", "127.0.0.1", "--port", str(options.port)),
    ]
    os.execv(sys.executable, command)  # nosec B606  # no shell; signals reach the server


if __name__ == "__main__":
    sys.exit(main())
