"""The second process is there at once, works, and ends with its context."""

from __future__ import annotations

import gc
import os
import signal
from concurrent.futures.process import BrokenProcessPool

import psutil
import pytest

from infrastructure.compute.background import Background


def test_the_second_process_is_another_one_that_works_and_ends() -> None:
    with Background() as beside:
        pid = beside.submit(os.getpid).result()
        assert pid != os.getpid()
        process = psutil.Process(pid)
        assert beside.submit(os.getpid).result() == pid
        assert beside.submit(gc.isenabled).result() is False
        later = beside.submit(int, "42")
        with pytest.raises(ValueError, match="invalid literal"):
            beside.submit(int, "no number").result()
        assert later.result() == 42
    process.wait(10)
    assert not psutil.pid_exists(pid)


def test_a_task_whose_process_dies_fails_instead_of_waiting_for_ever() -> None:
    with Background() as beside:
        pid = beside.submit(os.getpid).result()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(BrokenProcessPool):
            beside.submit(os.getpid).result(30)
