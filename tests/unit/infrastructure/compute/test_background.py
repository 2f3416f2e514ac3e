"""The second process starts at once, works, and ends with its context."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import psutil
import pytest

from infrastructure.compute.background import Background
from shared.paths import ROOT


def test_the_second_process_is_another_one_that_works_and_ends() -> None:
    with Background() as background:
        pid = background.submit(os.getpid).result()
        assert pid != os.getpid()
        process = psutil.Process(pid)
        assert background.submit(os.getpid).result() == pid
        assert background.submit(gc.isenabled).result() is False
        later = background.submit(int, "42")
        with pytest.raises(ValueError, match="invalid literal"):
            background.submit(int, "no number").result()
        assert later.result() == 42
    process.wait(10)
    assert not psutil.pid_exists(pid)


def test_no_thread_is_left_that_could_close_its_pipe_while_the_interpreter_exits() -> None:
    threads = set(threading.enumerate())
    with Background() as background:
        background.submit(os.getpid).result()
    assert set(threading.enumerate()) == threads


def test_a_task_whose_process_dies_fails_instead_of_waiting_for_ever() -> None:
    with Background() as background:
        pid = background.submit(os.getpid).result()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(BrokenProcessPool):
            background.submit(os.getpid).result(30)


BEGIN_AND_WAIT = """
import os, sys, time
from infrastructure.compute.background import Background
with Background() as background:
    print(background.submit(os.getpid).result(), flush=True)
    background.submit(time.sleep, 600).result()
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_the_second_process_ends_when_only_the_first_is_killed(ending: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BEGIN_AND_WAIT], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        second = psutil.Process(int(first.stdout.readline()))
        first.send_signal(ending)
        assert first.stdout.read() == ""  # nobody holds the pipe open
        second.wait(10)


def ignores_interrupts() -> bool:
    """Whether this process ignores Ctrl-C."""
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_an_interrupt_of_the_terminal_is_left_to_the_first_process() -> None:
    with Background() as background:
        assert background.submit(ignores_interrupts).result()


def make_in_two_parts(folder: Path) -> None:
    """Create one file, and a little later another one."""
    (folder / "first").touch()
    time.sleep(0.5)
    (folder / "second").touch()


def test_a_running_job_is_finished_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), Background() as background:
        background.submit(make_in_two_parts, tmp_path)
        while not (tmp_path / "first").exists():
            time.sleep(0.01)
        raise KeyError("what went wrong")
    assert (tmp_path / "second").exists()


def test_ctrl_c_is_left_to_the_process_that_waits(capfd: pytest.CaptureFixture[str]) -> None:
    with Background() as background:
        pid = background.submit(os.getpid).result()
        os.kill(pid, signal.SIGINT)
        assert background.submit(os.getpid).result(30) == pid
    assert capfd.readouterr().err == ""
