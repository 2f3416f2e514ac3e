"""A TCP proxy on the public port of an environment, which makes switching releases seamless.

A new connection goes to the port of the current release, which the state file names; open
connections stay where they are. If the file is damaged, the last known release keeps serving. While
there is a canary, the head of a connection's first request decides which of the two gets it; if the
canary does not accept connections, the current release does. While the current release is being
started again, new connections wait. When the release closes a connection,
as it does with silent and slow clients, the front closes the client's. It is started by `local`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import re
import resource
import secrets
import signal
import socket
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import uvloop

from infrastructure.deployment.logs import limit_logs

CHUNK = 64 * 1024
HEAD_SECONDS = 10.0  # a client that sends nothing for so long gets the current release
CONNECT_SECONDS = 10.0
RETRY_SECONDS = 0.1
LOG_SECONDS = 5.0  # between two looks at the size of the logs
READING_MILLISECONDS = 30_000
MOST_CLIENTS = 20_000
OTHER_DESCRIPTORS = 64  # than those of clients and their connections to a release
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")

Address = tuple[Any, ...]
"""Host and port of a client."""


@dataclass(frozen=True)
class Canary:
    """A release that gets a share of the connections.

    Attributes:
        share: in percent.
        header: the header that identifies a caller; if it is empty, each connection is drawn.
    """

    port: int
    version: str
    share: int
    header: str
    introduced: bool = False

    def gets(self, head: bytes) -> bool:
        """Whether it gets a connection that begins with this head of a request.

        It gets only requests that may be predictions: pages, metrics, probes and synthetic
        requests go to the current release, so that a scrape does not alternate between two
        processes. A caller stays with one release, and is in a larger share if in a smaller one.
        """
        if not head.startswith(b"POST ") or _header(head, "X-Synthetic") is not None:
            return False
        if not self.header:
            return secrets.randbelow(100) < self.share
        caller = _header(head, self.header)
        if caller is None:
            return False
        digest = hashlib.sha256(self.version.encode() + b" " + caller).digest()
        return int.from_bytes(digest[:8], "big") % 100 < self.share


@dataclass(frozen=True)
class Routes:
    """Where connections go.

    Attributes:
        introduced: whether a connection begins with the address of its client.
    """

    port: int
    canary: Canary | None = None
    introduced: bool = False

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Routes:
        """The routes that the content of a state file describes."""
        port, introduced = _port(state), bool(state.get("introduced"))
        canary = state.get("canary")
        if canary is None:
            return cls(port, None, introduced)
        release, share, header = canary["release"], int(canary["share"]), str(canary["header"])
        version, also = str(release["version"]), bool(release.get("introduced"))
        (version + header).encode()  # an error if that is impossible
        return cls(port, Canary(_port(release), version, share, header, also), introduced)


class CurrentRelease:
    """The release that a state file names, and its canary.

    Args:
        state: the state file.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        self._file: tuple[int, ...] = ()  # which version of the file `_last` is from
        self._last: Routes | None = None
        self._unreachable: int | None = None

    def routes(self) -> Routes:
        """Its routes, or the last known ones if the file is damaged, which is logged once.

        Raises:
            OSError: there is no state file, or no port is known.
        """
        found = self._state.stat()
        file = (found.st_ino, found.st_mtime_ns, found.st_size)
        if file != self._file:
            try:
                self._last = Routes.from_state(json.loads(self._state.read_text(encoding="utf-8")))
            except (
                ValueError,
                LookupError,
                TypeError,
                AttributeError,
                ArithmeticError,
                RecursionError,
            ):
                _log_error(f"{self._state} is damaged: run make deploy to replace it")
            self._file = file
        if self._last is None:
            raise ConnectionError("no release is known")
        return self._last

    async def connect(self, head: bytes, client: Address | None, side: Side) -> asyncio.Transport:
        """Open a client's connection to its release, and introduce the client.

        It waits for a release that has ended, as long as the caller does.

        Args:
            head: what the client has sent so far.
            client: its address.
            side: gets what the release sends.

        Raises:
            OSError: the release cannot be connected, or none is known.
        """
        routes = self.routes()
        if routes.canary and routes.canary.gets(head):
            try:
                return await _connection_to(routes.canary, client, side)
            except OSError as error:
                if self._unreachable != routes.canary.port:
                    self._unreachable = routes.canary.port
                    _log_error(f"the canary {routes.canary.version} gets no connections: {error}")
        while True:
            try:
                return await _connection_to(routes, client, side)
            except ConnectionRefusedError:  # its supervisor starts it again, on another port
                await asyncio.sleep(RETRY_SECONDS)
                routes = self.routes()


