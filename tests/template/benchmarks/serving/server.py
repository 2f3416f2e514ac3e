"""A server as a process: from its start to the end of every process that it has started."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.template.benchmarks.serving.errors import BenchmarkError, ContestantError

READY_SECONDS = 90.0
END_SECONDS = 15.0
SETTLE_SECONDS = 20.0
_IDLE = 0.05  # of a core
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # not while processes are ended
_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        ready_seconds: from its start to its first 200.
    """

    process: psutil.Popen
    port: int
    ready_seconds: float

    def get(self, path: str) -> str:
        """The body of an answer.

        Raises:
            ContestantError: the status is not 200.
        """
        return _answer(self.port, "GET", path).decode()

    def post(self, path: str, body: bytes) -> Any:
        """The JSON of an answer.

        Raises:
            ContestantError: the status is not 200.
        """
        return json.loads(_answer(self.port, "POST", path, body))

    def cpu_seconds(self) -> float:
        """CPU seconds of all its processes since their start."""
        return sum(_cpu_seconds(process) for process in _tree(self.process))

    def settle(self) -> float:
        """Wait until it is idle, as work may have been put off; its CPU seconds then."""
        deadline = time.monotonic() + SETTLE_SECONDS
        used = self.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(0.2)
            before, used = used, self.cpu_seconds()
            if used - before <= _IDLE * 0.2:
                break
        return used

    def resident_bytes(self, workers: int) -> tuple[float, int]:
        """Resident memory: the mean of its workers, which are its busiest processes; all of it."""
        tree = sorted(_tree(self.process), key=_cpu_seconds, reverse=True)
        sizes = [_resident(process) for process in tree]
        return sum(sizes[:workers]) / workers, sum(sizes)


def adopt_orphans() -> None:
    """Become the parent of what servers leave behind, where the system can do that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@contextlib.contextmanager
def run_server(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, port: int, ready: str
) -> Iterator[Server]:
    """Run a server until the block ends.

    Args:
        folder: its working directory, where its log is.
        ready: the path that answers 200 once it can be asked.

    Raises:
        ContestantError: it ends, or is not ready in time.
        BenchmarkError: another one is still running.
    """
    if left := psutil.Process().children(recursive=True):
        raise BenchmarkError(f"processes of another server are still running: {left}")
    log = folder / "server.log"
    start = time.perf_counter()
    with log.open("ab") as output:
        process = psutil.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, port, ready, log)
        yield Server(process, port, time.perf_counter() - start)
    finally:
        _end(process)


def _wait_until_ready(process: psutil.Popen, port: int, path: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException, ContestantError):
            _answer(port, "GET", path)
            return
        time.sleep(0.01)
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    ended = "ended before it was ready" if process.poll() is not None else "did not become ready"
    raise ContestantError(f"{ended}: {' / '.join(said[-3:])[-500:]}")


def _answer(port: int, method: str, path: str, body: bytes | None = None) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        told = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        said = told[:200].decode(errors="replace")
        raise ContestantError(f"{path} answers {answer.status}: {said}")
    return told


def _end(process: psutil.Popen) -> None:
    """End it and all that it has started, asked first and killed then."""
    patient = {each: signal.signal(each, signal.SIG_IGN) for each in _SIGNALS}
    try:
        tree = _tree(process)
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
        psutil.wait_procs(tree, END_SECONDS)
        left = {*tree, *psutil.Process().children(recursive=True)}
        for each in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        _, alive = psutil.wait_procs(left, END_SECONDS)
        if alive:
            raise BenchmarkError(f"processes cannot be ended: {alive}")
    finally:
        for each, handler in patient.items():
            signal.signal(each, handler)


def _tree(process: psutil.Popen) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(process.pid)
        return [root, *root.children(recursive=True)]
    return []


def _cpu_seconds(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return times.user + times.system
    return 0.0


def _resident(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.memory_info().rss
    return 0
