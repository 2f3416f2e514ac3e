"""How a command ends when it is told to."""

from __future__ import annotations

import signal
from typing import NoReturn

_ENDINGS = (signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal was closed


def end_as_interrupted() -> None:
    """Have SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does.

    So what is half made is removed, which no further signal breaks off.
    """
    for ending in _ENDINGS:
        if signal.getsignal(ending) != signal.SIG_IGN:  # as under nohup
            signal.signal(ending, _interrupt)


def _interrupt(*_: object) -> NoReturn:
    for ending in _ENDINGS:
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt
