"""The ASGI application that answers predictions; what it does not know it passes on.

It stands around BentoML's own application, so that nothing of that runs for a prediction. A small
request is answered at once on the event loop; one that takes longer, or that waits for the
database, leaves it for a `BoundedExecutor`.
"""

from __future__ import annotations

import asyncio
import logging
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
    JSON_LENGTH,
    Refusal,
    Reply,
    Request,
    Route,
    Steps,
    retry_later,
)
from application.inference.protocols.synthetic import SYNTHETIC, source_of
from application.inference.protocols.trace import trace_id_of
from domain.errors import InputError, TooManyRowsError, UnknownPredictionError
from shared.request_id import request_id_of

logger = logging.getLogger(__name__)

SMALL_BYTES = 16 * 1024  # of a body that is answered on the event loop
ALIVE = ("/livez", "/healthz", "/v2/health/live")
READY = ("/readyz", "/ping", "/v2/health/ready")
_REFUSED = (
    (TooManyRowsError, 413, "too_large"),
    (InputError, 422, "invalid_input"),
    (msgspec.ValidationError, 422, "invalid_input"),
    (msgspec.DecodeError, 400, "invalid_input"),
    (UnicodeDecodeError, 400, "invalid_input"),
    (UnknownPredictionError, 404, "unknown_prediction"),
)
_ASKING = ("GET", "HEAD")
_USUAL = (None, b"application/json")
_TAKEN = (b"json", b"text/plain", b"text/csv", b"octet-stream", b"x-www-form-urlencoded")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Done = TypeVar("Done")


class RequestMetrics(Protocol):
    """Counts refused and synthetic requests, apart from ordinary traffic."""

    def record_error(self, error_type: str) -> None:
        """Count one that was not answered, by its reason."""

    def record_synthetic(self, source: str) -> None:
        """Count one that is marked as synthetic, by its source."""


@dataclass(frozen=True)
class Started:
    """What a service has when it is ready.

    Attributes:
        routes: how each path is answered.
        metrics: counts the requests that are not answered, and the synthetic ones.
        fallback: how a path that has no route is answered; None where it is not a protocol's.
        synthetic: how synthetic requests are answered, without being counted or logged; None where
            that is no different.
    """

    routes: Mapping[str, Route]
    metrics: RequestMetrics
    fallback: Callable[[str], Route | None] = lambda _path: None
    synthetic: Mapping[str, Route] | None = None


class Authorise(Protocol):
    """Lets a request pass or raises a `Refusal`."""

    def __call__(self, headers: Mapping[bytes, bytes], method: str, path: str, /) -> None:
        """Look at the key that it carries."""


class LogAccess(Protocol):
    """Writes a line for a request."""

    def __call__(
        self,
        request_id: str,
        method: str,
        path: str,
        status: int,
        seconds: float,
        trace_id: str | None,
    ) -> None:
        """Write it."""


class _Disconnected(Exception):
    """The caller has gone before its body was whole."""


