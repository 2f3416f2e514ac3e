"""A second process that works while this one goes on."""

from __future__ import annotations

import gc
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import active_children, get_context, parent_process
from threading import Thread
from types import TracebackType

# Forking is quickest, and safe only while no thread has been started: begin before importing numpy.
METHOD = "fork" if sys.platform == "linux" else "spawn"


class Background(ProcessPoolExecutor):
    """One process of its own; a task whose process dies raises `BrokenProcessPool`.

    It ends with the process that began it, however that ends, and leaves Ctrl-C to that process.

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
    gc.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a fork has inherited the handler
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent:
        parent.join()  # waits for a pipe that the kernel closes, also after kill -9
        os._exit(1)
