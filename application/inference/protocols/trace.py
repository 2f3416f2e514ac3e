"""The trace ID of a request, from the caller's ``traceparent`` header (W3C)."""

from __future__ import annotations

import re
from collections.abc import Mapping

# version, trace, parent and flags; later versions may add fields
_TRACEPARENT = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)


def trace_id_of(headers: Mapping[bytes, bytes]) -> str | None:
    """32 hex digits; None if ``traceparent`` is missing or malformed.

    Args:
        headers: by lower-case name.

    >>> trace_id_of({b"traceparent": b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"})
    '4bf92f3577b34da6a3ce929d0e0e4736'
    """
    header = headers.get(b"traceparent")
    if header is None:
        return None
    match = _TRACEPARENT.fullmatch(header)
    if not match or (match[1] == b"00" and match[3]):
        return None
    return match[2].decode()
