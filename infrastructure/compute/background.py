"""A second process that works while this one goes on."""

from __future__ import annotations

import gc
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import active_children, get_context
from types import TracebackType

# Forking is quickest, and safe only while no thread has been started: begin before importing numpy.
METHOD = "fork" if sys.platform == "linux" else "spawn"


class Background(ProcessPoolExecutor):
    """One process of its own; a task whose process dies raises `BrokenProcessPool`.

    Ctrl-C, which the terminal sends to both processes, is left to the one that waits.

    As a context manager it ends the process at once: take every result before. When the block
    fails, the task that is running comes to its end first, so that nothing half made stays behind,
    such as a database. Where processes are spawned they import the caller's main module again, so
    that must import slow things inside functions only.
    """

    def __init__(self) -> None:
        super().__init__(1, get_context(METHOD), initializer=_begin)
        self._others = set(active_children())

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.shutdown(wait=exc_type is not None, cancel_futures=True)
        for process in set(active_children()) - self._others:
            process.terminate()  # unwinding everything that it has imported would take long


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()
