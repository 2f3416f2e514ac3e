"""A TCP proxy on the public port of an environment, which makes switching releases seamless.

For each new connection it reads the port of the current release from the state file; open
connections stay where they are. If the file is damaged, the last known release keeps serving. While
there is a canary, the head of a connection's first request decides which of the two gets it; if the
canary does not accept connections, the current release does. The front is started by `local`, and
needs only the standard library.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import re
import secrets
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHUNK = 64 * 1024
HEAD_SECONDS = 10.0  # a client that sends nothing for so long gets the current release
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


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
    """Where connections go."""

    port: int
    canary: Canary | None = None

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Routes:
        """The routes that the content of a state file describes."""
        canary = state.get("canary")
        if canary is None:
            return cls(int(state["port"]))
        release, share, header = canary["release"], int(canary["share"]), str(canary["header"])
        version = str(release["version"])
        return cls(int(state["port"]), Canary(int(release["port"]), version, share, header))


class CurrentRelease:
    """The release that a state file names, and its canary.

    Args:
        state: the state file.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        self._last: Routes | None = None
        self._damaged = False
        self._unreachable: int | None = None

    async def connect(self, reader: asyncio.StreamReader) -> Streams:
        """Connect a client to its release, and forward what had to be read to choose it.

        Raises:
            OSError: the release does not accept connections, or none is known.
        """
        head = await _read_head(reader) if self.routes().canary else b""
        routes = self.routes()  # again: they may have changed while the head arrived
        streams = await self._connect_to_canary(routes.canary, head)
        streams = streams or await asyncio.open_connection("127.0.0.1", routes.port)
        streams[1].write(head)
        return streams

    async def _connect_to_canary(self, canary: Canary | None, head: bytes) -> Streams | None:
        """None if the connection is not for the canary, or it does not accept it."""
        if canary is None or not canary.gets(head):
            return None
        try:
            return await asyncio.open_connection("127.0.0.1", canary.port)
        except OSError as error:
            if self._unreachable != canary.port:
                self._unreachable = canary.port
                _log_error(f"the canary {canary.version} gets no connections: {error}")
            return None

    def routes(self) -> Routes:
        """Its routes, or the last known ones if the file is damaged, which is logged once.

        Raises:
            OSError: there is no state file, or no port is known.
        """
        try:
            self._last = Routes.from_state(json.loads(self._state.read_text(encoding="utf-8")))
            self._damaged = False
        except (ValueError, KeyError, TypeError, AttributeError):
            if not self._damaged:
                self._damaged = True
                _log_error(f"{self._state} is damaged: run make deploy to replace it")
            if self._last is None:
                raise ConnectionError("no release is known") from None
        return self._last


async def run(host: str, port: int, state: Path) -> None:
    """Forward connections to the current release until SIGTERM."""

    release = CurrentRelease(state)
    tasks: set[asyncio.Task[None]] = set()  # asyncio itself may let them be garbage-collected

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(connect(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            to_release = await release.connect(reader)
            with contextlib.closing(to_release[1]):
                await asyncio.gather(_pipe(reader, to_release[1]), _pipe(to_release[0], writer))

    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    server = await asyncio.start_server(accept, host, port, backlog=2048)
    await ended.wait()
    server.close()  # leaving `async with server` would wait for open connections


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    """What a connection begins with, at least to the end of the first request's head.

    It is shorter if the client stops sending, or does not send all of it in time.
    """
    head = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HEAD_SECONDS):
            while not _END_OF_HEAD.search(head) and len(head) < CHUNK:
                data = await reader.read(CHUNK)
                if not data:
                    break
                head += data
    return head


def _header(head: bytes, name: str) -> bytes | None:
    """The value of a header; None if the head does not have it."""
    lines = _END_OF_HEAD.split(head, maxsplit=1)[0]
    pattern = rb"(?im)^" + re.escape(name.encode()) + rb":[ \t]*(.*?)[ \t]*\r?$"
    found = re.search(pattern, lines)
    return found[1] if found else None


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


def _log_error(message: str) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)


def main() -> int:
    """Entry point of the front's process; returns 1 if its port is in use."""
    parser = argparse.ArgumentParser(description="Forward connections to the current release.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True, help="file that names the release")
    options = parser.parse_args()
    try:
        asyncio.run(run(options.host, options.port, options.state))
    except OSError as error:
        _log_error(f"port {options.port}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
