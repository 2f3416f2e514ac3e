"""The application around BentoML's: what it serves, refuses, passes on, and runs off the loop."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest

from application.inference.protocols.app import (
    ALIVE,
    READY,
    SMALL_BYTES,
    Message,
    PredictionApp,
    Receive,
    Scope,
    Send,
    Started,
)
from application.inference.protocols.http import Handler, Refusal, Reply, Request, Route, Steps
from domain.errors import (
    InputError,
    PredictionLogError,
    TooManyRowsError,
    UnknownPredictionError,
)
from tests.fakes import FakeMetrics

PATIENCE = 10.0
SECRET = "password=hunter2 in model.onnx"
TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
Headers = Sequence[tuple[bytes, bytes]]


@dataclass
class Inner:
    """The wrapped application; it has three paths.

    Attributes:
        reached: arguments of each call.
        respond: sends the response; by default there is none.
    """

    reached: list[tuple[Scope, Receive, Send]] = field(default_factory=list)
    respond: Callable[[Send], Awaitable[None]] | None = None

    @staticmethod
    def serves(path: str) -> Sequence[str]:
        """The methods that it supports at a path."""
        return ("GET", "HEAD", "POST") if path in ("/", "/metrics", "/docs") else ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reached.append((scope, receive, send))
        if self.respond:
            await self.respond(send)


@dataclass(frozen=True)
class Response:
    """The messages of a response; none if there was no response."""

    messages: list[Message]
    read: int

    @property
    def status(self) -> int:
        """The HTTP status."""
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The headers, without duplicates."""
        pairs = self.messages[0]["headers"]
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    @property
    def body(self) -> bytes:
        """The whole body; its length matches the header, if there is one."""
        assert self.messages[0]["type"] == "http.response.start"
        parts = self.messages[1:]
        assert [part.get("more_body", False) for part in parts] == [True] * (len(parts) - 1) + [
            False
        ]
        body = b"".join(part["body"] for part in parts)
        assert self.headers.get(b"content-length", str(len(body)).encode()) == b"%d" % len(body)
        return body

    @property
    def json(self) -> Any:
        """The body as data."""
        return json.loads(self.body)


class Service:
    """An application with routes, and its fakes.

    Args:
        ready: whether it has started.
    """

    def __init__(
        self, routes: Mapping[str, Route] | None = None, *, ready: bool = True, **options: Any
    ) -> None:
        self.inner = Inner()
        self.metrics = FakeMetrics()
        self.started: Future[Started] = Future()
        self.app = PredictionApp(self.inner, self.inner.serves, started=self.started, **options)
        self.routes = ROUTES if routes is None else routes
        if ready:
            self.become_ready()

    def become_ready(self) -> None:
        """Finish the start."""
        self.started.set_result(Started(self.routes, self.metrics, self.fallback))

    @staticmethod
    def fallback(path: str) -> Route | None:
        """The route of a protocol for everything below a path."""
        return ROUTES["/own"] if path.startswith("/protocol/") else None

    async def exchange(self, scope: Scope, messages: Sequence[Message] = ()) -> Response:
        """One exchange; reading beyond the messages waits, as for a silent client."""
        sent: list[Message] = []
        remaining, read = iter(messages), 0

        async def receive() -> Message:
            nonlocal read
            read += 1
            message = next(remaining, None)
            if message is None:
                await asyncio.Event().wait()
            assert message is not None
            return message

        async def send(message: Message) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        return Response(sent, read)

    async def send(
        self, path: str, body: bytes = b"", *, method: str = "POST", headers: Headers = ()
    ) -> Response:
        """One request whose body comes at once."""
        message = {"type": "http.request", "body": body, "more_body": False}
        return await self.exchange(http(path, method, headers), [message])

    def call(self, path: str, *messages: Message, headers: Headers = ()) -> Response:
        """One request whose body comes in these messages."""
        return asyncio.run(self.exchange(http(path, headers=headers), messages))

    def post(self, path: str, body: bytes = b"", headers: Headers = ()) -> Response:
        """One request whose body comes at once, on an event loop of its own."""
        return asyncio.run(self.send(path, body, headers=headers))

    def get(self, path: str, method: str = "GET", headers: Headers = ()) -> Response:
        """One request without a body."""
        return asyncio.run(self.send(path, method=method, headers=headers))


def http(path: str, method: str = "POST", headers: Headers = ()) -> Scope:
    """The ASGI scope of a request."""
    return {"type": "http", "method": method, "path": path, "headers": list(headers)}


