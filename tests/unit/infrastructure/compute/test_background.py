"""The second process starts afresh, works, and ends with its context."""

from __future__ import annotations

import gc
import multiprocessing
import os
from multiprocessing.context import SpawnProcess

import psutil
import pytest

from infrastructure.compute.background import start_background


def test_the_second_process_is_another_one_that_started_afresh_and_ends() -> None:
    with start_background() as pool:
        pid = pool.apply(os.getpid)
        assert pid != os.getpid()
        assert psutil.pid_exists(pid)
        assert pool.apply(os.getpid) == pid  # one process unless told otherwise
        (worker,) = multiprocessing.active_children()
        assert isinstance(worker, SpawnProcess)  # a fork would not start afresh
        assert pool.apply(gc.isenabled) is False
        later = pool.apply_async(int, ("42",))
        with pytest.raises(ValueError, match="invalid literal"):
            pool.apply(int, ("no number",))
        assert later.get() == 42
    pool.join()
    assert not psutil.pid_exists(pid)
