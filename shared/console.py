"""What entry points say on the terminal."""

from __future__ import annotations

import errno
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

_ERASE = "\033[K"  # what a longer line left behind
# what could move the cursor, begin a line, turn the direction of letters, or cannot be encoded
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_WAYS_OUT = {
    errno.ENOSPC: "free space on that disk, then run it again",
    errno.EDQUOT: "free space in your quota, then run it again",
    errno.EACCES: "give this user the right to it, then run it again",
    errno.EROFS: "make that disk writable, then run it again",
}


def show_step(step: str, result: str) -> None:
    """One line for a step that is done."""
    erase = _ERASE if sys.stdout.isatty() else ""
    print(printable(f"  {step:<9} {result}") + erase, flush=True)


def show_progress(step: str, result: str) -> None:
    """One line for what goes on, on a terminal only; the next line takes its place."""
    if sys.stdout.isatty():
        print(printable(f"  {step:<9} {result}") + _ERASE, end="\r", flush=True)


@contextmanager
def progress(step: str, interval: float = 1.0) -> Iterator[Callable[[str], None]]:
    """Show what goes on, and the seconds since it began: on a terminal only, in one line.

    Yields:
        A function that takes what goes on from now on, in words.
    """
    began, ended, current = time.monotonic(), Event(), ""

    def show() -> None:
        show_progress(step, f"{current}, {time.monotonic() - began:.0f} s")

    def update(text: str) -> None:
        nonlocal current
        current = text
        show()

    def tick() -> None:
        while not ended.wait(interval):
            show()

    thread = Thread(target=tick, daemon=True)
    if sys.stdout.isatty():
        thread.start()
    try:
        yield update
    finally:
        ended.set()
        if thread.ident:
            thread.join()
            print(_ERASE, end="", flush=True)


def show_line(line: str) -> None:
    """A line below a step."""
    print(f"  {printable(line)}", flush=True)


def fail(error: Exception, code: int = 1) -> int:
    """Say what went wrong in one line on standard error; the exit code to end with."""
    print(f"error: {printable(describe(error))}", file=sys.stderr)
    return code


def describe(error: Exception) -> str:
    """What went wrong, and where the operating system says it, the file and the way out."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error) or type(error).__name__
    files = " → ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    way_out = _WAYS_OUT.get(error.errno or 0)
    return ": ".join(part for part in (files, error.strerror, way_out) if part)


def printable(text: str) -> str:
    r"""A text in one line, as which it may be printed: a name can hold whatever its author likes.

    Control characters are shown as Python writes them, such as ``\x1b``.
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
