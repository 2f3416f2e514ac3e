"""What entry points say on the terminal."""

from __future__ import annotations

import sys


def show_step(step: str, result: str) -> None:
    """One line for a step that is done."""
    print(f"  {step:<9} {result}", flush=True)


def fail(error: Exception) -> int:
    """Say what went wrong on standard error; the exit code to end with."""
    print(f"error: {error}", file=sys.stderr)
    return 1
