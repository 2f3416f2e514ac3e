"""The identity of a request: what its caller calls it, or a new one."""

from __future__ import annotations

import re
import uuid
from collections.abc import MutableMapping
from typing import Any

_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_id_of(scope: MutableMapping[str, Any]) -> str:
    """The caller's X-Request-ID where it is a plain one, else a new identity."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given = value.decode("latin-1")
            if _PLAIN.fullmatch(given):
                return str(given)
    return uuid.uuid4().hex
