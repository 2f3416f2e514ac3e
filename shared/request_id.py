"""The identity of a request: what its caller calls it, or a new one."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping

_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TIMED = re.compile(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}(-\d+)?")

_drawn: list[str] = []


def request_id_of(headers: Mapping[bytes, bytes]) -> str:
    """The caller's X-Request-ID where it is a plain one, else a new identity."""
    given = headers.get(b"x-request-id")
    if given is not None:
        told = given.decode("latin-1")
        if _PLAIN.fullmatch(told):
            return told
    return new_request_id()


def new_request_id() -> str:
    """A UUID of version 7 (RFC 9562) in 32 hex digits: it begins with its time."""
    try:
        drawn = _drawn.pop()
    except IndexError:
        _draw()
        drawn = _drawn.pop()
    return f"{time.time_ns() // 1_000_000:012x}7{drawn}"


def _draw() -> None:
    """Draw the random parts of many identities in one call of the system."""
    digits = os.urandom(10 * 256).hex()
    for at in range(0, len(digits), 20):
        variant = "89ab"[int(digits[at], 16) & 3]
        _drawn.append(f"{digits[at + 1 : at + 4]}{variant}{digits[at + 4 : at + 19]}")


def time_of(request_id: str) -> float | None:
    """When an identity was made, seconds since the epoch; None where it does not tell."""
    return int(request_id[:12], 16) / 1000 if _TIMED.fullmatch(request_id) else None
