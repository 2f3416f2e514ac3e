"""The ASGI application that serves predictions; requests without a route here go on to BentoML.

It wraps BentoML's own application, so that none of BentoML's code runs for a prediction. A small
request is handled on the event loop; one that takes longer, or waits for the database, is handled
by a `BoundedExecutor`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
)
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol, TypeVar

import msgspec

from application.inference.protocols.executors import BoundedExecutor, StepExecutor
from application.inference.protocols.http import (
    JSON,
    Refusal,
    Reply,
    Request,
    Route,
    Steps,
    retry_later,
)
from application.inference.protocols.json_faults import json_fault
from application.inference.protocols.synthetic import SYNTHETIC, source_of
from application.inference.protocols.trace import trace_id_of
from domain.errors import (
    InputError,
    PredictionLogError,
    TooManyRowsError,
    UnknownPredictionError,
)
from shared.request_id import request_id_of

logger = logging.getLogger(__name__)

SMALL_BYTES = 16 * 1024  # largest body that is handled on the event loop
ALIVE = ("/livez", "/healthz", "/v2/health/live")
READY = ("/readyz", "/ping", "/v2/health/ready")
_ERRORS = (
    (TooManyRowsError, 413, "too_large"),
    (InputError, 422, "invalid_input"),
    (msgspec.ValidationError, 422, "invalid_input"),
    (msgspec.DecodeError, 400, "invalid_input"),
    (RecursionError, 400, "invalid_input"),
    (UnicodeDecodeError, 400, "invalid_input"),
    (UnknownPredictionError, 404, "unknown_prediction"),
)
_READ_METHODS = ("GET", "HEAD")
_USUAL_TYPES = (None, b"application/json")
_OTHER_TYPES = (b"json", b"text/plain", b"text/csv", b"octet-stream", b"x-www-form-urlencoded")
_CHARSET = re.compile(rb";\s*charset\s*=\s*\"?([^\";\s]*)")
_CHARSETS = (b"utf-8", b"utf8", b"us-ascii", b"ascii")  # bodies are read as UTF-8

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Done = TypeVar("Done")


class RequestMetrics(Protocol):
    """Counts refused and synthetic requests, apart from ordinary traffic."""

    def record_error(self, error_type: str) -> None:
        """Count a refused request, by the reason."""

    def record_synthetic(self, source: str) -> None:
        """Count a synthetic request, by its source."""


@dataclass(frozen=True)
class Started:
    """A service that is ready.

    Attributes:
        routes: the route of each path.
        metrics: counts refused and synthetic requests.
        fallback: gives the route of a path that is not in `routes`, or None.
        synthetic: the routes for synthetic requests, which are not counted or logged; None if they
            are the same.
    """

    routes: Mapping[str, Route]
    metrics: RequestMetrics
    fallback: Callable[[str], Route | None] = lambda _path: None
    synthetic: Mapping[str, Route] | None = None


class Authorise(Protocol):
    """Lets a request pass or raises a `Refusal`."""

    def __call__(self, headers: Mapping[bytes, bytes], method: str, path: str, /) -> str | None:
        """Check the key of a request, and return its name; None if the path needs no key."""


class LogAccess(Protocol):
    """Logs a request."""

    def __call__(
        self,
        request_id: str,
        method: str,
        path: str,
        status: int,
        seconds: float,
        client: str | None,
        trace_id: str | None,
    ) -> None:
        """Write one line."""


class _Disconnected(Exception):
    """The client disconnected before its body was complete."""


class PredictionApp:
    """Serves the routes and the probes of a service.

    Args:
        app: the application that handles all other paths.
        serves: gives the methods that `app` supports at a path.
        started: done when the service is ready; its exception says why the service could not
            start.
        max_bytes: largest body, for routes without a limit of their own.
        queue: maximum number of requests waiting for the model, and for the database.
        deadline: seconds that a request may take.
        authorise: checks access; None lets everybody in.
        ready_paths: further paths of the readiness probe.
        access_log: logs every request.
    """

    def __init__(
        self,
        app: App,
        serves: Callable[[str], Collection[str]],
        *,
        started: Future[Started],
        max_bytes: int = 8 * 2**20,
        queue: int = 64,
        deadline: float = 30.0,
        authorise: Authorise | None = None,
        ready_paths: Iterable[str] = (),
        access_log: LogAccess | None = None,
    ) -> None:
        self._app = app
        self._serves = serves
        self._max_bytes = max_bytes
        self._authorise = authorise
        self._access_log = access_log
        self._model = BoundedExecutor("model", queue, deadline)
        self._database = StepExecutor("database", queue, deadline)
        self._deadline = deadline
        self._probes = dict.fromkeys(ALIVE, self._alive)
        self._probes |= dict.fromkeys((*READY, *ready_paths), self._ready)
        self._started = started
        self._routes: Mapping[str, Route] = {}
        self._stopping = False
        started.add_done_callback(self._start)

    def _start(self, started: Future[Started]) -> None:
        error = started.exception()
        if error:
            logger.critical("the service cannot become ready: %s", error, exc_info=error)
        else:
            self._routes = started.result().routes

    def stop(self) -> None:
        """Report not ready from now on; requests that still arrive are handled."""
        self._stopping = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close"})
            else:
                await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        request_id, trace_id = request_id_of(headers), trace_id_of(headers)
        if not self._routes and scope["method"] not in _READ_METHODS:
            await self._wait_for_start()
        route = self._route(scope["path"], SYNTHETIC in headers)
        request = Request(request_id, headers, b"", scope.get("query_string", b""))
        try:
            reply = await self._reply(route, scope, request, receive)
        except _Disconnected:
            return
        except Exception as error:  # pylint: disable=broad-exception-caught  # the last defence
            reply = self._error_reply(route, error, request, trace_id)
        if reply is None:
            status = await self._pass_on(scope, receive, send, request_id)
        else:
            status, head, body = self._parts_of(reply, request_id)
            if trace_id:
                head.append((b"traceparent", headers[b"traceparent"]))
            await send({"type": "http.response.start", "status": status, "headers": head})
            if isinstance(body, bytes):
                await send({"type": "http.response.body", "body": body})
            else:
                await self._send_parts(body, send)
        if self._access_log:
            seconds = time.perf_counter() - start
            method, path = scope["method"], scope["path"]
            client, _ = scope.get("client") or (None, None)
            self._access_log(request_id, method, path, status, seconds, client, trace_id)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> int:
        """Let the other application handle a request, with its request ID; returns the status."""
        headers = [header for header in scope["headers"] if header[0] != b"x-request-id"]
        headers.append((b"x-request-id", request_id.encode()))
        status = 500

        async def send_on(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        await self._app({**scope, "headers": headers}, receive, send_on)
        return status

    def _parts_of(
        self, reply: bytes | Reply, request_id: str
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes | Iterator[bytes]]:
        """Status, headers and body."""
        head = [(b"x-request-id", request_id.encode())]
        if self._stopping:
            head.append((b"connection", b"close"))
        if isinstance(reply, bytes):
            head += [_JSON, (b"content-length", b"%d" % len(reply))]
            return 200, head, reply
        head += [(b"content-type", reply.content_type), *reply.headers]
        if isinstance(reply.body, bytes) and reply.status != 304:  # 304 has no body
            head.append((b"content-length", b"%d" % len(reply.body)))
        return reply.status, head, reply.body

    async def _reply(
        self, route: Route, scope: Scope, request: Request, receive: Receive
    ) -> bytes | Reply | None:
        """Read the body and handle the request; None if BentoML handles it."""
        method, path = scope["method"], scope["path"]
        if self._authorise:
            request.caller = self._authorise(request.headers, method, path)
        if route is _NO_ROUTE:
            return self._unrouted(method, path)
        if method not in route.methods:
            raise _not_allowed(method, route.methods)
        if source := source_of(request.headers):
            self._started.result().metrics.record_synthetic(source)
        most = route.max_bytes or self._max_bytes
        _check_head(request.headers, most, route.any_content_type)
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            body = await _read_rest(body, receive, most)
        elif len(body) > most:
            raise _too_large(most)
        elif message["type"] == "http.disconnect":
            raise _Disconnected
        request.body = body
        if route.waits:
            return await self._database.run(_steps(route, request))
        if len(body) > SMALL_BYTES or (route.slow and body):
            return await self._model.run(lambda: _first_part(route, request))
        return _first_part(route, request)

    async def _wait_for_start(self) -> None:
        """Wait until the model is loaded: another worker may have reported ready already."""
        await asyncio.wait([asyncio.ensure_future(_settled(self._started))], timeout=self._deadline)

    def _route(self, path: str, synthetic: bool) -> Route:
        routes = self._routes
        if not routes:
            return _NO_ROUTE
        if synthetic:
            routes = self._started.result().synthetic or routes
        return routes.get(path) or self._started.result().fallback(path) or _NO_ROUTE

    def _unrouted(self, method: str, path: str) -> Reply | None:
        """Handle a path without a route: a probe, or None if BentoML handles it."""
        probe = self._probes.get(path)
        if probe:
            if method not in _READ_METHODS:
                raise _not_allowed(method, _READ_METHODS)
            return probe()
        methods = self._serves(path)
        if methods and (self._routes or (method in methods and method in _READ_METHODS)):
            return None
        if not self._routes:
            raise retry_later(503, "the model is not ready", "not_ready", 1)
        raise Refusal(404, "unknown path: /docs.json lists all endpoints", "unknown_path")

    @staticmethod
    def _alive() -> Reply:
        return Reply(b"\n", content_type=b"text/plain")

    def _ready(self) -> Reply:
        status, message = "starting", "the model is being loaded"
        if self._stopping:
            status, message = "stopping", "the service is stopping"
        elif self._routes:
            return Reply(b"\n", content_type=b"text/plain")
        elif self._started.done():
            status, message = "failed", str(self._started.exception())
        return Reply(msgspec.json.encode({"status": status, "error": message}), 503)

    async def _send_parts(self, parts: Iterator[bytes], send: Send) -> None:
        """Send each part as soon as it is made, on the model's executor, even if that is full.

        An error ends the response early, which the client detects.
        """
        while part := await self._model.run(lambda: next(parts, b""), waits=True):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _error_reply(
        self, route: Route, error: Exception, request: Request, trace_id: str | None
    ) -> Reply:
        if isinstance(error, msgspec.ValidationError):
            error = _syntax_error(request) or error
        refusal = _refusal_of(error, request.json)
        request_id = request.request_id
        if refusal.status == 500:
            ids = {"request_id": request_id, "trace_id": trace_id}
            logger.error("request %s failed", request_id, exc_info=error, extra=ids)
        # refused access counts even if the request is marked as synthetic
        if self._routes and (SYNTHETIC not in request.headers or refusal.status in (401, 403)):
            self._started.result().metrics.record_error(refusal.error_type)
        reply = route.refuse(refusal.status, str(refusal), request_id)
        reply.headers += refusal.headers
        return reply


def _check_head(headers: Mapping[bytes, bytes], most: int, any_content_type: bool) -> None:
    """Refuse a body that is too large or of an unsupported type before it is read."""
    length = headers.get(b"content-length")
    # httptools limits the number, but not its leading zeros
    if length is not None and int(length.lstrip(b"0") or b"0") > most:
        raise _too_large(most)
    kind = headers.get(b"content-type")
    if kind not in _USUAL_TYPES:
        _check_content_type(kind, any_content_type)
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Refusal(415, "compressed bodies are not supported: send the body uncompressed")


def _check_content_type(kind: bytes, any_content_type: bool) -> None:
    lower = kind.lower()
    charset = _CHARSET.search(lower)
    if not any_content_type and not any(word in lower for word in _OTHER_TYPES):
        name = kind.decode("latin-1")[:100]
        raise Refusal(415, f"unsupported content type {name!r}: send application/json")
    if charset and charset[1] not in _CHARSETS:
        name = charset[1].decode("latin-1")[:100]
        raise Refusal(415, f"unsupported charset {name!r}: send UTF-8")


async def _settled(future: Future[Any]) -> None:
    with suppress(Exception):  # `_start` logs it
        await asyncio.shield(asyncio.wrap_future(future))


def _steps(route: Route, request: Request) -> Steps:
    """A reply in steps; most replies take one."""
    reply = route.handle(request)
    return (yield from reply) if isinstance(reply, Generator) else reply


def _first_part(route: Route, request: Request) -> bytes | Reply:
    """A reply whose first part is made, so that an error in it can still set the status."""
    reply = route.handle(request)
    if isinstance(reply, bytes):
        return reply
    if isinstance(reply, Generator):
        raise TypeError("only a route that waits replies in steps")
    if not isinstance(reply.body, bytes):
        reply.body = chain([next(reply.body, b"")], reply.body)
    return reply


async def _read_rest(body: bytes, receive: Receive, most: int) -> bytes:
    parts, size, more = [body], len(body), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Disconnected
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise _too_large(most)
        more = message.get("more_body", False)
    return b"".join(parts)


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"the body is larger than {most} bytes", "too_large")


def _syntax_error(request: Request) -> Exception | None:
    """Why a body is not valid JSON, if so: a typed decoder may report a wrong type first."""
    try:
        msgspec.json.decode(request.json)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return error
    return None


def _refusal_of(error: Exception, body: bytes) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, PredictionLogError):
        return retry_later(503, str(error), "log_unavailable", 1)
    for kind, status, error_type in _ERRORS:
        if isinstance(error, kind):
            return Refusal(status, json_fault(error, body), error_type)
    return Refusal(500, "internal error: see the service's log", "internal")


def _not_allowed(method: str, methods: Collection[str]) -> Refusal:
    allowed = ", ".join(methods)
    message = f"method {method} is not allowed here: use {allowed}"
    return Refusal(405, message, "unknown_method", [(b"allow", allowed.encode())])


def _no_handler(_request: Request) -> bytes:
    raise AssertionError("a path without a route has no handler")


_JSON = (b"content-type", JSON)
_NO_ROUTE = Route((), _no_handler)
