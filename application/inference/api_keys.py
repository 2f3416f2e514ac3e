"""API keys: callers send them, the service keeps only their digests.

A key is random, so its SHA-256 reveals nothing and needs neither a salt nor a slow hash. Scopes
limit what a key may do:

| scope | requests |
|---|---|
| predict | predictions, in every protocol |
| feedback | POST /feedback |
| metrics | /metrics |
| read | everything else: pages, documents, metadata, health and summary |
| synthetic | requests marked X-Synthetic, which monitoring ignores; the scope of their path too |
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from application.inference.protocols.http import Refusal
from application.inference.protocols.synthetic import SYNTHETIC
from domain.errors import ConfigError

PREFIX = "mlops_"  # secret scanners find a key in a repository by it
SCOPES = ("predict", "feedback", "metrics", "read", "synthetic")
CHALLENGE = (b"www-authenticate", b"Bearer")
"""The header that a response with status 401 must have (RFC 9110, 11.6.1)."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SCOPE_OF_PATH = {
    "/metrics": "metrics",
    "/feedback": "feedback",
    "/health_check": "read",
    "/get_metrics_summary": "read",
}


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    digest: bytes
    scopes: frozenset[str]  # empty: all scopes


class ApiKeys:
    """The keys that callers may use; false if there are none.

    Args:
        entries: name, digest and scopes of each key.
    """

    def __init__(self, entries: Sequence[_Entry]) -> None:
        self._entries = entries

    @classmethod
    def parse(cls, text: str) -> ApiKeys:
        """Parse entries as `entry_of` writes them, separated by white space.

        A name may occur twice, with the old key and the new one, while callers change over.

        Raises:
            ConfigError: an entry is malformed or repeats a key. The message gives the number of
                the entry and nothing that could be a secret.
        """
        entries: list[_Entry] = []
        for number, entry_text in enumerate(text.split(), start=1):
            which = f"SERVING_API_KEYS, entry {number}"
            name, *rest = entry_text.split(":")
            if not 1 <= len(rest) <= 2 or not _DIGEST.fullmatch(rest[0]):
                raise ConfigError(
                    f"{which} is not name:sha256[:scope,scope] with 64 hexadecimal digits: "
                    "make api-key writes such entries"
                )
            scopes = rest[1].split(",") if len(rest) == 2 else []
            _check_entry(which, name, scopes)
            digest = bytes.fromhex(rest[0])
            if any(entry.digest == digest for entry in entries):
                raise ConfigError(f"{which} ({name}) repeats the key of an earlier entry")
            entries.append(_Entry(name, digest, frozenset(scopes)))
        return cls(entries)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def check(self, headers: Mapping[bytes, bytes], scope: str) -> str:
        """Check the key in ``Authorization: Bearer`` or ``X-API-Key``, and return its name.

        An unknown key gets 401, like a missing one: 403 is for callers with valid credentials
        (RFC 9110, 15.5.2 and 15.5.4).

        Args:
            headers: by lower-case name.
            scope: the scope that the request needs, one of `SCOPES`.

        Raises:
            Refusal: 401 without a known key, 403 if the key lacks the scope.
        """
        key = _key_in(headers)
        if not key:
            message = "missing API key: send Authorization: Bearer … or X-API-Key"
            raise Refusal(401, message, "unauthorized", [CHALLENGE])
        digest = hashlib.sha256(key).digest()
        found: _Entry | None = None
        for entry in self._entries:  # always all of them, so that the time reveals nothing
            if hmac.compare_digest(entry.digest, digest):
                found = entry
        if found is None:
            raise Refusal(401, "unknown API key", "unauthorized", [CHALLENGE])
        if found.scopes and scope not in found.scopes:
            raise Refusal(403, f"the API key {found.name} lacks the scope {scope}", "forbidden")
        return found.name


def scope_of(method: str, path: str) -> str:
    """The scope that a request needs; by default ``predict`` for a POST, else ``read``."""
    return _SCOPE_OF_PATH.get(path) or ("predict" if method == "POST" else "read")


def authoriser(
    keys: ApiKeys, open_paths: str
) -> Callable[[Mapping[bytes, bytes], str, str], str | None] | None:
    """Make the access check: a function that raises a `Refusal` if a request lacks a valid key.

    Args:
        open_paths: paths that need no key, separated by spaces; ``/`` includes the scripts and
            styles of the page.

    Returns:
        A function of a request's headers, method and path, which returns the name of the key, or
        None if the path needs no key. Without keys, None: everybody may call every path.
    """
    if not keys:
        return None
    is_open = frozenset(open_paths.split())

    def authorise(headers: Mapping[bytes, bytes], method: str, path: str) -> str | None:
        name = None
        if ("/" if path.startswith("/page/") else path) not in is_open:
            name = keys.check(headers, scope_of(method, path))
        if SYNTHETIC in headers:
            name = keys.check(headers, "synthetic")
        return name

    return authorise


def new_key() -> str:
    """Make a key of 32 random bytes."""
    return PREFIX + secrets.token_urlsafe(32)


def entry_of(name: str, key: str, scopes: Sequence[str] = ()) -> str:
    """The entry for a key in SERVING_API_KEYS.

    Raises:
        ConfigError: the name or a scope is invalid.
    """
    _check_entry("an API key", name, scopes)
    parts = (name, hashlib.sha256(key.encode()).hexdigest(), ",".join(scopes))
    return ":".join(filter(None, parts))


def _check_entry(which: str, name: str, scopes: Sequence[str]) -> None:
    if not _NAME.fullmatch(name) or name.startswith(PREFIX):
        raise ConfigError(
            f"{which}: the name must have 1 to 64 letters, digits, '.', '_' or '-', and not begin "
            f"with {PREFIX}"
        )
    if not set(scopes) <= set(SCOPES):
        raise ConfigError(f"{which} ({name}): unknown scope; the scopes are {', '.join(SCOPES)}")


def _key_in(headers: Mapping[bytes, bytes]) -> bytes:
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return credentials.strip()
    return headers.get(b"x-api-key", b"").strip()
