"""Terminal output of the entry points."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

_ERASE = "\033[K"  # clears the rest of a longer line
# characters that move the cursor, start a line, change the text direction or cannot be encoded
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_HINTS = {
    errno.ENOSPC: "free space on that disk, then run it again",
    errno.EDQUOT: "free space in your quota, then run it again",
    errno.EACCES: "give this user permission, then run it again",
    errno.EROFS: "make that disk writable, then run it again",
}


def prepare_streams() -> None:
    """Let output never fail: escape characters that a stream cannot encode, and replace closed
    streams by the null device, before another file gets their descriptors."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            mode = "r" if name == "stdin" else "w"
            # pylint: disable-next=consider-using-with  # open until the process ends
            stream = open(os.devnull, mode, encoding="utf-8")
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
        elif name != "stdin" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def show_step(step: str, result: str) -> None:
    """Print a line for a finished step."""
    erase = _ERASE if sys.stdout.isatty() else ""
    print(printable(f"  {step:<9} {result}") + erase, flush=True)


def show_progress(step: str, result: str) -> None:
    """Print the progress of a step, on a terminal only; the next line overwrites it."""
    if sys.stdout.isatty():
        print(printable(f"  {step:<9} {result}") + _ERASE, end="\r", flush=True)


@contextmanager
def progress(step: str, interval: float = 1.0) -> Iterator[Callable[[str], None]]:
    """Show a line with the current activity and the elapsed seconds, on a terminal only.

    Yields:
        A function that sets the current activity.
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
            if current:
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
    """Print a line below a step."""
    print(f"  {printable(line)}", flush=True)


def fail(error: Exception, code: int = 1) -> int:
    """Print an error as one line on standard error and return the exit code."""
    print(f"error: {printable(describe(error))}", file=sys.stderr)
    return code


def describe(error: Exception) -> str:
    """The message of an error; for an error of the operating system, with the file and a hint."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error) or type(error).__name__
    files = " → ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    hint = _HINTS.get(error.errno or 0)
    return ": ".join(part for part in (files, error.strerror, hint) if part)


def printable(text: str) -> str:
    r"""A text that is safe to print on one line, whatever it contains.

    Control characters are escaped as in Python, such as ``\x1b``.
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
