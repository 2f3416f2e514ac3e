"""The logs of a service, on standard error: one JSON object per line."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, BinaryIO

import msgspec
from pythonjsonlogger.json import JsonFormatter

from shared.settings import LogFormat

_WITH_HANDLERS = ("bentoml", "circus", "uvicorn.error")  # loggers with handlers of BentoML
_FIELDS = {"asctime": "time", "levelname": "level", "name": "logger", "message": "message"}
_LONGEST_PATH = 256  # characters, so that a line fits into a piece even if all are escaped
_PIECE = 4096  # bytes that Linux writes to a pipe atomically, whatever other workers write


def configure_logs(log_format: LogFormat) -> None:
    """Make all loggers of this process write one format.

    Call it when the module of a service is imported: by then BentoML has configured logging, in its
    workers and in the process that starts them. The levels stay as BentoML has set them.

    uvicorn's own access log is turned off, because it costs time on every request.

    Args:
        log_format: ``text`` is BentoML's format; ``auto`` is ``text`` on a terminal, else ``json``.
    """
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False
    if log_format == "text" or (log_format == "auto" and sys.stderr.isatty()):
        return
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter(list(_FIELDS), rename_fields=_FIELDS))
    for name in _WITH_HANDLERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger().handlers[:] = [handler]
    logging.captureWarnings(True)


class _Formatter(JsonFormatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """The time in UTC, in ISO 8601."""
        return datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z")


class _Line(msgspec.Struct):
    time: datetime
    level: str
    logger: str
    message: str
    request_id: str
    method: str
    path: str
    status: int
    seconds: float
    client: str | msgspec.UnsetType
    trace_id: str | msgspec.UnsetType


class AccessLog:
    """Writes a line of JSON for each request, in a background thread.

    Memory is bounded: if more than `capacity` lines wait, the oldest are dropped. If the process is
    killed, the lines of the last `interval` are lost.

    Args:
        stream: None is standard error.
        interval: seconds between two batches.
        capacity: maximum number of waiting lines.
    """

    def __init__(
        self, stream: BinaryIO | None = None, *, interval: float = 0.05, capacity: int = 100_000
    ) -> None:
        self._stream = stream or sys.stderr.buffer
        self._waiting: deque[tuple[Any, ...]] = deque(maxlen=capacity)
        self._closing = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(interval,), name="access-log", daemon=True
        )
        self._thread.start()

    def write(
        self,
        request_id: str,
        method: str,
        path: str,
        status: int,
        seconds: float,
        client: str | None = None,
        trace_id: str | None = None,
    ) -> None:
        """Queue the line of a finished request."""
        line = (time.time(), request_id, method, path, status, seconds, client, trace_id)
        self._waiting.append(line)

    def close(self) -> None:
        """Write the waiting lines and end the thread."""
        self._closing.set()
        self._thread.join()
        self._flush()

    def _run(self, interval: float) -> None:
        while not self._closing.wait(interval):
            self._flush()

    def _flush(self) -> None:
        for piece in _pieces(self._lines()):
            with suppress(OSError):  # such as a full disk: later lines may succeed
                self._stream.write(piece)
                self._stream.flush()

    def _lines(self) -> Iterator[bytes]:
        encode = msgspec.json.Encoder().encode
        for _ in range(len(self._waiting)):
            at, request_id, method, path, status, seconds, *more = self._waiting.popleft()
            line = _Line(
                datetime.fromtimestamp(at, UTC),
                "INFO",
                "access",
                f"{method} {path[:_LONGEST_PATH]} {status}",
                request_id,
                method,
                path[:_LONGEST_PATH],
                status,
                round(seconds, 6),
                *(value or msgspec.UNSET for value in more),
            )
            yield encode(line) + b"\n"


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Joins whole lines into pieces of at most `_PIECE` bytes."""
    piece = b""
    for line in lines:
        if piece and len(piece) + len(line) > _PIECE:
            yield piece
            piece = b""
        piece += line
    if piece:
        yield piece
