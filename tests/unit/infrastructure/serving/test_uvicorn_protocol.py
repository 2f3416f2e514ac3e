"""uvicorn uses the limited protocol, and its internals are as expected.

tests/integration/test_slow_clients.py tests it with slow clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
from collections.abc import Sequence
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http import auto
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from infrastructure.serving.uvicorn_protocol import EagerServer, LimitedProtocol, install
from shared.settings import ServingSettings


@pytest.fixture(name="uninstalled", autouse=True)
def _uninstalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what `install` changes in the whole process."""
    monkeypatch.setattr(auto, "AutoHTTPProtocol", auto.AutoHTTPProtocol)
    monkeypatch.setattr(uvicorn, "Server", uvicorn.Server)
    monkeypatch.setattr(EagerServer, "accepts", 1)
    for name in ("head_seconds", "body_seconds", "introduced"):
        monkeypatch.setattr(LimitedProtocol, name, getattr(LimitedProtocol, name))


def test_a_server_that_is_configured_as_bentoml_does_it_takes_the_limited_protocol() -> None:
    install(ServingSettings(head_seconds=7.0, body_seconds=70.0), workers=1)
    config = uvicorn.Config(app=lambda scope: None, log_config=None, timeout_keep_alive=5)
    config.load()
    assert config.http_protocol_class is LimitedProtocol
    assert config.http_protocol_class.head_seconds == 7.0
    assert config.http_protocol_class.body_seconds == 70.0


def test_uvicorn_still_makes_a_scope_when_a_head_begins_and_a_cycle_when_it_is_whole() -> None:
    begins = inspect.getsource(HttpToolsProtocol.on_message_begin)
    whole = inspect.getsource(HttpToolsProtocol.on_headers_complete)
    assert "self.scope = {" in begins
    assert "self.cycle = RequestResponseCycle(" in whole
    assert "scope=self.scope" in whole
    assert "self.response_complete" in inspect.getsource(RequestResponseCycle.__init__)


class FakeTransport:
    """Keeps what is written to it, call by call."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self._connection = socket.socket()

    def write(self, data: bytes) -> None:
        """Keep what is written."""
        self.written.append(data)

    def get_extra_info(self, name: str) -> socket.socket | None:
        """Its socket, which is not connected."""
        return self._connection if name == "socket" else None

    def close(self) -> None:
        """Close the socket."""
        self._connection.close()


def writes_of_response(body: bool) -> list[bytes]:
    """The writes for a response, with its body or before the body is sent."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        headers = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if not body:
            await asyncio.sleep(3600)
        await send({"type": "http.response.body", "body": b"body"})

    async def send_request() -> list[bytes]:
        config = uvicorn.Config(app, log_config=None)
        protocol, transport = LimitedProtocol(config, ServerState(), {}), FakeTransport()
        protocol.connection_made(transport)  # type: ignore[arg-type]
        protocol.data_received(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n")
        for _ in range(5):
            await asyncio.sleep(0)
        protocol.connection_lost(None)
        transport.close()
        return transport.written

    return asyncio.run(send_request())


def test_head_and_body_of_a_response_are_sent_together() -> None:
    (data,) = writes_of_response(body=True)
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert data.endswith(b"\r\n\r\nbody")


def test_a_head_does_not_wait_for_a_body_that_takes_long() -> None:
    (data,) = writes_of_response(body=False)
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert data.endswith(b"\r\n\r\n")


CLIENTS = 64


def responses_until_each_client_has_one() -> int:
    """The number of responses that are sent before the last of many clients is connected."""
    clients: set[tuple[str, int]] = set()
    responses = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal responses
        del receive
        if len(clients) < CLIENTS:
            clients.add(scope["client"])
            responses += 1
        server.should_exit = len(clients) == CLIENTS
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    # as BentoML makes it
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=CLIENTS))
        for _ in range(CLIENTS):
            client = opened.enter_context(socket.create_connection(listener.getsockname()))
            client.sendall(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n" * CLIENTS)
        server.run([listener])
    return responses


def test_clients_that_connect_at_once_do_not_wait_for_each_others_next_requests() -> None:
    install(ServingSettings(), workers=1)
    assert responses_until_each_client_has_one() < 8 * CLIENTS


def test_several_workers_accept_one_connection_at_a_time() -> None:
    install(ServingSettings(), workers=2)
    assert responses_until_each_client_has_one() > 16 * CLIENTS  # one connection in a turn: n²/2


def clients_of(*parts: bytes) -> tuple[list[Any], bytes]:
    """The client of each request of one connection, and what it receives.

    Args:
        parts: what it sends, with a pause between them.
    """
    clients: list[Any] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        clients.append(scope["client"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        server.should_exit = True

    config = uvicorn.Config(app, log_config=None, lifespan="off", http=LimitedProtocol)
    server = uvicorn.Server(config)

    async def send_all() -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(server.serve([listener]))
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0.01)
            received = await reader.read()
            writer.close()
            server.should_exit = True
            await serving
            return received

    return clients, asyncio.run(send_all())


GET = b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n"
LINE = b"PROXY TCP4 203.0.113.9 127.0.0.1 51234 0\r\n"


@pytest.mark.parametrize("parts", [(LINE + GET,), (LINE, GET), (LINE[:3], LINE[3:] + GET)])
def test_a_proxy_introduces_its_client(parts: Sequence[bytes]) -> None:
    install(ServingSettings(proxy_protocol=True), workers=1)
    clients, received = clients_of(*parts)
    assert received.startswith(b"HTTP/1.1 204 ")
    assert clients == [("203.0.113.9", 51234)]


def test_a_connection_without_introduction_is_of_its_own_client() -> None:
    install(ServingSettings(proxy_protocol=True), workers=1)
    clients, received = clients_of(GET)
    assert received.startswith(b"HTTP/1.1 204 ")
    assert clients[0][0] == "127.0.0.1"


@pytest.mark.parametrize(
    "sent",
    [
        LINE + LINE + GET,
        b"PROXY UNKNOWN\r\n" + GET,
        b"PROXY TCP4 203.0.113.9 127.0.0.1 many 0\r\n" + GET,
        b"PROXY TCP4 somebody 127.0.0.1 51234 0\r\n" + GET,
        b"PROXY TCP4 203.0.113.9 127.0.0.1 51234 " + b"0" * 100,
        b"PROXY " + b"x" * 200,
    ],
)
def test_a_wrong_introduction_is_refused(sent: bytes) -> None:
    install(ServingSettings(proxy_protocol=True), workers=1)
    clients, received = clients_of(sent)
    assert received.startswith(b"HTTP/1.1 400 ")
    assert not clients


def test_nobody_else_can_introduce_a_client() -> None:
    install(ServingSettings(), workers=1)
    clients, received = clients_of(LINE + GET)
    assert received.startswith(b"HTTP/1.1 400 ")
    assert not clients