def part(body: bytes, more: bool = True) -> Message:
    """A part of a body."""
    return {"type": "http.request", "body": body, "more_body": more}


def echo(request: Request) -> bytes:
    """Describe the request."""
    seen = {"id": request.request_id, "bytes": len(request.body), "type": request.content_type}
    return msgspec.json.encode(seen)


def own_format(status: int, message: str, request_id: str) -> Reply:
    """An error in the format of some protocol."""
    return Reply(msgspec.json.encode({"why": message, "for": request_id}), status, b"text/x-own")


def route(handle: Handler, **more: Any) -> Route:
    """A route for POST."""
    return Route(("POST",), handle, **more)


def raising(error: Exception) -> Route:
    """A route that raises an error."""

    def handle(_request: Request) -> bytes:
        raise error

    return route(handle)


class Gate:
    """A handler that waits until it is released."""

    def __init__(self) -> None:
        self.reached, self.let_go = threading.Semaphore(0), threading.Event()

    def __call__(self, _request: Request) -> bytes:
        self.reached.release()
        assert self.let_go.wait(PATIENCE)
        return b"{}"

    async def wait(self) -> None:
        """Wait until one more request has arrived, without blocking the event loop."""
        assert await asyncio.to_thread(self.reached.acquire, timeout=PATIENCE)


@pytest.fixture(name="gate")
def _gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.let_go.set()


ROUTES = {
    "/echo": route(echo),
    "/own": route(echo, refuse=own_format),
    "/both": Route(("GET", "POST"), echo),
}
LARGE = b" " * (SMALL_BYTES + 1)


# responses


def test_a_response_is_json_with_length_and_request_id() -> None:
    response = Service().post("/echo", b"12345", [(b"x-request-id", b"order-7")])
    assert response.status == 200
    assert response.json == {"id": "order-7", "bytes": 5, "type": ""}
    assert response.headers == {
        b"content-type": b"application/json",
        b"content-length": b"%d" % len(response.body),
        b"x-request-id": b"order-7",
    }


def test_without_an_identity_of_the_caller_the_request_has_a_new_one() -> None:
    response = Service().post("/echo")
    assert len(response.json["id"]) == 32
    assert response.headers[b"x-request-id"] == response.json["id"].encode()


def test_a_synthetic_request_has_routes_of_its_own_and_counts_by_its_source_only() -> None:
    service = Service(ready=False)
    quiet = {"/own": route(lambda _: b'"not counted"'), "/bad": raising(InputError("no"))}
    service.started.set_result(
        Started({"/own": route(lambda _: b'"counted"')}, service.metrics, synthetic=quiet)
    )
    marked = [(b"x-synthetic", b"load"), (b"x-request-id", b"mine-1")]
    assert service.post("/own").json == "counted"
    assert not service.metrics.synthetic
    response = service.post("/own", headers=marked)
    assert (response.json, response.headers[b"x-request-id"]) == ("not counted", b"mine-1")
    assert service.post("/bad", headers=marked).status == 422
    assert service.get("/own", headers=marked).status == 405
    assert service.metrics.synthetic == {"load": 2}
    assert not service.metrics.errors


def test_synthetic_requests_get_ordinary_responses_by_default() -> None:
    service = Service({"/own": route(lambda _: b'"the same"')})
    assert service.post("/own", headers=[(b"x-synthetic", b"x")]).json == "the same"
    assert service.metrics.synthetic == {"other": 1}


def test_who_may_not_mark_a_request_is_counted_as_refused() -> None:
    def authorise(_headers: Mapping[bytes, bytes], _method: str, _path: str) -> None:
        raise Refusal(403, "lacks the scope synthetic", "forbidden")

    service = Service({"/own": route(lambda _: b"1")}, authorise=authorise)
    assert service.post("/own", headers=[(b"x-synthetic", b"load")]).status == 403
    assert service.metrics.errors == {"forbidden": 1}
    assert not service.metrics.synthetic


def test_a_handler_sees_who_called() -> None:
    seen: list[str | None] = []

    def handle(request: Request) -> bytes:
        seen.append(request.caller)
        return b"1"

    service = Service({"/own": route(handle)}, authorise=lambda *_: "shop")
    assert service.post("/own").status == 200
    assert seen == ["shop"]


