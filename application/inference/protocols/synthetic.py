"""Synthetic requests, which are not traffic: golden requests, smoke and load tests, demos.

A request with the header ``X-Synthetic`` gets the same response as any other. It counts in one
metric only, by its source, and never reaches the prediction log, the drift scores or the live
quality.
"""

from __future__ import annotations

from collections.abc import Mapping

SYNTHETIC = b"x-synthetic"
SOURCES = frozenset(("golden", "smoke", "demo", "load", "test"))
OTHER = "other"


def source_of(headers: Mapping[bytes, bytes]) -> str | None:
    """The source of a synthetic request, one of `SOURCES` or `OTHER`; None for ordinary traffic."""
    value = headers.get(SYNTHETIC)
    if value is None:
        return None
    source = value.decode("latin-1").strip().lower()
    return source if source in SOURCES else OTHER
