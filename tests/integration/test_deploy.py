"""Releases on this machine: a new one takes over without downtime, if its predictions are right."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest

from application.inference.api_keys import entry_of, new_key
from infrastructure.deployment.release import Release, find_process, read_release
from infrastructure.monitoring.metrics.metrics_files import FOLDER, MEMORY, has_room
from tests.served import Home, free_port
from tests.strength import metric

SETOSA = [5.1, 3.5, 1.4, 0.2]


class Machine:
    """An environment on this machine, and a build that tests may change."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def __call__(self, action: str, *arguments: str) -> tuple[int, str]:
        """Exit code and output of a command."""
        done = self.home.python(
            *("-m", "infrastructure.cli", action),
            *(() if action == "status" else ("--port", str(self.port))),
            *arguments,
        )
        return done.returncode, done.stdout + done.stderr

    def deploy(self, build: Home | None = None, canary: int = 0) -> tuple[int, str]:
        """Deploy the build, or that of another home, with a share of the traffic or all of it."""
        arguments = ("--canary", str(canary)) if canary else ()
        receipt = str((build or self.home).receipts / "bento-build.json")
        return self("deploy", "--patience", "60", "--bento", receipt, *arguments)

    def served_version(self) -> str:
        """The version in a response of the service."""
        response = httpx.post(f"{self.url}/classify", json=SETOSA)
        assert response.status_code == 200, response.text
        return str(response.json()["version"])

    def current(self) -> Release:
        """The release that gets the traffic."""
        release = read_release(self.home.folder / "releases/staging/current.json")
        assert release is not None
        return release


def built_version(home: Home) -> str:
    """The version that was built in a home."""
    built = json.loads((home.receipts / "bento-build.json").read_text(encoding="utf-8"))
    return str(built["version"])


def has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended; init may still have to ask for its exit code."""
    return find_process(process.pid, process.create_time()) is None


@pytest.fixture(name="machine")
def fixture_machine(home: Home, tmp_path: Path) -> Iterator[Machine]:
    """An environment in a temporary home, which is stopped afterwards."""
    made = Machine(home.copy(tmp_path / "own"))
    yield made
    made("stop")


@pytest.fixture(scope="module", name="serving")
def fixture_serving(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """An environment with a release; tests must leave it as it is."""
    made = Machine(home.copy(tmp_path_factory.mktemp("serving") / "own"))
    code, output = made.deploy()
    assert code == 0, output
    yield made
    made("stop")


def break_build(home: Home, change: Callable[[Path], None]) -> None:
    """Change a home's Bento, as a bad build would."""
    change(home.receipts / "bento")
    info = home.receipts / "bento/bento.yaml"
    info.write_text(info.read_text(encoding="utf-8") + "# another build\n", encoding="utf-8")


def break_service(bento: Path) -> None:
    """Prevent the service from starting."""
    service = bento / "src/application/inference/services/model_service.py"
    service.write_text("raise RuntimeError('broken build')\n", encoding="utf-8")


def break_predictions(bento: Path) -> None:
    """Reverse the order of the classes: the service starts, and its predictions are wrong."""
    predictor = bento / "src/application/inference/predictor.py"
    text = predictor.read_text(encoding="utf-8")
    right = "predictions = self._model(encoded)"
    assert right in text
    wrong = "predictions = self._model(encoded)[:, ::-1].copy()"
    predictor.write_text(text.replace(right, wrong), encoding="utf-8")


