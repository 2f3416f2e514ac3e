"""HTTP requests, responses and routes, as every protocol uses them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

JSON = b"application/json"
JSON_LENGTH = b"inference-header-content-length"
"""The header with the length of the JSON at the start of a body; binary tensors follow it."""

MOST_DIGITS = 18  # of a length in bytes


class Request(msgspec.Struct, gc=False):
    """A request with its complete body.

    Attributes:
        request_id: the caller's ID, or a new one.
        headers: by lower-case name; if a name occurs twice, the last one.
        query: the query string of the URL.
        caller: name of the API key; None if the path needs none.
    """

    request_id: str
    headers: Mapping[bytes, bytes]
    body: bytes
    query: bytes = b""
    caller: str | None = None

    @property
    def content_type(self) -> str:
        """The content type in lower case, without parameters; empty if the header is missing."""
        value = self.headers.get(b"content-type", b"")
        return value.partition(b";")[0].strip().lower().decode("latin-1")

    @property
    def json(self) -> bytes:
        """The body without the binary tensors that may follow its JSON."""
        length = self.headers.get(JSON_LENGTH, b"")
        if length.isdigit() and len(length) <= MOST_DIGITS:
            return self.body[: int(length)]
        return self.body


@dataclass(slots=True)
class Reply:
    """The response to a request.

    Attributes:
        body: complete, or an iterator of parts, each made while the previous one is sent.
    """

    body: bytes | Iterator[bytes]
    status: int = 200
    content_type: bytes = JSON
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


class Refusal(Exception):
    """A request is refused.

    Args:
        status: HTTP status.
        error_type: the reason as the metrics count it, a word or two.
        headers: further headers of the reply.
    """

    def __init__(
        self,
        status: int,
        message: str,
        error_type: str = "invalid_input",
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type
        self.headers = headers


def retry_later(status: int, message: str, error_type: str, seconds: float) -> Refusal:
    """A refusal with the header Retry-After."""
    wait = str(max(1, math.ceil(seconds))).encode()
    return Refusal(status, message, error_type, [(b"retry-after", wait)])


Steps = Generator[float, None, bytes | Reply]
"""A reply that is made in steps: each step yields the seconds to wait before the next one."""

Handler = Callable[[Request], bytes | Reply | Steps]
"""Handles a request. Returns a JSON body (status 200), a reply, or the steps to one of them.

It may raise `Refusal`, `InputError` (422), `UnknownPredictionError` (404), `PredictionLogError`
(503), msgspec's `ValidationError` (422) and `DecodeError` (400); any other error is a bug (500).
"""


def finish(steps: Steps) -> bytes | Reply:
    """Run all steps in this thread, waiting between them, and return the reply."""
    while isinstance(done := advance(steps), float):
        time.sleep(done)
    return done


def advance(steps: Steps) -> float | bytes | Reply:
    """Run one step; returns the seconds to wait before the next one, or the reply."""
    try:
        return next(steps)
    except StopIteration as end:
        reply: bytes | Reply = end.value
        return reply


Refuse = Callable[[int, str, str], Reply]
"""Makes the error reply of a protocol from a status, a message and the request ID."""


def refuse(status: int, message: str, request_id: str) -> Reply:
    """``{"error": …, "request_id": …}``, for protocols without an error format of their own."""
    return Reply(msgspec.json.encode({"error": message, "request_id": request_id}), status)


@dataclass(frozen=True, slots=True)
class Route:
    """How the requests to one path are handled.

    Attributes:
        methods: HTTP methods; others get 405. GET implies HEAD, whose body the server leaves out.
        max_bytes: largest body; None for the limit of the service.
        waits: whether the handler waits for the database, and so runs off the event loop; only
            then it may reply in steps.
        slow: whether even one row takes so long that the handler runs off the event loop.
        any_content_type: whether the handler itself checks the content type; others get JSON or
            text.
    """

    methods: tuple[str, ...]
    handle: Handler
    refuse: Refuse = refuse
    max_bytes: int | None = None
    waits: bool = False
    slow: bool = False
    any_content_type: bool = False

    def __post_init__(self) -> None:
        if "GET" in self.methods and "HEAD" not in self.methods:  # a copy of a route has it
            object.__setattr__(self, "methods", (*self.methods, "HEAD"))
