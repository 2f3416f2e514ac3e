"""Slow clients are disconnected and do not affect others."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn

from infrastructure.serving.uvicorn_protocol import LimitedProtocol

HEAD = b"GET / HTTP/1.1\r\nhost: here\r\n"
TIMEOUT = 30.0  # seconds


class ShortLimits(LimitedProtocol):
    """Limits that are short enough for tests."""

    head_seconds = 0.3
    body_seconds = 0.6
    head_bytes = 4096
    reading_seconds = 0.5


class Application:
    """Sends a small response; a large or a late one, or reads the body first, on other paths."""

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Respond."""
        body = b"response"
        if scope["path"] == "/late":
            await asyncio.sleep(2 * ShortLimits.head_seconds)
        if scope["path"] == "/read":
            while (message := await receive()).get("more_body"):
                pass
            if message["type"] == "http.disconnect":
                return
        if scope["path"] == "/large":
            body = bytes(50_000_000)
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@dataclass(frozen=True)
class Running:
    """A server and its port."""

    server: uvicorn.Server
    port: int

    @contextlib.contextmanager
    def connect(self) -> Iterator[socket.socket]:
        """Open a connection."""
        with socket.create_connection(("127.0.0.1", self.port), TIMEOUT) as connection:
            yield connection


@pytest.fixture(scope="module", name="running")
def _running() -> Iterator[Running]:
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(Application(), http=ShortLimits, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    port = listening.getsockname()[1]
    try:
        yield Running(server, port)
    finally:
        server.should_exit = True
        thread.join(TIMEOUT)


def received(connection: socket.socket) -> bytes:
    """All bytes until the server closes the connection."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def response_to_endless(connection: socket.socket, data: bytes, pause: float) -> bytes:
    """The response to a client that sends data again and again, with a pause in seconds."""
    connection.settimeout(pause)
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        with contextlib.suppress(TimeoutError):
            return connection.recv(65536)
    raise AssertionError("no response")


def test_a_client_that_sends_nothing_is_disconnected_without_a_response(running: Running) -> None:
    with running.connect() as connection:
        assert received(connection) == b""


@pytest.mark.parametrize("sent", [b"G", HEAD, HEAD + b"accept: tex"])
def test_a_client_that_sends_half_a_head_gets_a_408(running: Running, sent: bytes) -> None:
    with running.connect() as connection:
        connection.sendall(sent)
        response = received(connection)
    assert response.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"connection: close" in response
    assert response.endswith(b'{"error":"the request did not arrive in time"}')


def test_a_head_that_trickles_in_gets_a_408(running: Running) -> None:
    with running.connect() as connection:
        connection.sendall(HEAD)
        response = response_to_endless(connection, b"a", pause=ShortLimits.head_seconds / 10)
    assert response.startswith(b"HTTP/1.1 408")


def test_a_later_head_on_the_same_connection_is_limited_too(running: Running) -> None:
    with running.connect() as connection:
        connection.sendall(HEAD + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(HEAD)
        assert b"HTTP/1.1 408" in received(connection)


def test_a_too_large_head_gets_a_431(running: Running) -> None:
    with running.connect() as connection:
        connection.sendall(HEAD)
        response = response_to_endless(connection, b"more: " + b"x" * 1000 + b"\r\n", pause=0.001)
    assert response.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")


@pytest.mark.parametrize("data", [b"", b"b"], ids=["never sent", "trickles in"])
def test_an_incomplete_body_gets_a_408(running: Running, data: bytes) -> None:
    with running.connect() as connection:
        connection.sendall(HEAD.replace(b"GET /", b"POST /read") + b"content-length: 900\r\n\r\n")
        response = response_to_endless(connection, data, pause=ShortLimits.body_seconds / 10)
    assert response.startswith(b"HTTP/1.1 408")


def test_a_body_may_take_longer_than_a_head(running: Running) -> None:
    with running.connect() as connection:
        connection.sendall(HEAD.replace(b"GET /", b"POST /read") + b"content-length: 4\r\n\r\n")
        for _ in range(4):
            time.sleep(ShortLimits.head_seconds / 3)
            connection.sendall(b"b")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_a_response_may_take_longer_than_a_head(running: Running) -> None:
    response = httpx.get(f"http://127.0.0.1:{running.port}/late", timeout=TIMEOUT)
    assert response.text == "response"


def test_half_a_head_after_a_request_does_not_lose_its_response(running: Running) -> None:
    with running.connect() as connection:
        connection.sendall(HEAD.replace(b"/", b"/late", 1) + b"\r\n" + HEAD)
        responses = received(connection)
    assert responses.startswith(b"HTTP/1.1 200 OK")
    assert b"responseHTTP/1.1 408" in responses


def test_an_unread_body_does_not_keep_the_connection_open(running: Running) -> None:
    with running.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 1000000\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"a" * 10_000)  # more than the limit of a head
        assert received(connection) in (b"", b"response")


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this limit needs Linux")
def test_a_client_that_does_not_read_its_response_is_disconnected(running: Running) -> None:
    with running.connect() as connection:
        connection.sendall(HEAD.replace(b"/", b"/large", 1) + b"\r\n")
        connection.recv(1)
        connections = running.server.server_state.connections
        assert connections
        deadline = time.monotonic() + TIMEOUT
        while connections and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not connections


def test_others_are_served_while_slow_clients_hold_connections(running: Running) -> None:
    with contextlib.ExitStack() as slow:
        held = [slow.enter_context(running.connect()) for _ in range(50)]
        for connection in held[::2]:
            connection.sendall(HEAD)
        with httpx.Client(base_url=f"http://127.0.0.1:{running.port}", timeout=TIMEOUT) as client:
            assert {client.get("/").status_code for _ in range(50)} == {200}
        responses = {received(connection)[:12] for connection in held}
    assert responses == {b"", b"HTTP/1.1 408"}
