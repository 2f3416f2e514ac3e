"""A TCP front on the public port of an environment, so that a release can be switched unnoticed.

For each connection it asks a file which port serves now; connections that are open stay where they
are. Where the file is damaged, the release that it named last goes on serving. The front is started
by `local`, and needs nothing but the standard library.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path

CHUNK = 64 * 1024


class Serving:
    """The release that serves now, by a state file.

    Args:
        state: the file that names it.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        self._last: int | None = None
        self._damaged = False

    def port(self) -> int:
        """Its port; that of the last one where the file is damaged, which is said once.

        Raises:
            OSError: nothing serves.
        """
        try:
            self._last = int(json.loads(self._state.read_text(encoding="utf-8"))["port"])
            self._damaged = False
        except (ValueError, KeyError, TypeError):
            if not self._damaged:
                self._damaged = True
                _say(f"{self._state} is damaged and names no release: `make deploy` replaces it")
            if self._last is None:
                raise ConnectionError("no release is known") from None
        return self._last


async def run(host: str, port: int, state: Path) -> None:
    """Pass connections on until SIGTERM."""

    serving = Serving(state)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            to_release = await asyncio.open_connection("127.0.0.1", serving.port())
            with contextlib.closing(to_release[1]):
                await asyncio.gather(_pipe(reader, to_release[1]), _pipe(to_release[0], writer))

    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    server = await asyncio.start_server(connect, host, port, backlog=2048)
    await ended.wait()
    server.close()  # leaving `async with server` would wait for open connections


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


def _say(message: str) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)


def main() -> int:
    """Entry point of the front's process; 1 where its port is taken."""
    parser = argparse.ArgumentParser(description="Pass connections on to the serving release.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True, help="file that names the release")
    options = parser.parse_args()
    try:
        asyncio.run(run(options.host, options.port, options.state))
    except OSError as error:
        _say(f"port {options.port}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
