"""A second process that works while this one goes on."""

from __future__ import annotations

import gc
import sys
from multiprocessing import get_context
from multiprocessing.pool import Pool

# Forking is quickest, and safe only while no thread has been started: call before importing numpy.
METHOD = "fork" if sys.platform == "linux" else "spawn"


def start_background(processes: int = 1) -> Pool:
    """A pool of processes; call it before anything slow is imported.

    As a context manager it ends its processes at once: take every result before. Where processes
    are spawned they import the caller's main module again, so that must import slow things inside
    functions only.
    """
    return get_context(METHOD).Pool(processes, initializer=gc.disable)
