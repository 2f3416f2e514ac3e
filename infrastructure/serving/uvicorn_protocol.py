"""Extends uvicorn: limits for slow clients, fewer packets, many new connections at once.

BentoML configures uvicorn itself, with ``http="auto"``. uvicorn looks up the class for that when
the server is created, after the service's module was imported, so `install` can replace it. All
code that depends on uvicorn's internals is in this file.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from ipaddress import ip_address
from typing import Any

import uvicorn
from uvicorn.protocols.http import auto
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shared.settings import ServingSettings

TOO_SLOW = b"408 Request Timeout"
TOO_LARGE = b"431 Request Header Fields Too Large"
_BODIES = {
    TOO_SLOW: b'{"error":"the request did not arrive in time"}',
    TOO_LARGE: b'{"error":"the head of the request is too large"}',
}
_INTRODUCTION = b"PROXY "
_LONGEST_INTRODUCTION = 107  # bytes of a line of the PROXY protocol's version 1
_ACCEPTS = 16  # 256 clients are connected in 16 turns


class _HeadBuffer:
    """A transport that writes the head of a response together with the start of its body.

    uvicorn writes them separately, which takes two system calls and two packets. A head without a
    body is written in the next turn of the event loop.
    """

    __slots__ = ("_transport", "_loop", "_head")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def write(self, data: bytes) -> None:
        """Write data, or buffer it if it is a head."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Write a buffered head, and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            self.write(b"")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class LimitedProtocol(HttpToolsProtocol):
    """Closes connections whose clients keep a worker waiting.

    Unless a response is in progress, a connection has a time limit for what must arrive next. For
    the head of a request, it starts when the connection is opened, and later with the first byte
    after a response (until this byte, uvicorn's own limit for idle connections applies); then
    follows the limit for the body. A request that arrives in one piece starts no timer.

    Attributes:
        head_seconds: time limit for a head; then the response is 408, or the connection is closed
            if no byte has arrived.
        body_seconds: time limit for a body, from the end of its head; then the response is 408.
        head_bytes: size limit of an incomplete head; beyond it the response is 431. Neither the
            chunk that completes a head is counted nor the first one of a later request, since the
            buffer for reading (256 KB) limits them.
        reading_seconds: how long a client may read nothing of a response before the connection is
            dropped (on Linux only).
        idle_stop_seconds: how long an idle connection stays open when the server stops.
        introduced: whether a connection may begin with the address of its client, in a line of the
            PROXY protocol, version 1 (https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt).
    """

    head_seconds = 10.0
    body_seconds = 30.0
    head_bytes = 64 * 2**10
    reading_seconds = 30.0
    idle_stop_seconds = 0.2
    introduced = False

    _introduction = b""  # the start of the line, until it is complete
    _timer: asyncio.TimerHandle | None = None
    _awaits_body = False  # whether the timer is for a body
    _received = 0  # bytes since the timer was started

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer for the first head."""
        super().connection_made(_HeadBuffer(transport, self.loop))  # type: ignore[arg-type]
        connected = transport.get_extra_info("socket")
        if hasattr(socket, "TCP_USER_TIMEOUT") and connected.family != socket.AF_UNIX:
            milliseconds = int(self.reading_seconds * 1000)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        self._start_timer(body=False)

    def data_received(self, data: bytes) -> None:
        """Cancel the timer if a request is complete, else start one or count the bytes."""
        if self.introduced:
            data = self._after_introduction(data)
            if not data:
                return
        super().data_received(data)
        if self._is_responding and not self._is_in_head:
            if self.cycle.more_body:
                if self._timer is None or not self._awaits_body:
                    self._start_timer(body=True)
            elif self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None:
            self._start_timer(body=False)
        elif self._is_in_head:
            self._received += len(data)
            if self._received > self.head_bytes:
                self._refuse(TOO_LARGE)

    def _after_introduction(self, data: bytes) -> bytes:
        """What follows the address of the client, which may be missing."""
        data = self._introduction + data
        line, end, rest = data.partition(b"\r\n")
        if not data.startswith(_INTRODUCTION[: len(data)]):
            self.introduced = False
            return data
        if not end and len(data) <= _LONGEST_INTRODUCTION:
            self._introduction = data
            return b""
        self.introduced = False
        _, *fields = line.decode("latin-1").split(" ")
        with contextlib.suppress(ValueError):
            _, host, _, port, _ = fields if end else []
            self.client = (str(ip_address(host)), int(port))
            return rest
        return data  # which is not HTTP either

    def shutdown(self) -> None:
        """Close when the server stops; an idle connection a little later, if no request arrives."""
        if self._is_responding:
            super().shutdown()
        else:
            self.loop.call_later(self.idle_stop_seconds, super().shutdown)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    @property
    def _is_responding(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _is_in_head(self) -> bool:
        """Whether a head is incomplete: its start creates a scope, and its end a cycle."""
        started = self.scope is not None
        return started and (self.cycle is None or self.cycle.scope is not self.scope)

    def _start_timer(self, body: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._received = 0
        self._awaits_body = body
        seconds = self.body_seconds if body else self.head_seconds
        self._timer = self.loop.call_later(seconds, self._on_timeout)

    def _on_timeout(self) -> None:
        if self.transport.is_closing():
            self.transport.abort()  # the client does not read the last response
        elif self.transport.get_protocol() is not self:
            pass  # a WebSocket has taken over
        elif self._is_responding and not (self._awaits_body and self.cycle.more_body):
            self._start_timer(body=False)  # the previous request is still being answered
        elif self._is_responding or self._is_in_head:
            self._refuse(TOO_SLOW)
        else:
            self.transport.close()

    def _refuse(self, status: bytes) -> None:
        no_response_yet = self._awaits_body and not self.cycle.response_started
        if not self._is_responding or no_response_yet:
            body = _BODIES[status]
            head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\n" % status
            self.transport.write(
                head + b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(body), body)
            )
        self.transport.close()


class EagerServer(uvicorn.Server):
    """Accepts several connections in one turn of the event loop.

    libuv accepts one connection per turn, and in the same turn serves the clients that are already
    connected: the last of n clients that connect at once would wait for n²/2 responses. With
    several descriptors of a socket, libuv accepts one connection for each.

    Attributes:
        accepts: most connections that are accepted per turn.
    """

    accepts = 1

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start with `accepts` descriptors of each socket."""
        await super().startup(sockets and [each.dup() for each in sockets * self.accepts])


def install(settings: ServingSettings, workers: int) -> None:
    """Use `LimitedProtocol` and `EagerServer` in every server started later in this process.

    With several workers, each accepts only one connection per turn: otherwise the first worker to
    wake up would take them all.
    """
    LimitedProtocol.head_seconds = settings.head_seconds
    LimitedProtocol.body_seconds = settings.body_seconds
    LimitedProtocol.introduced = settings.proxy_protocol
    auto.AutoHTTPProtocol = LimitedProtocol
    EagerServer.accepts = _ACCEPTS if workers == 1 else 1
    uvicorn.Server = EagerServer  # type: ignore[misc]