class Side(asyncio.Protocol):
    """One of two joined connections: what it receives is written to the other one."""

    other: asyncio.Transport | None = None
    is_full = False  # whether this connection takes no more for now

    def data_received(self, data: bytes) -> None:
        """Forward data."""
        if self.other and not self.other.is_closing():
            self.other.write(data)

    def pause_writing(self) -> None:
        """Read no more from the other connection than this one takes."""
        self.is_full = True
        if self.other and not self.other.is_closing():
            self.other.pause_reading()

    def resume_writing(self) -> None:
        """Read on."""
        self.is_full = False
        if self.other and not self.other.is_closing():
            self.other.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other connection once it has written what waits."""
        if self.other:
            self.other.close()


class Client(Side):
    """The side of a client, who is connected to a release as soon as it is known which one."""

    def __init__(self, clients: Clients) -> None:
        self._clients, self._release = clients, Side()
        self._head, self._has_ended = b"", False
        self._timer: asyncio.TimerHandle | None = None  # while its head is being read
        self._address: Address | None = None
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect to a release, after reading the first head if there is a canary."""
        self.transport = self._release.other = cast(asyncio.Transport, transport)
        self._address = transport.get_extra_info("peername")
        loop = asyncio.get_running_loop()
        if self._address is None or not self._clients.admit(self):  # it has left, or has no place
            loop.call_soon(self.transport.abort)  # not yet: uvloop is about to read from it
            return
        _limit_unread(transport)
        try:
            has_canary = self._clients.release.routes().canary is not None
        except OSError:
            loop.call_soon(self.transport.abort)
            return
        if has_canary:
            self._timer = loop.call_later(HEAD_SECONDS, self._connect)
        else:
            self._connect()

    def data_received(self, data: bytes) -> None:
        """Forward data, or add it to the head."""
        self._clients.silent.pop(self, None)
        if self.other:
            super().data_received(data)
            return
        self._head += data
        if not self._timer:  # uvloop reads even if a connection was paused when it was made
            self.transport.pause_reading()
        elif len(self._head) >= CHUNK or _END_OF_HEAD.search(self._head):
            self._connect()

    def eof_received(self) -> bool:
        """Forward the end; the connection stays open for the response."""
        self._has_ended = True
        if self.other and not self.other.is_closing():
            self.other.write_eof()
        elif self._timer:
            self._connect()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the release."""
        self._clients.forget(self)
        if self._timer:
            self._timer.cancel()
        super().connection_lost(exc)

    def _connect(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None
        self.transport.pause_reading()
        self._clients.run(self._join())

    async def _join(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                release = await self._clients.release.connect(
                    self._head, self._address, self._release
                )
        except OSError:  # a TimeoutError, too
            self.transport.close()
            return
        if self.transport.is_closing():  # the client did not wait
            release.close()
            return
        self.other = release
        super().data_received(self._head)
        self._head = b""
        if self._has_ended:
            self.eof_received()
        elif not self._release.is_full:
            self.transport.resume_reading()


class Clients:
    """The clients of an environment.

    Args:
        most: number of clients at the same time. One more takes the place of the client that has
            been silent for longest since it connected; without a silent one, it is refused.
    """

    def __init__(self, release: CurrentRelease, most: int) -> None:
        self.release = release
        self.silent: dict[Client, None] = {}
        self._most = most
        self._clients: set[Client] = set()
        self._tasks: set[asyncio.Task[None]] = set()  # asyncio may let them be garbage-collected

    def admit(self, client: Client) -> bool:
        """Whether a client may stay."""
        if len(self._clients) >= self._most:
            longest = next(iter(self.silent), None)
            if longest is None:
                return False
            self.forget(longest)
            longest.transport.abort()
        self._clients.add(client)
        self.silent[client] = None
        return True

    def forget(self, client: Client) -> None:
        """Make room for another client."""
        self._clients.discard(client)
        self.silent.pop(client, None)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the background."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class ErrorLog:  # pylint: disable=too-few-public-methods
    """Logs unexpected errors, each kind once: one of every connection would fill the disk."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def log(self, _: object, context: dict[str, Any]) -> None:
        """Log an error, as the event loop reports it."""
        if context["message"] not in self._seen:
            self._seen.add(context["message"])
            _log_error(f"{context['message']}: {context.get('exception')!r}")


