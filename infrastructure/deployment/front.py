"""A TCP front on the public port of an environment, so that a release can be switched unnoticed.

For each connection it asks a file which port serves now; connections that are open stay where they
are. It is started by `local`, and needs nothing but the standard library.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
from pathlib import Path

CHUNK = 64 * 1024


def serving_port(state: Path) -> int:
    """The port of the release that serves now."""
    return int(json.loads(state.read_text(encoding="utf-8"))["port"])


async def run(host: str, port: int, state: Path) -> None:
    """Pass connections on until SIGTERM."""

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            to_release = await asyncio.open_connection("127.0.0.1", serving_port(state))
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


def main() -> None:
    """Entry point of the front's process."""
    parser = argparse.ArgumentParser(description="Pass connections on to the serving release.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True, help="file that names the release")
    options = parser.parse_args()
    asyncio.run(run(options.host, options.port, options.state))


if __name__ == "__main__":
    main()