def test_a_whole_reply_keeps_its_status_type_and_headers() -> None:
    reply = Reply(b"a,b", 202, b"text/csv", [(b"etag", b"7")])
    response = Service({"/csv": route(lambda _: reply)}).post("/csv")
    assert (response.status, response.body) == (202, b"a,b")
    assert (response.headers[b"content-type"], response.headers[b"etag"]) == (b"text/csv", b"7")


def test_a_304_has_no_length() -> None:
    reply = Reply(b"", 304, b"text/csv", [(b"etag", b"7")])
    response = Service({"/csv": Route(("GET",), lambda _: reply)}).get("/csv")
    assert (response.status, response.body) == (304, b"")
    assert b"content-length" not in response.headers  # that would be the length of the content


def test_a_get_route_handles_head_like_get() -> None:
    heads = [Service().get("/both", method) for method in ("GET", "HEAD")]
    assert [head.status for head in heads] == [200, 200]
    assert heads[0].headers[b"content-length"] == heads[1].headers[b"content-length"]


def test_a_body_that_comes_in_parts_is_put_together() -> None:
    seen: list[bytes] = []

    def handle(request: Request) -> bytes:
        seen.append(request.body)
        return b"{}"

    service = Service({"/": route(handle)})
    nothing: Message = {"type": "http.request", "more_body": True}
    service.call("/", part(b"[[5.1, "), nothing, part(b"3.5]", True), part(b"]", False))
    assert seen == [b"[[5.1, 3.5]]"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_another_method_gets_a_405_in_the_form_of_the_route(method: str) -> None:
    service = Service()
    response = service.get("/own", method, [(b"x-request-id", b"a")])
    assert (response.status, response.headers[b"allow"]) == (405, b"POST")
    message = f"method {method} is not allowed here: use POST"
    assert response.json == {"why": message, "for": "a"}
    assert service.get("/both", "PUT").headers[b"allow"] == b"GET, POST, HEAD"
    assert not service.inner.reached
    assert service.metrics.errors == {"unknown_method": 2}


def test_a_trace_of_the_caller_is_returned_and_a_malformed_one_is_not() -> None:
    assert (
        Service().post("/echo", headers=[(b"traceparent", TRACE)]).headers[b"traceparent"] == TRACE
    )
    malformed = Service().post("/echo", headers=[(b"traceparent", b"00-abc-def-01")])
    assert b"traceparent" not in malformed.headers


# passing on


@pytest.mark.parametrize("ready", [True, False])
@pytest.mark.parametrize(("path", "method"), [("/", "GET"), ("/metrics", "GET"), ("/docs", "HEAD")])
def test_other_paths_are_forwarded_unchanged(path: str, method: str, ready: bool) -> None:
    service = Service(ready=ready)
    headers = ((b"accept", b"*/*"), (b"x-request-id", b"a"))
    response = service.get(path, method, headers)
    ((passed, _, _),) = service.inner.reached
    assert passed == http(path, method, headers)
    assert (response.messages, response.read) == ([], 0)
    assert not service.metrics.errors


@pytest.mark.parametrize("more", [(), ((b"x-request-id", b"not plain"),)])
def test_forwarded_requests_have_a_request_id(more: Headers) -> None:
    service = Service()
    service.get("/metrics", headers=((b"accept", b"*/*"), *more))
    ((passed, _, _),) = service.inner.reached
    accept, (name, identity) = passed["headers"]
    assert accept == (b"accept", b"*/*")
    assert name == b"x-request-id" and len(identity) == 32


@pytest.mark.parametrize("ready", [True, False])
def test_a_lifespan_is_the_inner_applications(ready: bool) -> None:
    service, scope = Service(ready=ready), {"type": "lifespan"}
    response = asyncio.run(service.exchange(scope))
    ((passed, _, _),) = service.inner.reached
    assert passed is scope
    assert (response.messages, response.read) == ([], 0)
    assert not service.metrics.errors


def test_a_post_to_what_the_inner_application_has_is_passed_on_with_its_body_unread() -> None:
    service = Service()
    response = service.post("/docs", b"body")
    assert [scope["path"] for scope, _, _ in service.inner.reached] == ["/docs"]
    assert (response.messages, response.read) == ([], 0)


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT"])
@pytest.mark.parametrize("path", ["/echo/", "/Echo", "/nowhere", ""])
def test_an_unknown_path_gets_a_404(path: str, method: str) -> None:
    service = Service()
    response = service.get(path, method, [(b"x-request-id", b"a")])
    assert (response.status, response.read) == (404, 0)
    message = "unknown path: /docs.json lists all endpoints"
    assert response.json == {"error": message, "request_id": "a"}
    assert not service.inner.reached
    assert service.metrics.errors == {"unknown_path": 1}


def test_a_path_without_a_route_may_be_a_protocols_all_the_same() -> None:
    service = Service(ready=False, deadline=0.05)
    assert service.post("/protocol/7").status == 503
    service.become_ready()
    assert service.post("/protocol/7", b"12").json["bytes"] == 2
    assert service.get("/protocol/7").json["why"] == "method GET is not allowed here: use POST"


def test_there_are_no_websockets() -> None:
    service = Service()
    response = asyncio.run(service.exchange({"type": "websocket", "path": "/echo"}))
    assert response.messages == [{"type": "websocket.close"}]
    assert not service.inner.reached


def test_a_fault_of_the_inner_application_is_its_own() -> None:
    """BentoML responds with 500 and raises the error again, for the server to log."""
    service = Service()

    async def fail(send: Send) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"its own"})
        raise ZeroDivisionError

    service.inner.respond = fail
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(service.app(http("/metrics", "GET"), receive, send))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert not service.metrics.errors


