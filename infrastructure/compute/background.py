"""A second process that works while this one goes on."""

from __future__ import annotations

import gc
from multiprocessing import get_context
from multiprocessing.pool import Pool


def start_background(processes: int = 1) -> Pool:
    """A pool of processes that start afresh, as they do by default on most systems.

    As a context manager it ends its processes at once: take every result before. A process imports
    the caller's main module again, which must therefore import slow things inside functions only.
    """
    return get_context("spawn").Pool(processes, initializer=gc.disable)
