"""The logs of a service: every line is one JSON object, whichever library writes it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from datetime import datetime
from typing import Any

import pytest

from shared.logs import AccessLog
from shared.paths import ROOT

# logging is configured for a whole process, so this runs in a separate one
SERVICE = """
import logging, sys, warnings
from bentoml._internal.log import configure_server_logging
from shared.logs import configure_logs

configure_server_logging()
configure_logs(sys.argv[1])
logging.getLogger("bentoml.serve").info("ready on %s", 3000)
logging.getLogger("uvicorn.error").warning("two\\nlines")
logging.getLogger("circus").error("ünicode")
logging.getLogger("uvicorn.access").info("GET /")
logging.getLogger("application").info("below the level that BentoML has set")
try:
    raise ValueError("wrong")
except ValueError:
    logging.getLogger("application").exception("request failed", extra={"request_id": "r1"})
warnings.warn("old")
print(logging.getLogger("uvicorn.access").hasHandlers())
"""


def logged(log_format: str) -> subprocess.CompletedProcess[str]:
    """The output of a process that logs in this format."""
    command = [sys.executable, "-c", SERVICE, log_format]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module", name="lines")
def _lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in logged("auto").stderr.splitlines()]


def test_each_record_is_one_line_whichever_library_it_comes_from(
    lines: list[dict[str, Any]],
) -> None:
    assert [(line["logger"], line["level"]) for line in lines] == [
        ("bentoml.serve", "INFO"),
        ("uvicorn.error", "WARNING"),
        ("circus", "ERROR"),
        ("application", "ERROR"),
        ("py.warnings", "WARNING"),
    ]
    assert lines[0]["message"] == "ready on 3000"
    assert lines[1]["message"] == "two\nlines"
    assert lines[2]["message"] == "ünicode"


def test_a_record_has_its_time_in_utc_and_extra_fields(
    lines: list[dict[str, Any]],
) -> None:
    failed = lines[3]
    assert failed["time"].endswith("Z")
    assert datetime.fromisoformat(failed["time"]).utcoffset() is not None
    assert failed["request_id"] == "r1"
    assert failed["exc_info"].endswith("ValueError: wrong")


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_uvicorns_own_access_log_costs_nothing(log_format: str) -> None:
    done = logged(log_format)
    assert done.stdout.splitlines()[-1] == "False"  # uvicorn checks this before it formats a line
    assert "GET /" not in done.stderr + done.stdout


def test_text_is_bentomls_own_format() -> None:
    assert "[INFO] [] ready on 3000" in logged("text").stdout


def test_a_request_is_a_line_with_what_it_was_and_how_long_it_took() -> None:
    stream = io.BytesIO()
    log = AccessLog(stream)
    log.write(
        "r1", "POST", "/classify", 200, 0.0012345678, "10.0.0.7", "4bf92f3577b34da6a3ce929d0e0e4736"
    )
    log.write("r2", "GET", "/nowhere", 404, 0.5)
    log.close()
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert datetime.fromisoformat(first.pop("time")).utcoffset() is not None
    assert first == {
        "level": "INFO",
        "logger": "access",
        "message": "POST /classify 200",
        "request_id": "r1",
        "method": "POST",
        "path": "/classify",
        "status": 200,
        "seconds": 0.001235,
        "client": "10.0.0.7",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    }
    assert second["status"] == 404
    assert not {"client", "trace_id"} & second.keys()


def test_many_lines_are_written_in_whole_lines_that_no_other_worker_can_break() -> None:
    pieces: list[bytes] = []

    class Pieces(io.BytesIO):
        """Records each piece that is written."""

        def write(self, piece: Any) -> int:
            pieces.append(bytes(piece))
            return len(piece)

    log = AccessLog(Pieces(), interval=3600)
    for number in range(100):
        log.write(f"r{number}", "GET", "/" + "\x01" * 2000, 200, 0.1)
    log.close()
    assert all(piece.endswith(b"\n") and len(piece) <= 4096 for piece in pieces)
    lines = b"".join(pieces).splitlines()
    assert [json.loads(line)["request_id"] for line in lines] == [f"r{n}" for n in range(100)]


def test_the_oldest_lines_are_dropped_where_too_many_wait() -> None:
    stream = io.BytesIO()
    log = AccessLog(stream, interval=3600, capacity=2)
    for number in range(5):
        log.write(f"r{number}", "GET", "/", 200, 0.1)
    log.close()
    lines = stream.getvalue().splitlines()
    assert [json.loads(line)["request_id"] for line in lines] == ["r3", "r4"]


def test_a_stream_that_fails_once_is_written_to_again() -> None:
    class Full(io.BytesIO):
        """A disk that is full at the first write."""

        failures = 1

        def write(self, piece: Any) -> int:
            if self.failures:
                self.failures -= 1
                raise OSError(28, "No space left on device")
            return super().write(piece)

    stream = Full()
    log = AccessLog(stream, interval=3600)
    for _ in range(100):  # several pieces
        log.write("r", "GET", "/", 200, 0.1)
    log.close()
    assert 0 < len(stream.getvalue().splitlines()) < 100
