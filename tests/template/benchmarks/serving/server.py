"""A server process, from its start to the end of all its child processes."""

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
_IDLE = 0.05  # share of a core
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # ignored while processes are stopped
_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        ready_seconds: time from its start to the first 200.
    """

    process: psutil.Popen
    port: int
    ready_seconds: float

    def get(self, path: str) -> str:
        """The body of a response.

        Raises:
            ContestantError: the status is not 200.
        """
        return _request(self.port, "GET", path).decode()

    def post(self, path: str, body: bytes) -> Any:
        """The JSON of a response.

        Raises:
            ContestantError: the status is not 200.
        """
        return json.loads(_request(self.port, "POST", path, body))

    def cpu_seconds(self) -> float:
        """CPU seconds of all its processes since their start."""
        return sum(_cpu_seconds(process) for process in _tree(self.process))

    def settle(self) -> float:
        """Wait until it is idle, since work may be deferred; returns its CPU seconds."""
        deadline = time.monotonic() + SETTLE_SECONDS
        used = self.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(0.2)
            before, used = used, self.cpu_seconds()
            if used - before <= _IDLE * 0.2:
                break
        return used

    def resident_bytes(self, workers: int) -> tuple[float, int]:
        """Resident memory: mean of its workers, which are its busiest processes, and total."""
        tree = sorted(_tree(self.process), key=_cpu_seconds, reverse=True)
        sizes = [_resident(process) for process in tree]
        return sum(sizes[:workers]) / workers, sum(sizes)


def adopt_orphans() -> None:
    """Become the parent of orphaned server processes, on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@contextlib.contextmanager
def run_server(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, port: int, ready: str
) -> Iterator[Server]:
    """Run a server until the block ends.

    Args:
        folder: its working directory, where its log is.
        ready: path that returns 200 once the server is ready.

    Raises:
        ContestantError: the server ends, or is not ready in time.
        BenchmarkError: another server is still running.
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
            _request(port, "GET", path)
            return
        time.sleep(0.01)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    ended = "exited before it was ready" if process.poll() is not None else "did not become ready"
    raise ContestantError(f"{ended}: {' / '.join(lines[-3:])[-500:]}")


def _request(port: int, method: str, path: str, body: bytes | None = None) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status != 200:
        text = content[:200].decode(errors="replace")
        raise ContestantError(f"{path} returned {response.status}: {text}")
    return content


def _end(process: psutil.Popen) -> None:
    """Terminate a process and its descendants, and kill those that remain."""
    handlers = {each: signal.signal(each, signal.SIG_IGN) for each in _SIGNALS}
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
            raise BenchmarkError(f"processes cannot be killed: {alive}")
    finally:
        for each, handler in handlers.items():
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
