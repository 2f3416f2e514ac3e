"""What the protocols share: a request, its reply, and routes from one to the other."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

JSON = b"application/json"
JSON_LENGTH = b"inference-header-content-length"
"""The header that says how long the JSON at the start of a body is; binary tensors follow it."""


class Request(msgspec.Struct, gc=False):
    """A request whose body is whole.

    Attributes:
        request_id: its caller's name for it, or a new one.
        headers: by lower-case name; where a name comes twice, the last one.
    """

    request_id: str
    headers: Mapping[bytes, bytes]
    body: bytes

    @property
    def content_type(self) -> str:
        """In lower case, without parameters; empty where none is told."""
        told = self.headers.get(b"content-type", b"")
        return told.partition(b";")[0].strip().lower().decode("latin-1")


@dataclass(slots=True)
class Reply:
    """What is answered.

    Attributes:
        body: whole, or in parts that are made while the earlier ones are sent.
    """

    body: bytes | Iterator[bytes]
    status: int = 200
    content_type: bytes = JSON
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


class Refusal(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        error_type: reason in the metrics, a word or two.
        headers: of the reply.
    """

    def __init__(
        self,
        status: int,
        told: str,
        error_type: str = "invalid_input",
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(told)
        self.status = status
        self.error_type = error_type
        self.headers = headers


def retry_later(status: int, told: str, error_type: str, seconds: float) -> Refusal:
    """A refusal that says after how many seconds the request may be sent again."""
    wait = str(max(1, math.ceil(seconds))).encode()
    return Refusal(status, told, error_type, [(b"retry-after", wait)])


Steps = Generator[float, None, bytes | Reply]
"""A reply that is made in steps: each yields for how many seconds the next one can wait."""

Handler = Callable[[Request], bytes | Reply | Steps]
"""Answers a request: a JSON body with status 200, or a whole reply, or steps to one of them.

It may raise `Refusal`, `InputError` (422), `UnknownPredictionError` (404), msgspec's
`ValidationError` (422) and `DecodeError` (400); any other error is a fault of ours (500).
"""


def finish(steps: Steps) -> bytes | Reply:
    """Make a reply in this thread, which waits between the steps."""
    while isinstance(done := advance(steps), float):
        time.sleep(done)
    return done


def advance(steps: Steps) -> float | bytes | Reply:
    """Do one step: for how many seconds the next one can wait, or the reply."""
    try:
        return next(steps)
    except StopIteration as end:
        reply: bytes | Reply = end.value
        return reply


Refuse = Callable[[int, str, str], Reply]
"""Status, reason and request identity → the reply that says so in a protocol's own form."""


def refuse(status: int, told: str, request_id: str) -> Reply:
    """``{"error": …, "request_id": …}``, where a protocol has no form of its own."""
    return Reply(msgspec.json.encode({"error": told, "request_id": request_id}), status)


@dataclass(frozen=True, slots=True)
class Route:
    """How one path is answered.

    Attributes:
        methods: of HTTP; others are answered with 405.
        max_bytes: largest body; None for the service's own limit.
        waits: whether it waits for the database, and so leaves the event loop; only such a route
            may answer in steps.
        slow: whether even one row takes so long that it leaves the event loop.
    """

    methods: tuple[str, ...]
    handle: Handler
    refuse: Refuse = refuse
    max_bytes: int | None = None
    waits: bool = False
    slow: bool = False