def break_model(bento: Path) -> None:
    """Flip a bit of the model."""
    (onnx,) = bento.glob("models/*/*/model.onnx")
    onnx.chmod(0o644)
    data = bytearray(onnx.read_bytes())
    data[len(data) // 2] ^= 1
    onnx.write_bytes(data)


def test_a_release_serves_on_the_public_port_until_it_is_stopped(machine: Machine) -> None:
    code, output = machine.deploy()
    assert code == 0, output
    version = machine.served_version()
    assert machine("smoke") == (
        0,
        f"  smoke     staging reproduces its golden predictions, version {version}\n",
    )
    code, output = machine("status")
    assert code == 0
    assert f"running, petals_pipeline {version}, {machine.url}, no API keys" in output
    process = psutil.Process(machine.current().pid)
    folders = {worker.environ().get(FOLDER) for worker in process.children()} - {None}
    metrics = Path(folders.pop() or "")
    files = [path.stat() for path in metrics.glob("*.db")]
    assert files and all(512 * file.st_blocks >= file.st_size for file in files)
    assert metrics.parent == MEMORY or not has_room(MEMORY, 1)  # whatever fills the disk
    assert machine("stop")[0] == 0
    assert has_ended(process) and not (metrics.parent == MEMORY and metrics.exists())
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", machine.port)) != 0
    assert "nothing" in machine("status")[1]
    assert machine("smoke")[0] == 1


def test_a_service_that_requires_api_keys_is_deployed_and_checked(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_key()
    monkeypatch.setenv("SERVING_API_KEYS", entry_of("me", key, ["predict"]))
    code, output = machine.deploy()
    assert code == 0, output
    assert machine("smoke")[0] == 0
    demo = ("-m", "infrastructure.cli", "demo", "--port", str(machine.port))
    shown = machine.home.python(*demo)
    assert shown.returncode == 0, shown.stderr
    assert httpx.post(f"{machine.url}/classify", json=SETOSA).status_code == 401
    mine = {"Authorization": f"Bearer {key}"}
    assert httpx.post(f"{machine.url}/classify", json=SETOSA, headers=mine).status_code == 200
    summary = f"{machine.url}/get_metrics_summary"
    assert httpx.post(summary, json={"hours": 1}, headers=mine).status_code == 403
    state = machine.home.folder / "releases/staging/current.json"
    assert state.stat().st_mode & 0o077 == 0
    monkeypatch.delenv("SERVING_API_KEYS")
    monkeypatch.setenv("SERVING_MAX_ROWS", "5")
    code, output = machine.deploy()  # different settings make a new release
    assert code == 0 and "switched" in output, output
    assert "SERVING_API_KEYS, as before" in output
    assert httpx.post(f"{machine.url}/classify", json=SETOSA).status_code == 401
    assert httpx.post(f"{machine.url}/classify", json=[SETOSA] * 6, headers=mine).status_code == 413
    monkeypatch.delenv("SERVING_MAX_ROWS")
    code, output = machine("rollback-release")
    assert code == 0, output
    assert httpx.post(f"{machine.url}/classify", json=SETOSA).status_code == 401
    assert httpx.post(f"{machine.url}/classify", json=[SETOSA] * 6, headers=mine).status_code == 200


def test_a_new_version_takes_over_without_failed_requests_and_can_be_rolled_back(
    machine: Machine, second_home: Home
) -> None:
    assert machine.deploy()[0] == 0
    first, old = machine.served_version(), psutil.Process(machine.current().pid)
    versions: list[str] = []
    done = threading.Event()

    def send_requests() -> None:
        while not done.is_set():
            versions.append(machine.served_version())

    client = threading.Thread(target=send_requests)
    client.start()
    code, output = machine.deploy(second_home)
    done.set()
    client.join()
    assert code == 0, output
    assert len(versions) > 20
    assert versions == sorted(versions), "the old version responded after the new one"
    assert versions[0] == first != machine.served_version() == built_version(second_home)
    assert has_ended(old)
    code, output = machine("rollback-release")
    assert code == 0, output
    assert machine.served_version() == first


def test_a_build_that_is_already_serving_is_not_deployed_again(serving: Machine) -> None:
    pid = serving.current().pid
    code, output = serving.deploy()
    assert (code, "serves already" in output) == (0, True)
    assert serving.current().pid == pid


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (break_service, "ended while starting"),
        (break_predictions, "the predictions for the golden requests differ"),
        (break_model, "ended while starting"),
    ],
)
def test_the_old_version_keeps_serving_if_the_new_one_fails(
    serving: Machine,
    tmp_path: Path,
    home: Home,
    change: Callable[[Path], None],
    message: str,
) -> None:
    version, release = serving.served_version(), serving.current()
    broken = home.copy(tmp_path / "broken")
    break_build(broken, change)
    code, output = serving.deploy(broken)
    assert code == 1
    assert message in output
    assert "Traceback" not in output
    assert (serving.served_version(), serving.current()) == (version, release)
    assert serving("smoke")[0] == 0


