"""What uvicorn does not have: limits for slow clients, whole answers, many connections at once.

BentoML makes uvicorn's configuration itself, with ``http="auto"``. What this stands for is looked
up when the server is made, which is after the service's module has been imported.
All that this project knows of uvicorn's inside stands in this file.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http import auto
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

TOO_SLOW = b"408 Request Timeout"
TOO_LARGE = b"431 Request Header Fields Too Large"
_TOLD = {
    TOO_SLOW: b'{"error":"the request did not arrive in time"}',
    TOO_LARGE: b'{"error":"the head of the request is too large"}',
}
_ACCEPTS = 16  # 256 clients are connected in as many turns


class _WholeAnswers:
    """A transport that writes the head of an answer together with what follows it.

    uvicorn writes one after the other: two calls of the system and two packets. A head that nothing
    follows is written in the next turn of the event loop.
    """

    __slots__ = ("_transport", "_loop", "_head")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def write(self, data: bytes) -> None:
        """Write, or hold a head back."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Write what was held back, and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            self.write(b"")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class LimitedProtocol(HttpToolsProtocol):
    """Closes connections whose clients keep a worker waiting.

    A connection has either a request that is being answered, or a limited time for what is to come
    next: the head of a request, from when the connection is opened, later from the first byte after
    an answer (before this byte uvicorn's own limit for idle connections holds); then the rest of
    its body. A request that comes in one piece starts no timer.

    Attributes:
        head_seconds: how long a head may take; it is answered with 408 then, or not at all where
            none of it has come.
        body_seconds: how long a body may take from when its head is whole; 408 too.
        head_bytes: largest head, else it is answered with 431. The piece in which it begins is not
            counted: the buffer of the socket bounds it.
        reading_seconds: how long a client may take none of an answer that waits for it, else the
            connection is broken off (on Linux; elsewhere there is no such limit).
        farewell_seconds: how long an idle connection is kept when the server stops.
    """

    head_seconds = 10.0
    body_seconds = 30.0
    head_bytes = 64 * 2**10
    reading_seconds = 30.0
    farewell_seconds = 0.2

    _timer: asyncio.TimerHandle | None = None
    _awaits_body = False  # what the timer is for
    _come = 0  # bytes since the timer was started

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(_WholeAnswers(transport, self.loop))  # type: ignore[arg-type]
        connected = transport.get_extra_info("socket")
        if hasattr(socket, "TCP_USER_TIMEOUT") and connected.family != socket.AF_UNIX:
            milliseconds = int(self.reading_seconds * 1000)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        self._wait(body=False)

    def data_received(self, data: bytes) -> None:
        """Stop waiting where a request is there to be answered, else begin."""
        super().data_received(data)
        if self._is_answering and not self._is_in_head:
            if self.cycle.more_body:
                if self._timer is None or not self._awaits_body:
                    self._wait(body=True)
            elif self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None:
            self._wait(body=False)
        elif self._is_in_head:
            self._come += len(data)
            if self._come > self.head_bytes:
                self._refuse(TOO_LARGE)

    def shutdown(self) -> None:
        """Close when the server stops; a request that is on its way is let come, and answered."""
        if self._is_answering:
            super().shutdown()
        else:
            self.loop.call_later(self.farewell_seconds, super().shutdown)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _is_in_head(self) -> bool:
        """Whether a head has begun, which makes a scope, and is not whole, which makes a cycle."""
        begun = self.scope is not None
        return begun and (self.cycle is None or self.cycle.scope is not self.scope)

    def _wait(self, body: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._come = 0
        self._awaits_body = body
        seconds = self.body_seconds if body else self.head_seconds
        self._timer = self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        if self.transport.is_closing():
            self.transport.abort()  # what was said last is not read
        elif self.transport.get_protocol() is not self:
            pass  # a WebSocket has taken over
        elif self._is_answering and not (self._awaits_body and self.cycle.more_body):
            self._wait(body=False)  # the request before this head, which comes first
        elif self._is_answering or self._is_in_head:
            self._refuse(TOO_SLOW)
        else:
            self.transport.close()

    def _refuse(self, status: bytes) -> None:
        unanswered = self._awaits_body and not self.cycle.response_started
        if not self._is_answering or unanswered:
            told = _TOLD[status]
            head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\n" % status
            self.transport.write(
                head + b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(told), told)
            )
        self.transport.close()


class EagerServer(uvicorn.Server):
    """Accepts several connections in one turn of the event loop.

    libuv accepts one in a turn, in which it also answers whoever is connected already: the last of
    n clients that connect at once and ask on would wait for n²/2 answers. A socket that is there
    under several descriptors is asked once for each.

    Attributes:
        accepts: most connections of a turn.
    """

    accepts = 1

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start with so many descriptors of each socket."""
        await super().startup(sockets and [each.dup() for each in sockets * self.accepts])


def install(head_seconds: float, body_seconds: float, workers: int) -> None:
    """Have every server that is started in this process from now on limit heads and bodies so.

    Of several workers each accepts one connection in a turn: else the first that is awake takes
    what is for all.
    """
    LimitedProtocol.head_seconds = head_seconds
    LimitedProtocol.body_seconds = body_seconds
    auto.AutoHTTPProtocol = LimitedProtocol
    EagerServer.accepts = _ACCEPTS if workers == 1 else 1
    uvicorn.Server = EagerServer  # type: ignore[misc]
