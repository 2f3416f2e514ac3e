"""Load from wrk: as many requests as a number of connections can handle."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.template.benchmarks.serving.errors import BenchmarkError, ContestantError

RESPONSE_SECONDS = 30

_SCRIPT = """\
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local file = assert(io.open("%s", "rb"))
wrk.body = file:read("*a")
file:close()

function done(summary, latency, requests)
    local failed = summary.errors
    io.write(string.format(
        '\\n{"requests": %%d, "microseconds": %%d, "p50": %%d, "p99": %%d, "status": %%d, ' ..
        '"connect": %%d, "read": %%d, "write": %%d, "timeout": %%d}\\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        failed.status, failed.connect, failed.read, failed.write, failed.timeout))
end
"""


@dataclass(frozen=True)
class Load:
    """Results of wrk.

    Attributes:
        requests: number of completed requests.
        seconds: wall time.
        p50, p99: latency in seconds.
        generator: CPU seconds of wrk itself.
    """

    requests: int
    seconds: float
    p50: float
    p99: float
    generator: float

    @property
    def per_second(self) -> float:
        """Completed requests per second."""
        return self.requests / self.seconds


def find_wrk() -> str:
    """Path of wrk.

    Raises:
        BenchmarkError: wrk is not installed.
    """
    found = shutil.which("wrk")
    if not found:
        raise BenchmarkError(
            "wrk, the load generator, is not installed: `apt-get install wrk` (Debian, Ubuntu), "
            "`brew install wrk` (macOS), or build it from https://github.com/wg/wrk"
        )
    return found


def send(url: str, body: bytes, connections: int, seconds: int, folder: Path) -> Load:
    """Post one body over and over, from one thread.

    Args:
        folder: where the script is written.

    Raises:
        ContestantError: a request failed.
    """
    (folder / "body.json").write_bytes(body)
    script = folder / "post.lua"
    script.write_text(_SCRIPT % (folder / "body.json"), encoding="utf-8")
    before = _children_seconds()
    done = subprocess.run(
        [
            *(find_wrk(), "--threads", "1", "--connections", str(connections)),
            *("--duration", f"{seconds}s", "--timeout", f"{RESPONSE_SECONDS}s"),
            *("--script", str(script), url),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ContestantError(f"wrk failed: {(done.stderr or done.stdout).strip()[-300:]}")
    return parse(done.stdout, _children_seconds() - before)


def parse(output: str, generator: float) -> Load:
    """Figures from the last line of wrk's output.

    Raises:
        ContestantError: no figures were found, or requests failed.
    """
    lines = output.strip().splitlines()
    if not lines or not lines[-1].startswith("{"):
        raise ContestantError(f"wrk printed no figures: {output.strip()[-300:]}")
    figures = json.loads(lines[-1])
    kinds = ("status", "connect", "read", "write", "timeout")
    failed = [f"{figures[kind]} × {kind}" for kind in kinds if figures[kind]]
    if failed:
        raise ContestantError(f"errors in {figures['requests']} requests: {', '.join(failed)}")
    if not figures["requests"]:
        raise ContestantError("no request was completed")
    return Load(
        figures["requests"],
        figures["microseconds"] / 1e6,
        figures["p50"] / 1e6,
        figures["p99"] / 1e6,
        generator,
    )


def _children_seconds() -> float:
    """CPU seconds of children that have ended; while a server runs, only those of wrk grow."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