# probes


@pytest.mark.parametrize("path", ALIVE)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_service_lives_from_the_first_moment_to_the_last(path: str, method: str) -> None:
    service = Service(ready=False)
    assert service.get(path, method).status == 200
    service.started.set_exception(OSError("no model"))
    assert service.get(path, method).status == 200
    service.app.stop()
    assert service.get(path, method).status == 200


@pytest.mark.parametrize("path", [*READY, "/also"])
def test_a_service_is_ready_when_it_has_its_routes_and_until_it_stops(path: str) -> None:
    service = Service(ready=False, ready_paths=["/also"])
    before = service.get(path)
    assert before.status == 503
    assert before.json == {"status": "starting", "error": "the model is being loaded"}
    service.become_ready()
    assert service.get(path).status == service.get(path, "HEAD").status == 200
    service.app.stop()
    after = service.get(path)
    assert (after.status, after.json["status"]) == (503, "stopping")
    assert not service.inner.reached


@pytest.mark.parametrize("path", READY)
def test_a_service_that_could_not_start_says_why(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(ready=False)
    service.started.set_exception(OSError("model.onnx is broken"))
    response = service.get(path)
    assert response.status == 503
    assert response.json == {"status": "failed", "error": "model.onnx is broken"}
    (record,) = caplog.records
    assert record.levelno == logging.CRITICAL and "model.onnx is broken" in record.getMessage()
    assert record.exc_info


def test_probes_are_paths_of_two_methods_only() -> None:
    response = Service().post("/livez")
    assert (response.status, response.headers[b"allow"]) == (405, b"GET, HEAD")


@pytest.mark.parametrize("failed", [False, True])
def test_before_it_is_ready_predictions_must_be_retried(failed: bool) -> None:
    service = Service(ready=False, deadline=0.05)
    if failed:
        service.started.set_exception(OSError("no model"))
    for path, method in (("/echo", "POST"), ("/echo", "GET"), ("/metrics", "POST")):
        response = service.get(path, method, [(b"x-request-id", b"a")])
        assert response.status == 503
        assert int(response.headers[b"retry-after"]) >= 1
        assert response.json == {"error": "the model is not ready", "request_id": "a"}
    assert not service.inner.reached


def test_requests_during_shutdown_are_handled_and_connections_closed() -> None:
    service = Service()
    assert b"connection" not in service.post("/echo").headers
    service.app.stop()
    for response in (service.post("/echo"), service.get("/echo"), service.get("/readyz")):
        assert response.headers[b"connection"] == b"close"
    assert service.post("/echo").status == 200


# bodies


def test_a_body_that_is_announced_as_too_large_is_refused_before_it_is_read() -> None:
    service = Service(max_bytes=10)
    response = service.call("/echo", headers=[(b"content-length", b"11")])
    assert (response.status, response.read) == (413, 0)
    assert response.json["error"] == "the body is larger than 10 bytes"
    assert service.metrics.errors == {"too_large": 1}


def test_a_body_that_turns_out_too_large_is_refused_before_all_of_it_is_read() -> None:
    service = Service(max_bytes=10)
    response = service.call("/echo", *[part(b"1234")] * 9)
    assert (response.status, response.read) == (413, 3)
    assert service.post("/echo", b"12345678901").status == 413
    assert service.metrics.errors == {"too_large": 2}


@pytest.mark.parametrize(
    "messages", [[part(b"1234567890", False)], [part(b"12345"), part(b"67890", False)]]
)
def test_a_body_of_the_largest_size_is_accepted(messages: list[Message]) -> None:
    response = Service(max_bytes=10).call("/echo", *messages, headers=[(b"content-length", b"10")])
    assert response.json["bytes"] == 10


def test_a_route_may_have_a_limit_of_its_own() -> None:
    service = Service({"/more": route(echo, max_bytes=20), "/echo": route(echo)}, max_bytes=10)
    assert service.post("/more", b"x" * 20).status == 200
    refused = service.post("/more", b"x" * 21)
    assert refused.json["error"] == "the body is larger than 20 bytes"
    assert service.post("/echo", b"x" * 20).status == 413


@pytest.mark.parametrize("length", [b"", b"0", b"000"])
def test_an_unusual_content_length_is_accepted(length: bytes) -> None:
    assert Service().post("/echo", headers=[(b"content-length", length)]).status == 200


@pytest.mark.parametrize(
    "kind",
    [
        *(b"application/json", b"application/json; charset=utf-8", b"application/vnd.api+json"),
        *(b"text/plain", b"text/csv; header=present", b"application/octet-stream"),
        b"application/x-www-form-urlencoded",  # curl's default
        *(b"APPLICATION/JSON", b"Text/Plain; Charset=UTF-8", b'application/json;charset="utf-8"'),
        *(b"text/csv; charset=us-ascii", b"application/json ; charset = utf8; more=1"),
    ],
)
def test_supported_content_types_are_accepted(kind: bytes) -> None:
    assert Service().post("/echo", b"{}", [(b"content-type", kind)]).status == 200


@pytest.mark.parametrize(
    "kind", [b"image/png", b"multipart/form-data; boundary=x", b"text/html", b"caf\xe9"]
)
def test_a_body_of_another_kind_is_refused_before_it_is_read(kind: bytes) -> None:
    service = Service()
    response = service.call("/echo", headers=[(b"content-type", kind)])
    assert (response.status, response.read) == (415, 0)
    name = kind.decode("latin-1")
    assert response.json["error"] == f"unsupported content type {name!r}: send application/json"
    assert service.metrics.errors == {"invalid_input": 1}


@pytest.mark.parametrize(
    ("kind", "charset"),
    [
        (b"application/json; charset=utf-16", "utf-16"),
        (b'Application/JSON;Charset="ISO-8859-1"', "iso-8859-1"),
        (b"text/csv; header=present; charset=latin1", "latin1"),
        (b"text/plain; charset=", ""),
    ],
)
def test_a_body_of_another_charset_is_refused_before_it_is_read(kind: bytes, charset: str) -> None:
    response = Service().call("/echo", part(b"{}", False), headers=[(b"content-type", kind)])
    assert (response.status, response.read) == (415, 0)
    assert response.json["error"] == f"unsupported charset {charset!r}: send UTF-8"


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"GZIP", b"identity, gzip"])
def test_a_compressed_body_is_refused(coding: bytes) -> None:
    response = Service().call("/echo", headers=[(b"content-encoding", coding)])
    assert (response.status, response.read) == (415, 0)
    message = "compressed bodies are not supported: send the body uncompressed"
    assert response.json["error"] == message


