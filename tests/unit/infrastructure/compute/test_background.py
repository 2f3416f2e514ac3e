"""The second process is there at once, works, and ends with its context."""

from __future__ import annotations

import gc
import os

import psutil
import pytest

from infrastructure.compute.background import start_background


def test_the_second_process_is_another_one_that_works_and_ends() -> None:
    with start_background() as pool:
        pid = pool.apply(os.getpid)
        assert pid != os.getpid()
        assert psutil.pid_exists(pid)
        assert pool.apply(os.getpid) == pid  # one process unless told otherwise
        assert pool.apply(gc.isenabled) is False
        later = pool.apply_async(int, ("42",))
        with pytest.raises(ValueError, match="invalid literal"):
            pool.apply(int, ("no number",))
        assert later.get() == 42
    pool.join()
    assert not psutil.pid_exists(pid)
