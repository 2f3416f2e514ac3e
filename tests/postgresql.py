"""A PostgreSQL server of its own, from the programs on this machine."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.served import free_port

PASSWORD = f"{secrets.token_hex(8)} @/"  # characters that an address must escape


def _program(name: str) -> str:
    found = shutil.which(name) or max(
        map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), default=None
    )
    return found or pytest.skip(f"{name} of PostgreSQL is not on this machine")


class Server:
    """A PostgreSQL server, which can be stopped and started again with the same port and data.

    PostgreSQL does not run as root; root starts it as nobody.

    Attributes:
        port: on 127.0.0.1.
    """

    def __init__(self, folder: Path) -> None:
        initdb, self._control, self.port = _program("initdb"), _program("pg_ctl"), free_port()
        self._folder, self._data, secret = folder, folder / "data", folder / "password"
        secret.write_text(PASSWORD, encoding="utf-8")
        if not os.getuid():
            for path in (folder, secret):
                shutil.chown(path, "nobody", "nogroup")
        access = ("--auth=scram-sha-256", "--username=ann", f"--pwfile={secret}")
        _run(initdb, "--no-sync", f"--pgdata={self._data}", "--encoding=UTF8", *access)

    @property
    def url(self) -> str:
        """The address of its database for SQLAlchemy."""
        url = URL.create("postgresql+psycopg", "ann", PASSWORD, "127.0.0.1", self.port, "postgres")
        return url.render_as_string(hide_password=False)

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self._folder} -F"
        log = str(self._folder / "log")
        _run(self._control, "-w", "-D", str(self._data), "-l", log, "-o", options, "start")

    def stop(self) -> None:
        """End it at once, as a crash would."""
        _run(self._control, "-m", "immediate", "-D", str(self._data), "stop")


def _run(*command: str) -> None:
    account = {"user": "nobody", "group": "nogroup", "extra_groups": []} if not os.getuid() else {}
    subprocess.run(command, check=True, capture_output=True, cwd="/", timeout=60, **account)


@contextmanager
def postgresql() -> Iterator[Server]:
    """Run a server that user ann reaches with PASSWORD."""
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    try:
        server = Server(folder)
        server.start()
        try:
            yield server
        finally:
            with suppress(subprocess.CalledProcessError):  # a test has stopped it
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
