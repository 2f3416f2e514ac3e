"""Requests that are no traffic: golden requests, smoke and load tests, and demonstrations say so.

A request with the header ``X-Synthetic`` is answered as any other, and counts in one metric only,
by its source; nothing of it reaches the prediction log, the drift scores or the live quality.
"""

from __future__ import annotations

from collections.abc import Mapping

SYNTHETIC = b"x-synthetic"
SOURCES = frozenset(("golden", "smoke", "demo", "load", "test"))
OTHER = "other"


def source_of(headers: Mapping[bytes, bytes]) -> str | None:
    """Where a synthetic request comes from, of `SOURCES` or `OTHER`; None of ordinary traffic."""
    given = headers.get(SYNTHETIC)
    if given is None:
        return None
    source = given.decode("latin-1").strip().lower()
    return source if source in SOURCES else OTHER
