"""A TCP proxy on the public port of an environment, which makes switching releases seamless.

For each new connection it reads the port of the current release from the state file; open
connections stay where they are. If the file is damaged, the last known release keeps serving. The
front is started by `local`, and needs only the standard library.
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


class CurrentRelease:
    """The release that a state file names.

    Args:
        state: the state file.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        self._last: int | None = None
        self._damaged = False

    def port(self) -> int:
        """Its port, or the last known port if the file is damaged, which is logged once.

        Raises:
            OSError: there is no state file, or no port is known.
        """
        try:
            self._last = int(json.loads(self._state.read_text(encoding="utf-8"))["port"])
            self._damaged = False
        except (ValueError, KeyError, TypeError):
            if not self._damaged:
                self._damaged = True
                _log_error(f"{self._state} is damaged: run make deploy to replace it")
            if self._last is None:
                raise ConnectionError("no release is known") from None
        return self._last


async def run(host: str, port: int, state: Path) -> None:
    """Forward connections to the current release until SIGTERM."""

    release = CurrentRelease(state)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            to_release = await asyncio.open_connection("127.0.0.1", release.port())
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
