"""Logs of an environment do not grow without a limit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infrastructure.deployment.logs import LOG_BYTES, limit_logs

WRITER = """
import sys
for line in sys.stdin:
    print(line, end="", flush=True)
    print(line, end="", file=sys.stderr, flush=True)
"""


class Writer:
    """A process that appends lines to a log, and keeps it open."""

    def __init__(self, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                [sys.executable, "-c", WRITER],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.PIPE,
                text=True,
            )

    def write(self, line: str) -> None:
        """Append a line, and wait until it is written."""
        assert self.process.stdin and self.process.stderr
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        assert self.process.stderr.readline() == f"{line}\n"


@pytest.fixture(name="log", params=["front.log", "releases/1/service.log"])
def _log(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return tmp_path / str(request.param)


@pytest.fixture(name="writer")
def _writer(log: Path) -> Iterator[Writer]:
    made = Writer(log)
    with made.process:
        yield made
        made.process.kill()


def test_a_log_that_is_too_long_is_copied_and_goes_on_empty(
    tmp_path: Path, log: Path, writer: Writer
) -> None:
    previous = log.with_name(f"{log.name}.1")
    writer.write("first")
    limit_logs(tmp_path, limit=6)
    assert log.read_text(encoding="utf-8") == "first\n" and not previous.exists()
    writer.write("second")
    limit_logs(tmp_path, limit=6)
    writer.write("third")
    assert log.read_text(encoding="utf-8") == "third\n"
    assert previous.read_text(encoding="utf-8") == "first\nsecond\n"
    limit_logs(tmp_path, limit=5)
    assert log.stat().st_size == 0
    assert previous.read_text(encoding="utf-8") == "third\n"


def test_a_log_is_emptied_even_if_it_cannot_be_copied(tmp_path: Path) -> None:
    log = tmp_path / "front.log"
    log.write_bytes(b"x")
    (tmp_path / "front.log.1").symlink_to("/dev/full")
    limit_logs(tmp_path, limit=0)
    assert log.stat().st_size == 0
    assert not (tmp_path / "front.log.1").is_symlink()


def test_without_an_environment_there_is_nothing_to_do(tmp_path: Path) -> None:
    limit_logs(tmp_path / "missing", LOG_BYTES)
    assert not (tmp_path / "missing").exists()