@pytest.mark.parametrize("coding", [b"identity", b"Identity"])
def test_a_body_may_say_that_it_is_not_compressed(coding: bytes) -> None:
    assert Service().post("/echo", b"{}", [(b"content-encoding", coding)]).status == 200


@pytest.mark.parametrize("parts", [[], [part(b"[[5.1")]], ids=["no body", "part of a body"])
def test_a_caller_that_hangs_up_gets_no_response(parts: list[Message]) -> None:
    service = Service({"/": raising(AssertionError("it must not be handled"))})
    response = service.call("/", *parts, {"type": "http.disconnect"})
    assert not response.messages
    assert not service.metrics.errors


# errors


@pytest.mark.parametrize(
    ("error", "status", "error_type"),
    [
        (Refusal(418, "a teapot", "teapot"), 418, "teapot"),
        (InputError("row 0 has 3 values"), 422, "invalid_input"),
        (TooManyRowsError("6 rows are too many"), 413, "too_large"),
        (msgspec.ValidationError("Expected `float`"), 422, "invalid_input"),
        (msgspec.DecodeError("JSON is malformed"), 400, "invalid_input"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), 400, "invalid_input"),
        (RecursionError("maximum recursion depth"), 400, "invalid_input"),
        (UnknownPredictionError("no prediction 'a'"), 404, "unknown_prediction"),
        (PredictionLogError("the log is busy"), 503, "log_unavailable"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
@pytest.mark.parametrize("more", [{}, {"waits": True}, {"slow": True}], ids=str)
def test_an_error_of_a_handler_is_returned_and_counted_by_type(
    error: Exception, status: int, error_type: str, more: dict[str, Any]
) -> None:
    service = Service({"/": replace(raising(error), refuse=own_format, **more)})
    response = service.post("/", b"{}", [(b"x-request-id", b"a")])
    assert (response.status, response.headers[b"content-type"]) == (status, b"text/x-own")
    assert response.json["for"] == "a"
    message = "the JSON is nested too deeply" if isinstance(error, RecursionError) else str(error)
    assert response.json["why"] == message
    assert service.metrics.errors == {error_type: 1}


@pytest.mark.parametrize("error", [RuntimeError(SECRET), KeyError(SECRET), AssertionError(SECRET)])
def test_an_unexpected_error_is_logged_counted_and_not_shown_to_the_caller(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service({"/": raising(error)})
    headers = [(b"x-request-id", b"order-7"), (b"traceparent", TRACE)]
    response = service.post("/", b"{}", headers)
    assert response.status == 500
    message = "internal error: see the service's log"
    assert response.json == {"error": message, "request_id": "order-7"}
    assert service.metrics.errors == {"internal": 1}
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and "order-7" in record.getMessage()
    assert vars(record)["request_id"] == "order-7"
    assert vars(record)["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert "hunter2" in caplog.text


def test_a_service_works_again_after_an_error() -> None:
    service = Service(ROUTES | {"/fault": raising(ZeroDivisionError())})
    assert service.post("/fault").status == 500
    assert service.post("/echo").status == 200


def test_errors_of_callers_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    Service({"/": raising(InputError("no"))}).post("/")
    assert not caplog.records


# access


class Locked:
    """Requires a key, and keeps the method and path of each request."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []

    def __call__(self, headers: Mapping[bytes, bytes], method: str, path: str) -> None:
        self.requests.append((method, path))
        if headers.get(b"x-api-key") != b"right":
            raise Refusal(401, "no key", "unauthorised", [(b"www-authenticate", b"Bearer")])


def test_who_has_no_key_is_refused_before_anything_is_read_or_passed_on() -> None:
    locked = Locked()
    service = Service(authorise=locked)
    for path, method in (("/echo", "POST"), ("/readyz", "GET"), ("/metrics", "GET")):
        response = asyncio.run(service.exchange(http(path, method)))
        assert (response.status, response.read) == (401, 0)
        assert response.headers[b"www-authenticate"] == b"Bearer"
    assert locked.requests == [("POST", "/echo"), ("GET", "/readyz"), ("GET", "/metrics")]
    assert not service.inner.reached
    assert service.metrics.errors == {"unauthorised": 3}
    assert service.post("/echo", headers=[(b"x-api-key", b"right")]).status == 200


async def respond_accepted(send: Send) -> None:
    """A response of an inner application."""
    await send({"type": "http.response.start", "status": 202, "headers": []})
    await send({"type": "http.response.body", "body": b"accepted"})


def test_every_request_is_in_the_access_log() -> None:
    lines: list[tuple[Any, ...]] = []
    service = Service(access_log=lambda *line: lines.append(line))
    service.post("/echo", headers=[(b"x-request-id", b"a"), (b"traceparent", TRACE)])
    service.get("/echo", headers=[(b"x-request-id", b"b")])
    service.inner.respond = respond_accepted
    service.get("/metrics", headers=[(b"x-request-id", b"c")])
    assert [(*line[:4], *line[5:]) for line in lines] == [
        ("a", "POST", "/echo", 200, None, "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("b", "GET", "/echo", 405, None, None),
        ("c", "GET", "/metrics", 202, None, None),
    ]
    assert all(0 <= line[4] < PATIENCE for line in lines)


# threads


class Where:
    """A handler that keeps the threads in which it runs."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def __call__(self, _request: Request) -> bytes:
        self.threads.append(threading.get_ident())
        return b"{}"


@pytest.mark.parametrize(
    ("more", "body", "on_the_loop"),
    [
        ({}, LARGE[:-1], True),
        ({}, LARGE, False),
        ({"slow": True}, b"{}", False),
        ({"slow": True}, b"", True),
        ({"waits": True}, b"", False),
        ({"waits": True}, b"{}", False),
    ],
    ids=["small", "large", "slow", "slow without a body", "waits without a body", "waits"],
)
def test_only_quick_work_is_done_on_the_event_loop(
    more: dict[str, bool], body: bytes, on_the_loop: bool
) -> None:
    where = Where()
    assert Service({"/": route(where, **more)}).post("/", body).status == 200
    assert [thread == threading.get_ident() for thread in where.threads] == [on_the_loop]


def test_small_requests_are_handled_during_a_large_one(gate: Gate) -> None:
    service = Service({"/gate": route(gate), "/echo": route(echo)})

    async def work() -> Response:
        large = asyncio.create_task(service.send("/gate", LARGE))
        await gate.wait()
        for _ in range(3):
            assert (await service.send("/echo", b"{}")).status == 200
        assert not large.done()
        gate.let_go.set()
        return await large

    assert asyncio.run(work()).status == 200


def test_the_model_does_not_wait_for_the_database(gate: Gate) -> None:
    service = Service({"/feedback": route(gate, waits=True), "/echo": route(echo)}, queue=0)

    async def work() -> Response:
        waiting = asyncio.create_task(service.send("/feedback"))
        await gate.wait()
        assert (await service.send("/echo", LARGE)).status == 200
        gate.let_go.set()
        return await waiting

    assert asyncio.run(work()).status == 200


async def until(check: Callable[[], bool]) -> None:
    """Wait until a check passes, without blocking the event loop."""
    async with asyncio.timeout(PATIENCE):
        while not check():
            await asyncio.sleep(0)


def test_steps_that_wait_hold_no_thread_and_only_so_many_of_them_wait() -> None:
    begun, let_go = [], threading.Event()

    def handle(request: Request) -> Steps:
        begun.append(request.request_id)
        while request.body and not let_go.is_set():
            yield 0.001
        return b"{}"

    service = Service({"/find": route(handle, waits=True)}, queue=9)

    async def work() -> tuple[Response, Response, list[Response]]:
        waiting = [asyncio.create_task(service.send("/find", b"unknown")) for _ in range(10)]
        await until(lambda: len(begun) == 10)
        known = await service.send("/find")
        refused = await service.send("/find", b"unknown")
        let_go.set()
        return known, refused, await asyncio.gather(*waiting)

    known, refused, found = asyncio.run(work())
    assert (known.status, refused.status) == (200, 503)
    assert int(refused.headers[b"retry-after"]) >= 1
    assert "retry later" in refused.json["error"]
    assert [response.status for response in found] == [200] * 10
    assert service.metrics.errors == {"busy": 1}
    assert service.post("/find", b"unknown").status == 200  # the capacity is free again


def test_a_refusal_of_a_later_step_is_returned() -> None:
    def handle(_request: Request) -> Steps:
        yield 0.0
        raise UnknownPredictionError("no such prediction")

    service = Service({"/find": route(handle, waits=True)}, queue=0)
    for _ in range(3):
        response = service.post("/find")
        assert (response.status, response.json["error"]) == (404, "no such prediction")


def test_a_search_does_not_keep_what_is_found_at_once_waiting(gate: Gate) -> None:
    def search(request: Request) -> Steps:
        yield 0.0
        return gate(request)

    routes = {"/search": route(search, waits=True), "/find": route(echo, waits=True)}
    service = Service(routes)

    async def work() -> list[Response]:
        searches = [asyncio.create_task(service.send("/search")) for _ in range(8)]
        await gate.wait()
        assert (await service.send("/find")).status == 200
        gate.let_go.set()
        return await asyncio.gather(*searches)

    assert [response.status for response in asyncio.run(work())] == [200] * 8


def test_more_than_may_wait_must_retry_later(gate: Gate) -> None:
    service = Service({"/gate": route(gate)}, queue=2)

    async def work() -> list[Response]:
        waiting = [asyncio.create_task(service.send("/gate", LARGE)) for _ in range(3)]
        await gate.wait()
        refused = await service.send("/gate", LARGE)
        gate.let_go.set()
        return [refused, *await asyncio.gather(*waiting), await service.send("/gate", LARGE)]

    refused, *accepted = asyncio.run(work())
    assert refused.status == 503
    assert refused.json["error"] == "too many requests: retry later"
    assert int(refused.headers[b"retry-after"]) >= 1
    assert [response.status for response in accepted] == [200] * 4
    assert service.metrics.errors == {"busy": 1}


def test_a_handler_past_its_deadline_gets_a_504(gate: Gate) -> None:
    service = Service({"/gate": route(gate), "/echo": route(echo)}, deadline=0.01, queue=0)

    async def work() -> tuple[Response, Response]:
        late = await service.send("/gate", LARGE)
        meanwhile = await service.send("/echo", LARGE)
        gate.let_go.set()
        return late, meanwhile

    late, meanwhile = asyncio.run(work())
    assert late.status == 504
    assert late.json["error"] == "the request took longer than 0.01 seconds"
    assert meanwhile.status == 503  # its place is occupied until it has ended
    assert service.metrics.errors == {"deadline": 1, "busy": 1}


# responses in parts


def test_a_response_in_parts_is_streamed_from_a_thread() -> None:
    made: list[int] = []

    def parts() -> Iterator[bytes]:
        for number in range(3):
            made.append(threading.get_ident())
            yield b"%d\n" % number

    def handle(_request: Request) -> Reply:
        return Reply(parts(), 200, b"application/jsonl")

    response = Service({"/lines": route(handle, slow=True)}).post("/lines", b"{}")
    assert response.body == b"0\n1\n2\n"
    assert len(response.messages) == 5  # the head, three parts, and the end
    assert response.headers[b"content-type"] == b"application/jsonl"
    assert b"content-length" not in response.headers
    assert threading.get_ident() not in made and len(made) == 3


def test_a_part_is_made_only_when_the_previous_one_was_sent() -> None:
    made: list[int] = []

    def parts() -> Iterator[bytes]:
        for number in range(3):
            made.append(number)
            yield b"x"

    service = Service({"/lines": route(lambda _: Reply(parts()))})
    seen: list[int] = []

    async def receive() -> Message:
        return part(b"{}", False)

    async def send(message: Message) -> None:
        if message.get("body"):
            seen.append(len(made))

    asyncio.run(service.app(http("/lines"), receive, send))
    assert seen == [1, 2, 3]


def test_other_requests_are_handled_between_the_parts(gate: Gate) -> None:
    def parts() -> Iterator[bytes]:
        yield b"x"
        gate(Request("a", {}, b""))
        yield b"y"

    service = Service({"/lines": route(lambda _: Reply(parts())), "/echo": route(echo)})

    async def work() -> Response:
        lines = asyncio.create_task(service.send("/lines"))
        await gate.wait()
        assert (await service.send("/echo", b"{}")).status == 200
        gate.let_go.set()
        return await lines

    assert asyncio.run(work()).body == b"xy"


@pytest.mark.parametrize("more", [{}, {"slow": True}], ids=str)
def test_an_error_before_the_first_part_sets_the_status(more: dict[str, bool]) -> None:
    def parts() -> Iterator[bytes]:
        raise InputError("line 1 is not an object")
        yield b""  # pylint: disable=unreachable

    service = Service({"/lines": route(lambda _: Reply(parts()), **more)})
    response = service.post("/lines", b"{}")
    assert (response.status, response.json["error"]) == (422, "line 1 is not an object")
    assert service.metrics.errors == {"invalid_input": 1}


def test_an_error_in_a_later_part_aborts_the_response() -> None:
    def parts() -> Iterator[bytes]:
        yield b"x"
        raise ZeroDivisionError

    service = Service({"/lines": route(lambda _: Reply(parts()))})
    sent: list[Message] = []

    async def receive() -> Message:
        return part(b"{}", False)

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(service.app(http("/lines"), receive, send))
    assert [message.get("body") for message in sent] == [None, b"x"]
    assert sent[-1]["more_body"]


def test_a_started_response_continues_while_the_queue_is_full(gate: Gate) -> None:
    service = Service(
        {"/lines": route(lambda _: Reply(iter([b"1", b"2", b"3"]))), "/gate": route(gate)}, queue=0
    )

    async def work() -> Response:
        large = asyncio.create_task(service.send("/gate", LARGE))
        await gate.wait()
        lines = asyncio.create_task(service.send("/lines"))
        assert (await service.send("/gate", LARGE)).status == 503
        gate.let_go.set()
        await large
        return await lines

    assert asyncio.run(work()).body == b"123"


def test_a_response_without_parts_is_empty() -> None:
    response = Service({"/lines": route(lambda _: Reply(iter(())))}).post("/lines")
    assert (response.status, response.body) == (200, b"")
