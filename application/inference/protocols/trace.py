"""The trace that a request belongs to, as its caller tells it in ``traceparent`` (W3C)."""

from __future__ import annotations

import re
from collections.abc import Mapping

# version, trace, parent and flags; later versions may have more behind them
_TRACEPARENT = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)


def trace_id_of(headers: Mapping[bytes, bytes]) -> str | None:
    """32 hex digits; None where there is no ``traceparent``, or a malformed one, which is ignored.

    Args:
        headers: by lower-case name.

    >>> trace_id_of({b"traceparent": b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"})
    '4bf92f3577b34da6a3ce929d0e0e4736'
    """
    told = headers.get(b"traceparent")
    if told is None:
        return None
    found = _TRACEPARENT.fullmatch(told)
    if not found or (found[1] == b"00" and found[3]):
        return None
    return found[2].decode()
