"""Keys that callers show, of which the service keeps digests only.

A key is random, so that its SHA-256 tells nothing of it and needs no salt or slow hash. What each
of them may do is told by scopes:

| scope | requests |
|---|---|
| predict | predictions, in every protocol |
| feedback | POST /feedback |
| metrics | /metrics |
| read | pages, documents, metadata, health and summary: what is left |
| synthetic | those marked X-Synthetic, beside the scope of their path: they hide from monitoring |
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

PREFIX = "mlops_"  # by which scanners for secrets find a key that has got into a repository
SCOPES = ("predict", "feedback", "metrics", "read", "synthetic")
CHALLENGE = (b"www-authenticate", b"Bearer")
"""The header that an answer with status 401 must have (RFC 9110, 11.6.1)."""

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
    scopes: frozenset[str]  # none: every one


class ApiKeys:
    """The keys that may ask; false where there are none.

    Args:
        entries: name, digest and scopes of each.
    """

    def __init__(self, entries: Sequence[_Entry]) -> None:
        self._entries = entries

    @classmethod
    def parse(cls, text: str) -> ApiKeys:
        """Entries as `entry_of` writes them, with white space between them.

        A name may stand twice, with the old key and the new one while callers change over.

        Raises:
            ConfigError: an entry is malformed or repeats a key; the message names it by its number
                and repeats nothing that might be a secret.
        """
        entries: list[_Entry] = []
        for number, told in enumerate(text.split(), start=1):
            which = f"SERVING_API_KEYS, entry {number}"
            name, *rest = told.split(":")
            if not 1 <= len(rest) <= 2 or not _DIGEST.fullmatch(rest[0]):
                raise ConfigError(
                    f"{which} is not name:sha256[:scope,scope] with 64 hexadecimal digits: "
                    "make api-key writes such entries"
                )
            scopes = rest[1].split(",") if len(rest) == 2 else []
            _check_entry(which, name, scopes)
            digest = bytes.fromhex(rest[0])
            if any(entry.digest == digest for entry in entries):
                raise ConfigError(f"{which} ({name}) has the key of an earlier entry")
            entries.append(_Entry(name, digest, frozenset(scopes)))
        return cls(entries)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def check(self, headers: Mapping[bytes, bytes], scope: str) -> str:
        """The name of the key in a request's headers: ``Authorization: Bearer`` or ``X-API-Key``.

        A key that is not known is answered like none, with 401, since 403 is for callers whose
        credentials are valid (RFC 9110, 15.5.2 and 15.5.4).

        Args:
            headers: by lower-case name.
            scope: what the request needs, of `SCOPES`.

        Raises:
            Refusal: 401 without a known key, 403 where the key lacks the scope.
        """
        key = _key_in(headers)
        if not key:
            told = "an API key is needed: Authorization: Bearer … or X-API-Key"
            raise Refusal(401, told, "unauthorized", [CHALLENGE])
        digest = hashlib.sha256(key).digest()
        found: _Entry | None = None
        for entry in self._entries:  # all of them, whichever it is
            if hmac.compare_digest(entry.digest, digest):
                found = entry
        if found is None:
            raise Refusal(401, "the API key is not known", "unauthorized", [CHALLENGE])
        if found.scopes and scope not in found.scopes:
            raise Refusal(403, f"the API key {found.name} lacks the scope {scope}", "forbidden")
        return found.name


def scope_of(method: str, path: str) -> str:
    """What a request needs, of `SCOPES`; a POST to a path that has no other is a prediction."""
    named = _SCOPE_OF_PATH.get(path)
    return named or ("predict" if method == "POST" else "read")


def authoriser(
    keys: ApiKeys, open_paths: str
) -> Callable[[Mapping[bytes, bytes], str, str], None] | None:
    """Takes a request's headers, method and path, and raises a `Refusal` where it may not pass.

    Args:
        open_paths: paths that need no key, with spaces between them; with ``/``, the page, its
            scripts and styles need none either.

    Returns:
        None where there are no keys, and so everybody may pass.
    """
    if not keys:
        return None
    is_open = frozenset(open_paths.split())

    def authorise(headers: Mapping[bytes, bytes], method: str, path: str) -> None:
        if ("/" if path.startswith("/page/") else path) not in is_open:
            keys.check(headers, scope_of(method, path))
        if SYNTHETIC in headers:
            keys.check(headers, "synthetic")

    return authorise


def new_key() -> str:
    """A key: 32 random bytes."""
    return PREFIX + secrets.token_urlsafe(32)


def entry_of(name: str, key: str, scopes: Sequence[str] = ()) -> str:
    """What SERVING_API_KEYS holds for a key.

    Raises:
        ConfigError: the name or a scope is none.
    """
    _check_entry("an API key", name, scopes)
    parts = (name, hashlib.sha256(key.encode()).hexdigest(), ",".join(scopes))
    return ":".join(filter(None, parts))


def _check_entry(which: str, name: str, scopes: Sequence[str]) -> None:
    if not _NAME.fullmatch(name) or name.startswith(PREFIX):
        raise ConfigError(f"{which}: a name has up to 64 letters, digits, '.', '_' and '-'")
    if not set(scopes) <= set(SCOPES):
        raise ConfigError(f"{which} ({name}): there are the scopes {', '.join(SCOPES)}")


def _key_in(headers: Mapping[bytes, bytes]) -> bytes:
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return credentials.strip()
    return headers.get(b"x-api-key", b"").strip()
