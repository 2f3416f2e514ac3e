"""Runs the programs that deploy elsewhere."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from domain.errors import DeploymentError

_LONGEST_MESSAGE = 1000


def run_program(
    command: Sequence[str], name: str, seconds: float, folder: Path | None = None
) -> str:
    """Run a program without input, and return its standard output.

    Args:
        name: of the command in messages, such as ``helm upgrade``.
        seconds: how long it may take.
        folder: where it runs; None means the working directory.

    Raises:
        DeploymentError: it is missing, failed or took too long; a failure's message ends with its
            own.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError as error:
        raise DeploymentError(f"{command[0]} is not on PATH: install it") from error
    except subprocess.TimeoutExpired as error:
        raise DeploymentError(f"{name} took more than {seconds:.0f} s") from error
    if done.returncode:
        message = (done.stderr or done.stdout).strip()[-_LONGEST_MESSAGE:]
        raise DeploymentError(f"{name} failed: {message}")
    return done.stdout
