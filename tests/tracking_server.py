"""MLflow's tracking server with accounts, on PostgreSQL and an object store."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.served import free_port

USER, PASSWORD = "admin", "a long password"


@contextmanager
def tracking_server(folder: Path, database: str, artifacts: str) -> Iterator[str]:
    """Run a server until the block ends; yields its address.

    Args:
        database: address of the database.
        artifacts: address of the folder for artifacts; variables of the environment give access.
    """
    port = free_port()
    accounts = folder / "basic_auth.ini"
    accounts.write_text(
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = sqlite:///{folder / 'accounts.db'}\n"
        f"admin_username = {USER}\n"
        f"admin_password = {PASSWORD}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
        encoding="utf-8",
    )
    log = folder / "server.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth"),
                *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
                *("--backend-store-uri", database, "--artifacts-destination", artifacts),
            ],
            env={
                **os.environ,
                "MLFLOW_AUTH_CONFIG_PATH": str(accounts),
                "MLFLOW_FLASK_SERVER_SECRET_KEY": "a key of this test",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as server,
    ):
        try:
            _wait_until_ready(f"http://127.0.0.1:{port}/health", server, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(20)


def _wait_until_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(log.read_text(encoding="utf-8", errors="replace")[-3000:])
