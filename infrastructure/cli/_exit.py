"""How a command ends: with an exit code and, if it failed, one line on standard error."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NoReturn

from domain.errors import MlopsError
from shared.console import fail

INTERRUPTED, READER_GONE = 130, 141  # as a shell reports SIGINT and SIGPIPE
_TERMINATIONS = (signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal was closed


def exit_code_of(
    command: Callable[[], int | None], codes: Mapping[type[Exception], int] | None = None
) -> int:
    """Run a command and return its exit code.

    Errors that are raised on purpose, errors of the operating system and Ctrl-C become one line
    and an exit code; any other exception is a bug and keeps its traceback.

    Args:
        command: returns its exit code, or None for 0.
        codes: exit codes by error class; the first match counts, and every other error gives 1.
    """
    try:
        code = command()
        print(end="", flush=True)  # fails here, not at exit, if the output is not writable
        return code or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except MlopsError as error:
        matching = (code for kind, code in (codes or {}).items() if isinstance(error, kind))
        return fail(error, next(matching, 1))
    except OSError as error:
        reader_gone = isinstance(error, BrokenPipeError) and _reader_is_gone()
        _discard_output()
        return READER_GONE if reader_gone else fail(error)
    except Exception as error:  # pylint: disable=broad-exception-caught  # most are raised again
        if not _is_invalid_setting(error):
            raise
        return fail(error)


def interrupt_on_termination() -> None:
    """Have SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does, so that the command cleans
    up; further signals do not interrupt the cleanup."""
    if threading.current_thread() is not threading.main_thread():  # Python allows it nowhere else
        return
    for termination in _TERMINATIONS:
        if signal.getsignal(termination) == signal.SIG_DFL:  # under nohup, SIGHUP is ignored
            signal.signal(termination, _interrupt)


def _interrupt(*_: object) -> NoReturn:
    for termination in _TERMINATIONS:
        signal.signal(termination, signal.SIG_IGN)
    raise KeyboardInterrupt


def _is_invalid_setting(error: Exception) -> bool:
    """Whether shared.settings raised it; commands without settings do not import that module."""
    settings = sys.modules.get("shared.settings")
    return settings is not None and isinstance(error, settings.InvalidSettingError)


def _reader_is_gone() -> bool:
    """Whether nobody reads standard output any more, as after `| head`."""
    with suppress(AttributeError, OSError):  # standard output is closed, or not a file
        watch = select.poll()
        watch.register(sys.stdout.fileno(), 0)
        return bool(watch.poll(0))  # errors are always watched
    return False


def _discard_output() -> None:
    """Keep Python from failing at exit, when it flushes an output that is not writable."""
    try:
        print(end="", flush=True)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
