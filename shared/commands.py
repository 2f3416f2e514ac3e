"""How commands end."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from typing import ParamSpec

from shared.console import fail

INTERRUPTED, READER_GONE = 130, 141  # as a shell reports SIGINT and SIGPIPE
_P = ParamSpec("_P")


def entry_point(
    *expected: type[Exception], codes: Mapping[type[Exception], int] | None = None
) -> Callable[[Callable[_P, int]], Callable[_P, int]]:
    """Have a `main` end with an exit code, and one line on standard error, where it fails as
    programs do: errors raised on purpose, those of the operating system, Ctrl-C.

    What remains is a fault of the program, and keeps its traceback.

    Args:
        expected: errors that are raised on purpose.
        codes: exit codes of some of them, the first that fits; 1 is that of the others.
    """

    def decorate(main: Callable[_P, int]) -> Callable[_P, int]:
        @wraps(main)
        def run(*args: _P.args, **kwargs: _P.kwargs) -> int:
            try:
                code = main(*args, **kwargs)
                print(end="", flush=True)  # where this fails, it fails here
                return code
            except KeyboardInterrupt:
                print("interrupted", file=sys.stderr)
                return INTERRUPTED
            except expected as error:
                fits = (code for kind, code in (codes or {}).items() if isinstance(error, kind))
                return fail(error, next(fits, 1))
            except OSError as error:
                gone = isinstance(error, BrokenPipeError) and _reader_is_gone()
                _give_up_output()
                return READER_GONE if gone else fail(error)

        return run

    return decorate


def _reader_is_gone() -> bool:
    """Whether nobody reads standard output any more, as after `| head`."""
    with suppress(AttributeError, OSError):  # it is closed, or is not a file
        watch = select.poll()
        watch.register(sys.stdout.fileno(), 0)
        return bool(watch.poll(0))  # errors are always watched
    return False


def _give_up_output() -> None:
    """Have Python write nothing more at its end to an output that cannot be written to."""
    try:
        print(end="", flush=True)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