def test_a_first_version_that_fails_leaves_nothing_behind(machine: Machine) -> None:
    break_build(machine.home, break_predictions)
    code, output = machine.deploy()
    assert code == 1, output
    assert "nothing" in machine("status")[1]
    with pytest.raises(httpx.ConnectError):
        machine.served_version()


def test_a_port_in_use_is_refused_with_its_holder(machine: Machine) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", machine.port))
        other.listen()
        code, output = machine.deploy()
    assert code == 1
    assert f"port {machine.port} is in use by " in output and f"pid {os.getpid()}" in output


def test_without_a_previous_release_a_rollback_fails(machine: Machine) -> None:
    code, output = machine("rollback-release")
    assert code == 1
    assert "no previous release" in output


def test_the_demo_shows_the_metrics_that_changed(machine: Machine) -> None:
    assert machine.deploy()[0] == 0
    done = machine.home.python("-m", "infrastructure.cli", "demo", "--port", str(machine.port))
    assert done.returncode == 0, done.stderr
    assert "actual value setosa, from the hold-out: feedback_recorded" in done.stdout
    assert 'ml_synthetic_requests_total{source="demo"} 0 → 2' in done.stdout
    assert machine("smoke")[0] == 0
    text = httpx.get(f"{machine.url}/metrics").text
    counted = {
        line.partition("{")[0]: float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith("ml_") and 'source="' not in line
    }
    assert counted["ml_predictions_total"] == 0 and "ml_model_accuracy" not in counted
    for source, requests in (("golden", 2), ("demo", 2), ("smoke", 1)):
        assert metric(machine.url, "ml_synthetic_requests_total", source=source) == requests
    summary = httpx.post(f"{machine.url}/get_metrics_summary", json={"hours": 1}).json()
    assert summary["metrics"]["total_predictions"] == 0


def test_the_demo_fails_if_nothing_is_deployed(machine: Machine) -> None:
    done = machine.home.python("-m", "infrastructure.cli", "demo")
    assert done.returncode == 1
    assert "nothing is deployed" in done.stderr


def test_a_canary_shares_traffic_and_log_and_takes_over_without_failed_requests(
    machine: Machine, second_home: Home
) -> None:
    assert machine.deploy()[0] == 0
    first, second = built_version(machine.home), built_version(second_home)
    code, output = machine.deploy(second_home, canary=50)
    assert code == 0 and f"{second} gets 50 % of connections" in output, output
    served: list[str] = []
    for _ in range(24):  # a label may reach the other release than its prediction did
        response = httpx.post(f"{machine.url}/predict", json=[SETOSA]).raise_for_status().json()
        label = {"request_id": response["request_id"], "row": 0, "actual_class": "setosa"}
        httpx.post(f"{machine.url}/feedback", json=label).raise_for_status()
        served.append(response["version"])
    assert set(served) == {first, second}
    canary = machine.current().canary
    assert canary is not None
    done = threading.Event()

    def send_requests() -> None:
        while not done.is_set():
            served.append(machine.served_version())

    with ThreadPoolExecutor() as client:
        sending = client.submit(send_requests)
        code, output = machine.deploy(second_home)
        done.set()
        sending.result()
    assert code == 0, output
    assert machine.current() == canary.release  # not started again
    assert {machine.served_version() for _ in range(10)} == {second}
    assert machine("stop")[0] == 0  # writes what is not in the log yet
    log = machine.home.folder / "releases/staging/predictions.db"
    with closing(sqlite3.connect(log)) as database:
        of_version = "version, SUM(predictions) FROM prediction_batches GROUP BY version"
        logged = dict(database.execute(f"SELECT {of_version}"))
        of_version = "version, COUNT(*) FROM labelled_rows GROUP BY version"
        labels = dict(database.execute(f"SELECT {of_version}"))
    assert logged == {first: served.count(first), second: served.count(second) + 10}
    assert labels == {version: served[:24].count(version) for version in (first, second)}