class PredictionApp:
    """Answers the routes of a service, and its probes.

    Args:
        app: what answers other paths.
        serves: the methods that it answers at a path.
        started: there from the moment that the service is ready; where it has failed to become so,
            the reason is its exception.
        max_bytes: largest body where a route does not say.
        queue: most requests that wait for the model, and for the database.
        deadline: seconds that a request may take.
        authorise: None lets everybody pass.
        ready_paths: further paths that tell whether the service is ready.
        access_log: told of every request.
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
        """From now on say that others should be asked; what comes is answered still."""
        self._stopping = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close"})
            else:
                await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        request_id, trace_id = request_id_of(headers), trace_id_of(headers)
        if not self._routes and scope["method"] not in _ASKING:
            await self._wait_for_start()
        route = self._route(scope["path"], SYNTHETIC in headers)
        request = Request(request_id, headers, b"")
        try:
            reply = await self._reply(route, scope, request, receive)
        except _Disconnected:
            return
        except Exception as error:  # pylint: disable=broad-exception-caught  # the last defence
            reply = self._refused(route, error, request, trace_id)
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
            self._access_log(request_id, method, path, status, seconds, trace_id)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> int:
        """Let the other application answer, which is told the request's identity; its status."""
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
        if isinstance(reply.body, bytes) and reply.status != 304:  # there it is that of the content
            head.append((b"content-length", b"%d" % len(reply.body)))
        return reply.status, head, reply.body

    async def _reply(
        self, route: Route, scope: Scope, request: Request, receive: Receive
    ) -> bytes | Reply | None:
        """The reply to a request whose body has not been read; None where BentoML answers."""
        method, path = scope["method"], scope["path"]
        if self._authorise:
            self._authorise(request.headers, method, path)
        if route is _NOWHERE:
            return self._aside(method, path)
        if method not in route.methods:
            raise _not_allowed(method, route.methods)
        if source := source_of(request.headers):
            self._started.result().metrics.record_synthetic(source)
        most = route.max_bytes or self._max_bytes
        _check_head(request.headers, most)
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            body = await _rest(body, receive, most)
        elif len(body) > most:
            raise _too_large(most)
        elif message["type"] == "http.disconnect":
            raise _Disconnected
        request.body = body
        if route.waits:
            return await self._database.run(_steps(route, request))
        if len(body) > SMALL_BYTES or (route.slow and body):
            return await self._model.run(lambda: _begun(route, request))
        return _begun(route, request)

    async def _wait_for_start(self) -> None:
        """Wait for a model that is being loaded: another worker may have said that it is ready."""
        await asyncio.wait([asyncio.ensure_future(_settled(self._started))], timeout=self._deadline)

    def _route(self, path: str, synthetic: bool) -> Route:
        routes = self._routes
        if not routes:
            return _NOWHERE
        if synthetic:
            routes = self._started.result().synthetic or routes
        return routes.get(path) or self._started.result().fallback(path) or _NOWHERE

    def _aside(self, method: str, path: str) -> Reply | None:
        """The reply of a probe, or while there are no routes yet; None where BentoML answers."""
        probe = self._probes.get(path)
        if probe:
            if method not in _ASKING:
                raise _not_allowed(method, _ASKING)
            return probe()
        methods = self._serves(path)
        if methods and (self._routes or (method in methods and method in _ASKING)):
            return None
        if not self._routes:
            raise retry_later(503, "the model is not ready", "not_ready", 1)
        raise Refusal(404, "there is nothing at this path", "unknown_path")

    @staticmethod
    def _alive() -> Reply:
        return Reply(b"\n", content_type=b"text/plain")

    def _ready(self) -> Reply:
        status, told = "starting", "the model is being loaded"
        if self._stopping:
            status, told = "stopping", "the service has been told to stop"
        elif self._routes:
            return Reply(b"\n", content_type=b"text/plain")
        elif self._started.done():
            status, told = "failed", str(self._started.exception())
        return Reply(msgspec.json.encode({"status": status, "error": told}), 503)

    async def _send_parts(self, parts: Iterator[bytes], send: Send) -> None:
        """Send each part when it is made, on the lane of the model, however many wait there.

        An error breaks the answer off: its end is missing, which the client sees.
        """
        while part := await self._model.run(lambda: next(parts, b""), waits=True):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _refused(
        self, route: Route, error: Exception, request: Request, trace_id: str | None
    ) -> Reply:
        if isinstance(error, msgspec.ValidationError):
            error = _syntax_error(request) or error
        refusal = _refusal_of(error)
        request_id = request.request_id
        if refusal.status == 500:
            told = {"request_id": request_id, "trace_id": trace_id}
            logger.error("request %s failed", request_id, exc_info=error, extra=told)
        # who may not ask cannot hide it by the mark
        if self._routes and (SYNTHETIC not in request.headers or refusal.status in (401, 403)):
            self._started.result().metrics.record_error(refusal.error_type)
        reply = route.refuse(refusal.status, str(refusal), request_id)
        reply.headers += refusal.headers
        return reply


def _check_head(headers: Mapping[bytes, bytes], most: int) -> None:
    """Refuse a body that would be too large, or of a kind that is not taken, before it is read."""
    length = headers.get(b"content-length")
    # httptools bounds the number, but not the zeros before it
    if length is not None and int(length.lstrip(b"0") or b"0") > most:
        raise _too_large(most)
    kind = headers.get(b"content-type")
    if kind not in _USUAL and not any(word in kind for word in _TAKEN):
        told = kind.decode("latin-1")[:100]
        raise Refusal(415, f"the content type {told!r} is not taken: send application/json")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Refusal(415, "a body that is compressed is not taken")


async def _settled(future: Future[Any]) -> None:
    with suppress(Exception):  # why it failed is told elsewhere
        await asyncio.shield(asyncio.wrap_future(future))


def _steps(route: Route, request: Request) -> Steps:
    """A reply in steps, of which most have one."""
    reply = route.handle(request)
    return (yield from reply) if isinstance(reply, Generator) else reply


def _begun(route: Route, request: Request) -> bytes | Reply:
    """A reply whose first part is made: what goes wrong with it can be told by a status."""
    reply = route.handle(request)
    if isinstance(reply, Generator):
        raise TypeError("only a route that waits answers in steps")
    if isinstance(reply, Reply) and not isinstance(reply.body, bytes):
        reply.body = chain([next(reply.body, b"")], reply.body)
    return reply


async def _rest(body: bytes, receive: Receive, most: int) -> bytes:
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
    """Why a body is not JSON, if it is not: a typed decoder reports a wrong type before that."""
    if JSON_LENGTH in request.headers:
        return None
    try:
        msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return error
    return None


def _refusal_of(error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, RecursionError):
        return Refusal(400, "the JSON is nested too deeply")
    for kind, status, error_type in _REFUSED:
        if isinstance(error, kind):
            return Refusal(status, str(error), error_type)
    return Refusal(500, "an unexpected fault, recorded in the service's log", "internal")


def _not_allowed(method: str, methods: Collection[str]) -> Refusal:
    allowed = ", ".join(methods)
    told = f"{method} is not answered here, only {allowed}"
    return Refusal(405, told, "unknown_method", [(b"allow", allowed.encode())])


def _never(_request: Request) -> bytes:
    raise AssertionError("a path without a route is not handled")


_JSON = (b"content-type", JSON)
_NOWHERE = Route((), _never)
