"""A PostgreSQL server of its own, from the programs on this machine."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.served import free_port

PASSWORD = f"{secrets.token_hex(8)} @/"  # characters that an address must escape


def _program(name: str) -> str:
    found = shutil.which(name) or max(
        map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), default=None
    )
    return found or pytest.skip(f"{name} of PostgreSQL is not on this machine")


@contextmanager
def postgresql() -> Iterator[int]:
    """Run a server that user ann reaches with PASSWORD on 127.0.0.1; yields its port.

    PostgreSQL does not run as root; root starts it as nobody.
    """
    initdb, control, port = _program("initdb"), _program("pg_ctl"), free_port()
    account = {"user": "nobody", "group": "nogroup", "extra_groups": []} if not os.getuid() else {}
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    data, secret = folder / "data", folder / "password"
    secret.write_text(PASSWORD, encoding="utf-8")
    if account:
        for path in (folder, secret):
            shutil.chown(path, "nobody", "nogroup")

    def run(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, cwd="/", timeout=60, **account)

    try:
        access = ("--auth=scram-sha-256", "--username=ann", f"--pwfile={secret}")
        run(initdb, "--no-sync", f"--pgdata={data}", "--encoding=UTF8", *access)
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -F"
        log = str(folder / "log")
        run(control, "-w", "-D", str(data), "-l", log, "-o", options, "start")
        try:
            yield port
        finally:
            run(control, "-m", "immediate", "-D", str(data), "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
