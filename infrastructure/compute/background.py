"""A second process that works in parallel with this one."""

from __future__ import annotations

import gc
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import active_children, get_context, parent_process
from threading import Thread
from types import TracebackType

# Forking is fastest, but safe only before any thread was started: fork before importing NumPy.
METHOD = "fork" if sys.platform == "linux" else "spawn"


class Background(ProcessPoolExecutor):
    """An executor with one process; a task whose process dies raises `BrokenProcessPool`.

    The process ends with its parent, however that ends, and leaves Ctrl-C to the parent.

    As a context manager it ends the process immediately: collect all results before. If the block
    fails, the running task is finished first, so that nothing stays half written, such as a
    database. Where processes are spawned, they import the caller's main module again, which must
    therefore import slow modules only inside functions.
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
        if exc_type is None:
            for process in set(active_children()) - self._others:
                process.terminate()  # a regular exit would unload all its imports: it takes long
        # without waiting, the executor's thread may close its pipe while the interpreter, at its
        # exit, writes to it: "Bad file descriptor"
        self.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    gc.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a fork inherits the parent's handler
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent:
        parent.join()  # waits on a pipe, which the kernel closes even after kill -9
        os._exit(1)
