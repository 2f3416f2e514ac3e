"""Runs the stack in the foreground: with a container engine, or as processes of this machine."""

from __future__ import annotations

import http.client
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from domain.errors import DeploymentError
from infrastructure.monitoring.stack.configuration import Addresses
from shared.ports import holder_of, listens

READY_SECONDS = 30.0
STOP_SECONDS = 20.0
_ALERTMANAGERS = ("alertmanager", "prometheus-alertmanager")  # Debian's name is the second


def has_compose(engine: str) -> bool:
    """Whether a container engine can run compose files."""
    command = [engine, "compose", "version"]
    return not subprocess.run(command, capture_output=True, check=False).returncode


def compose_command(engine: str, folder: Path) -> list[str]:
    """The command that runs the whole stack in containers, until Ctrl-C."""
    file = str(folder / "compose.yml")
    return [engine, "compose", "--project-name", "monitor", "--file", file, "up"]


def local_commands(
    folder: Path, addresses: Addresses, which: Callable[[str], str | None] = shutil.which
) -> dict[str, list[str]]:
    """The commands of Prometheus and Alertmanager, by name.

    Raises:
        DeploymentError: one of them is not installed.
    """
    prometheus = which("prometheus")
    alertmanager = next(filter(None, map(which, _ALERTMANAGERS)), None)
    if not (prometheus and alertmanager):
        missing = "prometheus" if alertmanager else "alertmanager"
        raise DeploymentError(
            f"no container engine with compose works, and {missing} is not on PATH: install and "
            "start Docker, or run `apt install prometheus prometheus-alertmanager` (macOS: `brew "
            f"install prometheus alertmanager`); the configuration is in {folder}"
        )
    return {
        "prometheus": [
            prometheus,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data/prometheus'}",
            f"--web.listen-address=127.0.0.1:{addresses.prometheus}",
        ],
        "alertmanager": [
            alertmanager,
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'data/alertmanager'}",
            f"--web.listen-address=127.0.0.1:{addresses.alertmanager}",
            "--cluster.listen-address=",  # it is the only one
        ],
    }


def check_ports(ports: Mapping[str, int]) -> None:
    """Check that nobody listens on the ports of the stack.

    Args:
        ports: by the setting that chooses each.

    Raises:
        DeploymentError: one is in use.
    """
    for setting, port in ports.items():
        if listens(port):
            raise DeploymentError(
                f"port {port} is in use by {holder_of(port)}: stop that, or set {setting} to "
                "another port"
            )


@contextmanager
def running(
    commands: Mapping[str, list[str]], ports: Mapping[str, int], folder: Path
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Run Prometheus and Alertmanager until the block ends; they are ready when it begins.

    Args:
        commands, ports: by name.
        folder: where their logs are written.

    Yields:
        The processes by name.

    Raises:
        DeploymentError: one does not become ready.
    """
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            with (folder / f"{name}.log").open("wb") as log:
                processes[name] = subprocess.Popen(  # pylint: disable=consider-using-with
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                )
        for name, process in processes.items():
            _wait_until_ready(name, process, ports[name], folder)
        yield processes
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            process.kill()


def wait_for_end(processes: Mapping[str, subprocess.Popen[bytes]], folder: Path) -> None:
    """Wait until a process ends, which it should not.

    Raises:
        DeploymentError: always.
    """
    while True:
        for name, process in processes.items():
            if process.poll() is not None:
                raise _ended(name, folder)
        time.sleep(0.5)


def _wait_until_ready(name: str, process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise _ended(name, folder)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/-/ready")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.1)
    log = folder / f"{name}.log"
    raise DeploymentError(f"{name} was not ready within {READY_SECONDS:g} s: see {log}")


def _ended(name: str, folder: Path) -> DeploymentError:
    log = folder / f"{name}.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    last = lines[-1] if lines else "it printed nothing"
    return DeploymentError(f"{name} has ended: {last}; {log} has all that it printed")
