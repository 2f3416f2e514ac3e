"""Starts the processes of an environment, which outlive the command that starts them."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import psutil

from domain.errors import DeploymentError
from infrastructure.compute.receipts import write_receipt
from infrastructure.deployment.release import FRONT, Front, Release
from infrastructure.deployment.variables import ENVIRONMENT, KEYS, LOG, with_deployment_key
from shared.ports import listens
from shared.settings import default_log_url

READY_SECONDS = 60.0
RUNNER_ID = "RUNNER_TRACKING_ID"  # after a job, a GitHub runner kills the processes that have it

Process = subprocess.Popen[bytes]


def launch_release(release: Release) -> tuple[Release, Process]:
    """Start the service of a release, and return the release with its process.

    Args:
        release: whose folder has the Bento; its process is ignored.
    """
    folder, variables = Path(release.folder), release.variables or {}
    home = folder / "home"
    home.mkdir(exist_ok=True)
    environment = {
        **{name: value for name, value in _inherited().items() if not name.startswith("SERVING_")},
        LOG: default_log_url(folder.parent.parent),
        **variables,
        ENVIRONMENT: folder.parent.parent.name,
        "BENTOML_HOME": str(home),  # separate, so that two releases do not sum their metrics
        "WORKERS": str(release.workers),
        "SERVING_PROXY_PROTOCOL": "true",
    }
    if release.api_key:
        environment[KEYS] = with_deployment_key(variables[KEYS], release.api_key)
    process = _launch(
        [
            *("-m", "bentoml", "serve", str(folder / "bento")),
            *("--host", "127.0.0.1", "--port", str(release.port)),
        ],
        folder / "service.log",
        environment,
    )
    return replace(release, pid=process.pid, started=_started(process)), process


def launch_front(folder: Path, port: int) -> Process:
    """Start the front of an environment, and wait until it listens.

    Raises:
        DeploymentError: it ended, or did not listen in time.
    """
    log = folder / "front.log"
    arguments = ["-m", FRONT, "--port", str(port), "--state", str(folder / "current.json")]
    process = _launch(arguments, log)
    front = Front(process.pid, _started(process), port, str(folder))
    write_receipt(folder / "front.json", **asdict(front))
    deadline = time.monotonic() + READY_SECONDS
    while not listens(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise DeploymentError(f"the front did not start: {last_line(log)}: see {log}")
        time.sleep(0.02)
    return process


def launch_supervisor(module: str, folder: Path) -> Process:
    """Start the supervisor of an environment."""
    return _launch(["-m", module, "--environment", str(folder)], folder / "supervisor.log")


def wait_until_ready(release: Release, patience: float) -> None:
    """Wait until the service of a release is ready.

    Args:
        patience: in seconds.

    Raises:
        DeploymentError: it ended, reports that it cannot serve, or was not ready in time.
    """
    log = Path(release.folder) / "service.log"
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if release.process() is None:
            reason = f"ended while starting: {last_line(log)}"
            raise DeploymentError(f"{release.bento_tag} {reason}: see {log}")
        connection = http.client.HTTPConnection("127.0.0.1", release.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            if response.status == 200:
                return
            body = response.read()
            if b'"status":"failed"' in body:
                raise DeploymentError(
                    f"{release.bento_tag}: {json.loads(body)['error']}: see {log}"
                )
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise DeploymentError(f"{release.bento_tag} was not ready within {patience:g} s: see {log}")


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def last_line(log: Path) -> str:
    """The last line of a log; empty if the log does not exist."""
    try:
        return log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
    except FileNotFoundError:
        return ""


def _launch(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Process:
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=environment or _inherited(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != RUNNER_ID}


def _started(process: Process) -> float:
    return psutil.Process(process.pid).create_time()