async def run(host: str, port: int, state: Path) -> None:
    """Forward connections to the current release until SIGTERM."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.set_exception_handler(ErrorLog().log)
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    clients = Clients(CurrentRelease(state), most_clients())
    clients.run(_limit_logs(state.parent))
    server = await loop.create_server(lambda: Client(clients), host, port, backlog=2048)
    await ended.wait()
    server.close()  # leaving `async with server` would wait for open connections


def most_clients() -> int:
    """How many clients this process can connect, after raising its limit of descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST_CLIENTS + OTHER_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS has a lower limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_CLIENTS
    return max(1, min(MOST_CLIENTS, (soft - OTHER_DESCRIPTORS) // 2))


async def _connection_to(
    release: Routes | Canary, client: Address | None, side: Side
) -> asyncio.Transport:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(lambda: side, "127.0.0.1", release.port)
    if release.introduced and client:
        transport.write(introduction(client))
    return transport


def _port(release: dict[str, Any]) -> int:
    port = int(release["port"])
    if not 0 < port < 2**16:
        raise ValueError(f"{port} is not a port")
    return port


def introduction(client: Address) -> bytes:
    """The line of the PROXY protocol, version 1, that tells where a connection comes from."""
    host, port = client[:2]
    family, here = ("TCP6", "::1") if ":" in host else ("TCP4", "127.0.0.1")
    return f"PROXY {family} {host} {here} {port} 0\r\n".encode()


def _limit_unread(transport: asyncio.BaseTransport) -> None:
    """Drop the connection of a client that reads nothing of a response for too long (on Linux)."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connected = transport.get_extra_info("socket")
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, READING_MILLISECONDS)


def _header(head: bytes, name: str) -> bytes | None:
    """The value of a header; None if the head does not have it."""
    lines = _END_OF_HEAD.split(head, maxsplit=1)[0]
    pattern = rb"(?im)^" + re.escape(name.encode()) + rb":[ \t]*(.*?)[ \t]*\r?$"
    found = re.search(pattern, lines)
    return found[1] if found else None


def _log_error(message: str) -> None:
    with contextlib.suppress(OSError):  # a full disk
        print(f"error: {message}", file=sys.stderr, flush=True)


async def _limit_logs(folder: Path) -> None:
    while True:
        await asyncio.sleep(LOG_SECONDS)
        with contextlib.suppress(OSError):
            await asyncio.to_thread(limit_logs, folder)


def main() -> int:
    """Entry point of the front's process; returns 1 if its port is in use."""
    parser = argparse.ArgumentParser(description="Forward connections to the current release.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True, help="file that names the release")
    options = parser.parse_args()
    try:
        uvloop.run(run(options.host, options.port, options.state))
    except OSError as error:
        _log_error(f"port {options.port}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
