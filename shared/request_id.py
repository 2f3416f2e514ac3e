"""Request IDs: the caller's own, or a new one."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping

_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")
_WITH_TIME = re.compile(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}(-\d+)?")

_random_parts: list[str] = []


def request_id_of(headers: Mapping[bytes, bytes]) -> str:
    """The caller's X-Request-ID if it is well-formed, else a new ID."""
    header = headers.get(b"x-request-id")
    if header is not None:
        request_id = header.decode("latin-1")
        if _WELL_FORMED.fullmatch(request_id):
            return request_id
    return new_request_id()


def new_request_id() -> str:
    """A UUID of version 7 (RFC 9562) in 32 hex digits; the first 12 are its time."""
    try:
        random_part = _random_parts.pop()
    except IndexError:
        _draw()
        random_part = _random_parts.pop()
    return f"{time.time_ns() // 1_000_000:012x}7{random_part}"


def _draw() -> None:
    """Draw the random parts of many IDs in one system call."""
    digits = os.urandom(10 * 256).hex()
    for at in range(0, len(digits), 20):
        variant = "89ab"[int(digits[at], 16) & 3]
        _random_parts.append(f"{digits[at + 1 : at + 4]}{variant}{digits[at + 4 : at + 19]}")


def has_time(request_id: str) -> bool:
    """Whether an ID begins with its time; such IDs are in the order of their times."""
    return _WITH_TIME.fullmatch(request_id) is not None


def time_of(request_id: str) -> float | None:
    """When an ID was created, in seconds since the epoch; None for IDs of callers."""
    return int(request_id[:12], 16) / 1000 if has_time(request_id) else None
