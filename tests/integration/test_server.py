"""A release on a server that has sshd and Podman, with Caddy in front: no request is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import httpx
import pytest

from domain.errors import DeploymentError
from infrastructure.deployment.golden import golden_of
from infrastructure.deployment.server import Host, Server, Shipment
from shared.ports import listens
from tests.container_engine import BASE, Engine, make_engine, may_make_engine
from tests.served import Home, free_port

pytestmark = pytest.mark.nightly


@dataclass(frozen=True)
class Place:
    """A server, and what is on it."""

    target: Host
    folder: Path

    @property
    def server(self) -> Server:
        """A client of the server."""
        return Server(self.target, patience=90)

    def post(self, rows: object) -> httpx.Response:
        """Send rows through Caddy."""
        return httpx.post(f"http://127.0.0.1:{self.target.port}/predict", json=rows, timeout=30)


@pytest.fixture(scope="module", name="engine")
def _engine() -> Iterator[Engine]:
    if not may_make_engine(os.environ, os.getuid()):
        pytest.skip("root on Debian may have an engine made with MAKE_CONTAINER_ENGINE=1")
    missing = [name for name in ("sshd", "caddy") if not shutil.which(name)]
    if missing:
        pytest.skip(f"install Debian's openssh-server and caddy: no {', '.join(missing)}")
    with make_engine() as engine:
        yield engine


@pytest.fixture(scope="module", name="place")
def _place(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("server")
    with _run_sshd(folder, _storage(engine, folder)) as ssh:
        home = folder / "home"
        port = free_port() % 20_000 + 10_000  # the slots have ports 10,000 above it
        options = (f"--network={engine.network}",)
        target = Host(
            *("root@127.0.0.1", "staging", port),
            engine="podman",
            folder=str(home),
            caddy="",
            ssh=ssh,
            run_options=options,
        )
        place = Place(target, home)
        try:
            yield place
        finally:
            place.server.stop()
            subprocess.run(["caddy", "stop"], capture_output=True, check=False)


@pytest.fixture(scope="module", name="shipment")
def _shipment(
    engine: Engine, get_home: Callable[[str], Home], tmp_path_factory: pytest.TempPathFactory
) -> Shipment:
    """The image of a model, in the engine of this machine."""
    home = get_home("petals").copy(tmp_path_factory.mktemp("shipment") / "home")
    bento = home.receipts / "bento-build.json"
    receipt = home.receipts / "containerize.json"
    done = home.run(
        *(str(home.root / ".venv/bin/python"), "-m", "infrastructure.cli", "containerize"),
        *("--bento", str(bento), "--engine", engine.name, "--base", BASE),
        *("--receipt", str(receipt)),
        **engine.build_environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    built = json.loads(receipt.read_text(encoding="utf-8"))
    os.environ.update(engine.environment)  # of `podman save`, which the server's client runs
    return Shipment(
        built["image"], engine.name, built["version"], golden_of(home.receipts / "bento"), {}
    )


def test_releases_follow_each_other_without_a_lost_request(
    place: Place, shipment: Shipment, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = shipment.golden.rows
    secret = {"SERVING_LOG_FORMAT": "json"}
    place.server.deploy(replace(shipment, variables=secret))
    assert place.post(rows).json()["version"] == shipment.version
    (variables,) = place.folder.glob("staging/releases/*/env")
    assert variables.stat().st_mode & 0o777 == 0o600
    assert "SERVING_LOG_FORMAT=json" in variables.read_text(encoding="utf-8")

    with _traffic(place, rows) as statuses:
        place.server.deploy(shipment, watch=3)
        assert "  watched   3 s: " in capsys.readouterr().out
        place.server.rollback()
        before = statuses.copy()
        time.sleep(1)
        assert statuses[200] > before[200]
    assert set(statuses) == {200}, statuses
    assert place.server.status().count("Up ") == 1
    audit = (place.folder / "staging/audit.log").read_text(encoding="utf-8").splitlines()
    assert [line.split()[2] for line in audit[:3]] == ["deploy", "deploy", "rollback"]
    assert place.server.logs(5).strip()


def test_a_release_that_predicts_something_else_never_serves(
    place: Place, shipment: Shipment, capsys: pytest.CaptureFixture[str]
) -> None:
    place.server.deploy(shipment)
    golden = shipment.golden
    wrong = [[1 - value for value in row] for row in golden.predictions]
    with _traffic(place, golden.rows) as statuses:
        with pytest.raises(DeploymentError, match="port"):
            place.server.deploy(
                replace(shipment, golden=replace(golden, predictions=wrong), version="1.0.0-x")
            )
    assert set(statuses) == {200}
    assert "the last lines of" in capsys.readouterr().out
    assert place.server.status().count("\n") == 1


def test_a_release_that_does_not_start_shows_its_last_lines(
    place: Place, shipment: Shipment, capsys: pytest.CaptureFixture[str]
) -> None:
    place.server.deploy(shipment)
    impatient = Server(place.target, patience=15)
    with pytest.raises(DeploymentError, match="was not ready after 15 s"):
        impatient.deploy(replace(shipment, variables={"SERVING_QUEUE": "many"}))
    assert "SERVING_QUEUE" in capsys.readouterr().out
    assert place.post(shipment.golden.rows).status_code == 200


def test_a_second_deployment_at_once_is_refused(place: Place, shipment: Shipment) -> None:
    lock = place.folder / "staging/lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(["flock", str(lock), "sleep", "60"]) as holder:
        try:
            time.sleep(0.5)
            with pytest.raises(DeploymentError, match="another deployment .* is running"):
                place.server.deploy(shipment)
        finally:
            subprocess.run(["pkill", "--parent", str(holder.pid)], check=False)


@contextmanager
def _traffic(place: Place, rows: object) -> Iterator[Counter[int]]:
    """Requests through Caddy from four clients, by status; 0 if there was no response."""
    statuses, ended = Counter[int](), Event()

    def send() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{place.target.port}", timeout=30) as client:
            while not ended.is_set():
                try:
                    statuses[client.post("/predict", json=rows).status_code] += 1
                except httpx.HTTPError:
                    statuses[0] += 1

    with ThreadPoolExecutor(max_workers=4) as clients:
        sent = [clients.submit(send) for _ in range(4)]
        try:
            yield statuses
        finally:
            ended.set()
            for each in sent:
                each.result()


def _storage(engine: Engine, folder: Path) -> Mapping[str, str]:
    """The engine's settings with images and containers of the server's own."""
    storage = folder / "storage.conf"
    storage.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n',
        encoding="utf-8",
    )
    return {**engine.environment, "CONTAINERS_STORAGE_CONF": str(storage)}


@contextmanager
def _run_sshd(folder: Path, variables: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """Run sshd with a key of its own, and yield the command that logs in."""
    port = free_port()
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True
        )
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "user.pub",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
        "PermitRootLogin": "prohibit-password",
        "SetEnv": " ".join(f"{name}={value}" for name, value in variables.items()),
    }
    config = folder / "sshd_config"
    config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    sshd = shutil.which("sshd") or "sshd"
    with subprocess.Popen(
        [sshd, "-D", "-f", str(config), "-E", str(folder / "sshd.log")]
    ) as daemon:
        try:
            deadline = time.monotonic() + 10
            while not listens(port):
                assert time.monotonic() < deadline, (folder / "sshd.log").read_text()
                time.sleep(0.05)
            yield (
                *("ssh", "-o", "BatchMode=yes", "-p", str(port), "-i", str(folder / "user")),
                *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
                *("-o", "LogLevel=ERROR"),
            )
        finally:
            daemon.terminate()
