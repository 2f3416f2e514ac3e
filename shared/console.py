"""What entry points say on the terminal."""

from __future__ import annotations

import sys

_ERASE = "\033[K"  # what a longer line left behind


def show_step(step: str, result: str) -> None:
    """One line for a step that is done."""
    erase = _ERASE if sys.stdout.isatty() else ""
    print(f"  {step:<9} {result}{erase}", flush=True)


def show_passing(step: str, result: str) -> None:
    """One line for what goes on, on a terminal only; the next line takes its place."""
    if sys.stdout.isatty():
        print(f"  {step:<9} {result}{_ERASE}", end="\r", flush=True)


def fail(error: Exception) -> int:
    """Say what went wrong on standard error; the exit code to end with."""
    print(f"error: {error}", file=sys.stderr)
    return 1
