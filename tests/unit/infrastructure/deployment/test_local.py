"""Releases on this machine: golden predictions, processes and state files.

A small service replaces BentoML.
"""

# pylint: disable=too-many-lines

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from application.inference.api_keys import entry_of, new_key
from domain.errors import DeploymentError
from infrastructure.cli.__main__ import main
from infrastructure.deployment import local
from infrastructure.deployment.local import (
    Build,
    LocalEnvironment,
    check_free,
    deployed_in,
)
from infrastructure.deployment.release import (
    Release,
    find_front,
    public_port,
    read_release,
    stop_process,
)
from infrastructure.deployment.variables import explicit_variables
from infrastructure.registry.ledger import FileLedger
from tests.local_environment import Machine, release_of, write_front, write_state
from tests.served import free_port


@pytest.fixture(name="sleeper")
def _sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process in the place of a release."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.fixture(name="places")
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the releases and the ledger."""
    monkeypatch.setenv("RELEASES_DIR", str(tmp_path))
    monkeypatch.setenv("LEDGER", str(tmp_path / "ledger.jsonl"))
    return tmp_path


def test_without_a_deployment_there_is_nothing_to_smoke_or_roll_back(
    tmp_path: Path,
) -> None:
    environment = LocalEnvironment(tmp_path / "staging", free_port())
    assert environment.current() is None
    assert environment.status() == ""
    with pytest.raises(DeploymentError, match="nothing is deployed"):
        environment.smoke()
    with pytest.raises(DeploymentError, match="no previous release"):
        environment.rollback({})
    assert environment.stop() is False
    assert not (tmp_path / "staging").exists()


def test_a_public_port_in_use_is_refused_before_anything_is_started(
    tmp_path: Path,
) -> None:
    folder, server = tmp_path / "staging", socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    holder = f"port {port} is in use by .*pid {os.getpid()}.*choose another PORT"
    with server, pytest.raises(DeploymentError, match=holder):
        LocalEnvironment(folder, port).deploy(Build(tmp_path, "1", "iris:1"), 1, {})
    assert not folder.exists()


@pytest.mark.parametrize("fault", ["port", "build", "keys", "setting"])
def test_a_first_deployment_that_cannot_start_leaves_no_folder(
    machine: Machine,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    build = machine.build("1")
    if fault == "build":
        (build.bento / "bento.yaml").unlink()
    elif fault == "keys":
        monkeypatch.setenv("SERVING_API_KEYS", "malformed")
    elif fault == "setting":
        monkeypatch.setenv("SERVING_MAX_ROWS", "many")
    built = str(build.bento.parent / "bento-build.json")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1] if fault == "port" else machine.port
        assert main(["deploy", "--env", "prod", "--port", str(port), "--bento", built]) == 1
    messages = {"port": "is in use", "build": "is missing", "keys": "SERVING_API_KEYS"}
    assert messages.get(fault, "SERVING_MAX_ROWS") in capsys.readouterr().err
    assert not (machine.folder / "prod").exists()


def test_an_environment_does_not_change_its_port(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    release, port = write_state(tmp_path, release_of(sleeper)), free_port()
    write_front(tmp_path, release, port)
    environment = LocalEnvironment(tmp_path, free_port())
    with pytest.raises(DeploymentError, match=f"serves on another port, {port}"):
        environment.deploy(Build(tmp_path, "1", "iris:1"), 1, {})
    assert environment.current() == release
    assert sleeper.poll() is None


def test_stopping_ends_the_release_and_keeps_it_for_a_rollback(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    release = write_state(tmp_path, release_of(sleeper))
    environment = LocalEnvironment(tmp_path, free_port())
    assert environment.stop() is True
    assert release.process() is None
    assert sleeper.poll() is not None
    assert environment.current() is None
    assert json.loads((tmp_path / "previous.json").read_text("utf-8")) == asdict(release)
    assert environment.stop() is False


def test_stopping_does_not_end_another_process_with_the_same_pid(tmp_path: Path) -> None:
    release = release_of(psutil.Process(os.getpid()), started=1.0)
    write_front(tmp_path, write_state(tmp_path, release), 1)
    assert LocalEnvironment(tmp_path, free_port()).stop() is False  # or this test would end


def test_the_status_shows_running_and_dead_releases(
    places: Path, sleeper: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status"]) == 0
    assert "deployed on this machine" in capsys.readouterr().out
    alive, dead = release_of(sleeper, api_key="key"), release_of(sleeper, started=1.0, workers=2)
    for name, release, front in (
        ("blue", alive, alive),
        ("green", dead, alive),
        ("red", alive, dead),
    ):
        write_state(places / name, release)
        write_front(places / name, front, 3000)
    assert main(["status"]) == 0
    blue, green, red = capsys.readouterr().out.splitlines()
    expected = "running, iris 1.0.0-a, http://127.0.0.1:3000, API keys, workers 1, pid"
    assert blue.split()[0] == "blue" and expected in blue
    expected = "DEAD (release ended), iris 1.0.0-a, http://127.0.0.1:3000, no API keys, workers 2"
    assert green.split()[0] == "green" and expected in green
    assert red.split()[0] == "red" and "DEAD (front ended), iris 1.0.0-a, no port" in red


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smoke"], "nothing is deployed in staging: run make deploy ENV=staging"),
        (["rollback-release"], "there is no previous release"),
    ],
)
def test_a_command_without_a_release_exits_with_1_and_the_reason(
    places: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main([*arguments, "--port", str(free_port())]) == 1
    assert message in capsys.readouterr().err
    assert not list(places.iterdir())


def test_stopping_nothing_is_not_an_error(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stop", "--env", "staging"]) == 0
    assert "nothing" in capsys.readouterr().out
    assert not list(places.iterdir())


def test_only_a_stopped_release_is_recorded_in_the_ledger(
    places: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    write_state(places / "blue", release_of(sleeper))
    ledger = FileLedger(places / "ledger.jsonl")
    ledger.append("deploy", "iris", "1.0.0-a", env="blue")
    assert main(["stop", "--env", "blue"]) == 0
    assert main(["stop", "--env", "blue"]) == 0
    assert len(ledger.entries()) == 2
    entry = ledger.entries()[-1]
    assert (entry.event, entry.model_name, entry.version) == ("stop", "iris", "1.0.0-a")
    assert entry.details == {"env": "blue", "port": None, "bento_tag": "iris:1.0.0-a"}


@pytest.mark.parametrize("event", ["deploy", "stop"])
def test_an_event_that_a_killed_command_did_not_record_is_recorded_by_the_next_one(
    places: Path, sleeper: subprocess.Popen[bytes], event: str
) -> None:
    ledger = FileLedger(places / "ledger.jsonl")
    ledger.append("deploy", "iris", "1.0.0-z" if event == "deploy" else "1.0.0-a", env="blue")
    release = release_of(sleeper)
    name = "current.json" if event == "deploy" else "previous.json"
    write_front(places / "blue", write_state(places / "blue", release, name), 3210)
    for _ in range(2):
        assert main(["rollback-release", "--env", "blue", "--patience", "0"]) == 1
    assert len(ledger.entries()) == 2
    entry = ledger.entries()[-1]
    assert (entry.event, entry.model_name, entry.version) == (event, "iris", "1.0.0-a")
    port = 3210 if event == "deploy" else None
    since = datetime.fromtimestamp((places / "blue" / name).stat().st_mtime, UTC)
    expected = {"env": "blue", "port": port, "bento_tag": "iris:1.0.0-a"}
    assert entry.details == {**expected, "since": since.isoformat(timespec="microseconds")}
    LocalEnvironment(places / "blue").stop()  # and with it the supervisor


def test_a_service_can_be_stopped_with_a_damaged_ledger(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.deploy("1")
    (machine.folder / "ledger.jsonl").write_text("garbage\n", encoding="utf-8")
    assert main(["stop"]) == 1
    error = capsys.readouterr().err
    assert "staging is stopped, but not recorded: " in error and "move it away" in error
    assert machine.environment.current_if_known() is None


@pytest.mark.parametrize("action", ["deploy", "rollback-release"])
@pytest.mark.parametrize("fault", ["damaged", "not writable"])
def test_without_a_usable_ledger_nothing_is_deployed_or_rolled_back(
    machine: Machine,
    action: str,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine.deploy("1")
    state = machine.deploy("2")
    if fault == "damaged":
        (machine.folder / "ledger.jsonl").write_text("garbage\n", encoding="utf-8")
    else:
        monkeypatch.setenv("LEDGER", "/proc/x/ledger.jsonl")
    built = str(machine.build("3").bento.parent / "bento-build.json")
    arguments = ["--bento", built] if action == "deploy" else []
    for environment in ("staging", "new"):
        assert main([action, "--env", environment, *arguments]) == 1
    captured = capsys.readouterr()
    remedy = "move it away" if fault == "damaged" else "set LEDGER to another path"
    assert captured.err.count(remedy) == 2
    assert "now serves 3" not in captured.out
    assert machine.environment.current() == state and state.process()
    assert not (machine.folder / "new").exists()


def test_a_failed_rollback_is_not_recorded(places: Path) -> None:
    assert main(["rollback-release", "--env", "blue"]) == 1
    assert not (places / "ledger.jsonl").exists()


def test_current_and_previous_releases_are_listed(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    now, before = release_of(sleeper), release_of(sleeper, version="1.0.0-z")
    expected = [
        ("blue", write_state(tmp_path / "blue", now), True),
        ("blue", write_state(tmp_path / "blue", before, "previous.json"), False),
        ("green", write_state(tmp_path / "green", before, "previous.json"), False),
    ]
    assert list(deployed_in(tmp_path)) == expected
    assert not list(deployed_in(tmp_path / "nowhere"))


def test_a_copied_clone_has_no_deployment_and_the_original_keeps_serving(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.deploy("0")
    original = machine.deploy("1")
    clone = machine.folder / "clone"
    shutil.copytree(machine.folder / "staging", clone / "staging")
    assert not list(deployed_in(clone))
    monkeypatch.setenv("RELEASES_DIR", str(clone))
    assert main(["status"]) == 0
    message = f"copied from {machine.folder / 'staging'}, not running here"
    assert message in capsys.readouterr().out
    for action in ("smoke", "rollback-release"):
        assert main([action]) == 1
    assert main(["demo"]) == 1
    errors = capsys.readouterr().err
    assert errors.count("nothing is deployed in staging") == 2 and "no previous release" in errors
    copied = Machine(clone, free_port())
    new = copied.deploy("2")
    try:
        assert [release for _, release, _ in deployed_in(clone)] == [new]
        assert main(["status"]) == 0
        assert f"running, iris 2, http://127.0.0.1:{copied.port}" in capsys.readouterr().out
    finally:
        assert main(["stop"]) == 0
    shutil.copytree(machine.folder / "staging", clone / "staging", dirs_exist_ok=True)
    assert main(["stop"]) == 0 and "nothing" in capsys.readouterr().out.splitlines()[-1]
    assert main(["status"]) == 0 and "copied" not in capsys.readouterr().out
    assert original.process() is not None and machine.response_status() == 200


@pytest.mark.parametrize("action", ["deploy", "rollback-release", "stop", "lost"])
def test_a_release_of_a_moved_clone_is_replaced_or_stopped(
    machine: Machine,
    action: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    keys = {"SERVING_API_KEYS": entry_of("me", new_key())}
    build = machine.build("1")
    machine.environment.deploy(build, 1, {})
    if action == "rollback-release":
        machine.deploy("2", keys)
    else:
        machine.environment.deploy(build, 1, keys)
    old, front = machine.environment.current(), find_front(machine.folder / "staging")
    assert old and front
    moved = Machine(machine.folder / "moved", machine.port)
    moved.folder.mkdir()
    (machine.folder / "staging").rename(moved.folder / "staging")
    monkeypatch.setenv("RELEASES_DIR", str(moved.folder))
    if action == "lost":
        (moved.folder / "staging/front.json").unlink()
    assert main(["status"]) == 0
    assert (
        f"moved from {machine.folder / 'staging'}, where it still runs" in capsys.readouterr().out
    )
    try:
        if action in ("deploy", "lost"):
            moved.environment.deploy(build, 1, {})
        else:
            assert main([action]) == 0
        assert f"moved     from {machine.folder / 'staging'}: " in capsys.readouterr().out
        assert (old.process(), front.process()) == (None, None)
        assert main(["status"]) == 0
        if action == "stop":
            assert "nothing" in capsys.readouterr().out
            moved.deploy("3")
        assert moved.response_status() == 401
        assert main(["status"]) == 0 and "running, iris" in capsys.readouterr().out
    finally:
        moved.environment.stop()
        for each in (old, front):
            stop_process(each.process())


def test_the_default_port_is_that_of_the_deployment(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    build = machine.build("1")
    built = str(build.bento.parent / "bento-build.json")
    machine.environment.deploy(build, 1, {})
    machine.deploy("2")
    for arguments in (["smoke"], ["rollback-release"], ["deploy", "--bento", built], ["smoke"]):
        assert main(arguments) == 0, capsys.readouterr().err
    entry = FileLedger(machine.folder / "ledger.jsonl").entries()[-1]
    assert (entry.event, entry.details["port"]) == ("rollback", machine.port)
    front = find_front(machine.folder / "staging")
    assert front is not None and stop_process(front.process())
    assert main(["deploy", "--bento", built]) == 0  # as after a restart of the machine
    assert machine.response_status() == 200
    machine.environment.stop()
    assert LocalEnvironment(machine.folder / "staging").port == 3000


def test_each_environment_has_a_port_of_its_own_by_default(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    ports = {}
    for name in ("wine", "production", "churn", "staging"):
        ports[name] = LocalEnvironment(tmp_path / name).port
        release = write_state(tmp_path / name, release_of(sleeper))
        write_front(tmp_path / name, release, ports[name])
    assert ports == {"staging": 3000, "production": 3001, "wine": 3002, "churn": 3003}
    assert LocalEnvironment(tmp_path / "wine").port == 3002


def test_a_port_of_another_environment_is_refused_and_named(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        write_front(tmp_path / "blue", write_state(tmp_path / "blue", release_of(sleeper)), port)
        with pytest.raises(DeploymentError) as caught:
            LocalEnvironment(tmp_path / "green", port).deploy(Build(tmp_path, "1", "a:1"), 1, {})
    assert str(caught.value) == (
        f"port {port} is in use by environment blue (iris 1.0.0-a): run make stop ENV=blue, or "
        "choose another PORT"
    )


def test_a_deployment_shows_the_old_and_the_new_release(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.deploy("1")
    assert "start     iris:1 (nothing was deployed)\n" in capsys.readouterr().out
    machine.deploy("2")
    output = capsys.readouterr().out
    assert "start     iris:2, replacing iris:1 when ready\n" in output
    assert f"switched  http://127.0.0.1:{machine.port} now serves 2\n" in output


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (None, "iris:1 ended while starting: FileNotFoundError: .*response.json'"),
        ('{"status":"failed","error":"cannot open the log"}', "iris:1: cannot open the log"),
    ],
)
def test_a_release_that_fails_to_start_is_stopped_at_once_with_the_reason(
    machine: Machine, response: str | None, reason: str
) -> None:
    build = machine.build("1")
    (build.bento / "response.json").unlink()
    if response:
        (build.bento / "response.json").write_text(response, encoding="utf-8")
    with pytest.raises(DeploymentError, match=f"^{reason}: see .*service.log$"):
        machine.environment.deploy(build, 1, {})
    assert not machine.state.exists()


def test_api_keys_are_kept_if_the_shell_does_not_set_them(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    key = new_key()
    keys = {"SERVING_API_KEYS": entry_of("me", key)}
    machine.deploy("1", keys)
    assert (machine.response_status(), machine.response_status(key)) == (401, 200)
    second = machine.deploy("2")
    assert (machine.response_status(), machine.response_status(key)) == (401, 200)
    assert second.variables == keys
    assert "SERVING_API_KEYS, as before" in capsys.readouterr().out
    assert machine.environment.rollback({}).version == "1"
    assert (machine.response_status(), machine.response_status(key)) == (401, 200)
    assert machine.environment.stop()
    machine.deploy("3")
    assert (machine.response_status(), machine.response_status(key)) == (401, 200)
    machine.deploy("4", {"SERVING_API_KEYS": "none"})
    assert machine.response_status() == 200
    assert machine.environment.rollback({}).version == "3"
    assert (machine.response_status(), machine.response_status(key)) == (401, 200)


def test_a_rollback_to_a_release_without_keys_keeps_the_current_keys(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    key = new_key()
    machine.deploy("1")
    machine.deploy("2", {"SERVING_API_KEYS": entry_of("me", key)})
    machine.environment.rollback({})
    assert (machine.response_status(), machine.response_status(key)) == (401, 200)
    assert "the previous release would allow more access" in capsys.readouterr().out


def test_a_rollback_restores_variables_and_workers(machine: Machine) -> None:
    first = {"SERVING_MAX_ROWS": "5", "PREDICTION_LOG_URL": "sqlite:///elsewhere.db"}
    build = machine.build("1")
    machine.environment.deploy(build, 3, first)
    machine.deploy("2", {"SERVING_MAX_ROWS": "7"})
    restored = machine.environment.rollback({"SERVING_MAX_ROWS": "9"})
    assert (restored.version, restored.variables, restored.workers) == ("1", first, 3)
    started_with = psutil.Process(restored.pid).environ()
    assert started_with["SERVING_MAX_ROWS"] == "5"
    assert started_with["PREDICTION_LOG_URL"] == "sqlite:///elsewhere.db"


def test_a_front_introduces_no_clients_to_a_bento_that_is_older_than_that(
    machine: Machine,
) -> None:
    assert machine.deploy("1").introduced
    build = machine.build("2")
    (build.bento / "src/shared/settings.py").unlink()
    assert not machine.environment.deploy(build, 1, {}).introduced
    assert machine.environment.smoke() == "2"


def test_a_release_knows_its_environment_which_is_not_one_of_its_variables(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVING_ENVIRONMENT", "elsewhere")
    release = machine.deploy("1", explicit_variables())
    assert psutil.Process(release.pid).environ()["SERVING_ENVIRONMENT"] == "staging"
    assert release.variables == {}


@pytest.mark.parametrize("content", ["", "{}", '{"version": "1"', "null", '"' + 64 * "a" + '"'])
def test_a_damaged_state_is_reported_and_the_release_can_be_stopped(
    machine: Machine, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    release = machine.deploy("1")
    front = find_front(machine.folder / "staging")
    assert front is not None
    for name in ("current.json", "front.json"):
        (machine.folder / "staging" / name).write_text(content, encoding="utf-8")
    assert main(["status"]) == 0
    message = "damaged: run make deploy ENV=staging to replace it"
    assert message in capsys.readouterr().out
    assert main(["smoke", "--port", str(machine.port)]) == 1
    assert message in capsys.readouterr().err
    assert machine.response_status() == 200
    assert main(["stop"]) == 0
    assert release.process() is None and front.process() is None
    assert main(["status"]) == 0
    assert "nothing" in capsys.readouterr().out


def test_a_deployment_replaces_a_damaged_state_and_its_release(machine: Machine) -> None:
    key = new_key()
    old = machine.deploy("1", {"SERVING_API_KEYS": entry_of("me", key)})
    machine.state.write_text("", encoding="utf-8")
    with pytest.raises(DeploymentError, match="not on record: set SERVING_API_KEYS, or"):
        machine.deploy("2")
    assert old.process() is not None and machine.response_status(key) == 200
    new = machine.deploy("3", {"SERVING_API_KEYS": "none"})
    assert machine.environment.current() == new
    assert old.process() is None
    assert machine.response_status() == 200


def test_stopping_with_a_damaged_state_does_not_drop_api_keys(machine: Machine) -> None:
    machine.deploy("1")
    machine.deploy("2", {"SERVING_API_KEYS": entry_of("me", new_key())})
    machine.state.write_text("", encoding="utf-8")
    for version in ("3", "4"):
        machine.environment.stop()
        with pytest.raises(DeploymentError, match="not on record: set SERVING_API_KEYS, or"):
            machine.deploy(version)
    assert machine.deploy("5", {"SERVING_API_KEYS": "none"}).variables == {}


@pytest.mark.parametrize("state", ["release", "damaged", "none"])
def test_a_front_that_cannot_start_does_not_change_state_and_keys(
    machine: Machine, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"SERVING_API_KEYS": entry_of("me", new_key())}
    if state != "none":
        machine.deploy("1")
        old = machine.deploy("2", keys)
        front = find_front(machine.folder / "staging")
        assert front and stop_process(front.process()) and stop_process(old.process())
        if state == "damaged":
            machine.state.write_text("", encoding="utf-8")
    before = machine.state.read_text("utf-8") if state != "none" else None
    monkeypatch.setattr(local, "check_free", lambda *_: None)  # lost after the check
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # old connections linger
        silent.bind(("127.0.0.1", machine.port))
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        with pytest.raises(DeploymentError, match="the front did not start"):
            machine.deploy("3", keys)
    after = machine.state.read_text("utf-8") if machine.state.exists() else None
    assert after == before
    assert (public_port(machine.folder / "staging") is None) == (state == "none")
    if state == "release":
        machine.deploy("4")
        assert machine.response_status() == 401


def test_an_interrupted_deployment_keeps_the_state_of_an_ended_release(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = machine.deploy("1")
    assert stop_process(old.process())
    interrupted = {machine.port}

    def check(port: int, *_: object) -> None:
        if port in interrupted:
            raise KeyboardInterrupt

    monkeypatch.setattr(local, "check_golden_predictions", check)
    with pytest.raises(KeyboardInterrupt):
        machine.deploy("2")
    assert machine.environment.current() == old


def test_a_bound_port_that_does_not_listen_is_in_use(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        with pytest.raises(DeploymentError, match=f"port {port} is in use by a process that does"):
            check_free(port, tmp_path)
    check_free(port, tmp_path)


def test_a_failed_deployment_does_not_change_a_damaged_state_and_its_release(
    machine: Machine,
) -> None:
    machine.deploy("1")
    machine.state.write_text("", encoding="utf-8")
    with pytest.raises(DeploymentError, match="serves version other, not 2"):
        machine.environment.deploy(
            machine.build("2", served="other"), 1, {"SERVING_API_KEYS": "none"}
        )
    assert machine.response_status() == 200


def test_a_damaged_previous_release_is_reported_and_replaced_by_the_next_deployment(
    machine: Machine,
) -> None:
    machine.deploy("1")
    machine.deploy("2")
    (machine.folder / "staging/previous.json").write_text("", encoding="utf-8")
    with pytest.raises(DeploymentError, match="previous.json is damaged"):
        machine.environment.rollback({})
    machine.deploy("3")
    assert machine.environment.rollback({}).version == "2"


def test_a_missing_release_folder_is_reported_and_replaced(machine: Machine) -> None:
    first = machine.deploy("1")
    shutil.rmtree(first.folder)
    with pytest.raises(DeploymentError, match="bento is missing: run make bento-build deploy"):
        machine.environment.smoke()
    second = machine.deploy("2")
    assert machine.environment.smoke() == "2"
    with pytest.raises(DeploymentError, match="bento is missing: run make bento-build deploy"):
        machine.environment.rollback({})
    assert machine.environment.current() == second
    assert machine.deploy("3").version == "3"


def test_the_same_build_is_restarted_if_its_service_fails(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    build = machine.build("1")
    first = machine.environment.deploy(build, 1, {})
    assert machine.environment.deploy(build, 1, {}) == first
    assert "serves already" in capsys.readouterr().out
    state = {**asdict(first), "port": free_port()}
    machine.state.write_text(json.dumps(state), encoding="utf-8")
    second = machine.environment.deploy(build, 1, {})
    assert second.pid != first.pid and first.process() is None
    assert machine.response_status() == 200


def test_concurrent_deployments_run_one_after_the_other(machine: Machine) -> None:
    versions = ("1", "2")
    commands = [
        [
            *(sys.executable, "-m", "infrastructure.cli", "deploy"),
            *("--port", str(machine.port), "--bento"),
            str(machine.build(version).bento.parent / "bento-build.json"),
        ]
        for version in versions
    ]
    with ExitStack() as stack:
        started = [
            stack.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
            for command in commands
        ]
        for process in started:
            _, errors = process.communicate()
            assert process.returncode == 0, errors
    current = machine.environment.current()
    assert current is not None and current.process() and current.bento.exists()
    names = {release.version for _, release, _ in deployed_in(machine.folder)}
    assert names == set(versions)
    assert machine.environment.rollback({}).version != current.version
    entries = FileLedger(machine.folder / "ledger.jsonl").entries()
    assert [entry.event for entry in entries] == ["deploy", "deploy"]


@pytest.mark.parametrize("action", ["deploy", "rollback-release"])
def test_an_environment_locked_by_another_process_is_not_changed(
    machine: Machine, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = machine.folder / "staging"
    folder.mkdir()
    built = str(machine.build("1").bento.parent / "bento-build.json")
    arguments = [action, "--port", str(machine.port), "--patience", "0.1"]
    arguments += ["--bento", built] if action == "deploy" else []
    with FileLock(folder / "lock"):
        assert main(arguments) == 1
    captured = capsys.readouterr()
    assert "another process that is changing staging" in captured.out
    assert f"another process has held {folder / 'lock'}" in captured.err
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_processes_of_a_killed_deployment_are_ended_by_the_next_one(machine: Machine) -> None:
    first = machine.deploy("1")
    orphan = machine.deploy("2")
    machine.state.write_text(json.dumps(asdict(first)), encoding="utf-8")  # before the switch
    machine.deploy("3")
    assert first.process() is None and orphan.process() is None
    assert len(list((machine.folder / "staging/releases").iterdir())) == 2


def deploy_until_killed(machine: Machine, build: Build, moment: Callable[[], bool]) -> None:
    """Run the command that deploys a build, and kill it at a moment."""
    receipt = str(build.bento.parent / "bento-build.json")
    command = [*(sys.executable, "-m", "infrastructure.cli", "deploy", "--env", "staging")]
    command += ["--port", str(machine.port), "--bento", receipt]
    with subprocess.Popen(command) as process:
        while process.poll() is None and not moment():
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL


def test_a_release_of_a_deployment_killed_while_it_starts_is_known_and_stopped(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    build = machine.build("1")
    (build.bento / "response.json").write_text("never ready", encoding="utf-8")
    record = machine.folder / "staging/starting.json"

    def started() -> Release | None:
        release = read_release(record)
        return release if release and release.pid else None

    deploy_until_killed(machine, build, lambda: started() is not None)
    release = started()
    assert release and release.process()
    assert main(["status"]) == 0
    assert (
        f"nothing deployed, pid {release.pid} still runs: make stop ENV=staging ends it"
        in capsys.readouterr().out
    )
    assert main(["stop"]) == 0
    assert release.process() is None and not record.exists()


def test_a_deployment_killed_after_the_switch_is_in_the_ledger_when_it_is_read(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.deploy("1")
    assert main(["which-model"]) == 0
    build = machine.build("2")
    response = build.bento / "response.json"
    hanging = json.loads(response.read_text(encoding="utf-8")) | {"hangs": True}
    response.write_text(json.dumps(hanging), encoding="utf-8")

    def current() -> str:
        release = machine.environment.current()
        return release.version if release else ""

    deploy_until_killed(machine, build, lambda: current() == "2")
    switched = datetime.fromtimestamp(machine.state.stat().st_mtime, UTC)
    capsys.readouterr()
    for at in ([], ["--at", switched.isoformat()]):
        assert main(["which-model", *at]) == 0
        assert "  staging   iris 2, since " in capsys.readouterr().out
    before = (switched - timedelta(seconds=0.01)).isoformat()
    assert main(["which-model", "--at", before]) == 0
    assert "  staging   iris 1, since " in capsys.readouterr().out
    assert [version for _, version, _ in machine.ledger()] == ["1", "2"]
    previous = read_release(machine.folder / "staging/previous.json")
    assert previous and previous.version == "1"


@pytest.fixture(name="worker")
def _worker(machine: Machine) -> Iterator[subprocess.Popen[bytes]]:
    """A worker whose supervisor has been killed."""
    bento = machine.folder / "staging/releases/0/bento"
    bento.mkdir(parents=True)
    arguments = ["-m", "_bentoml_impl.worker.service", str(bento)]
    with subprocess.Popen(
        [sys.executable, "-c", "input()", *arguments], stdin=subprocess.PIPE
    ) as process:
        yield process
        process.kill()


def test_an_orphaned_worker_is_shown_and_stopped(
    machine: Machine, worker: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    write_state(machine.folder / "staging", release_of(worker, started=1.0))
    assert main(["status"]) == 0
    message = f"pid {worker.pid} still runs: make stop ENV=staging ends it"
    output = capsys.readouterr().out
    assert "DEAD (release and front ended)" in output and message in output
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as release:
        serving = write_state(machine.folder / "staging", release_of(release))
        write_front(machine.folder / "staging", serving, 3000)
        assert main(["status"]) == 0
        message = f"pid {worker.pid} still runs: make deploy ENV=staging ends it"
        output = capsys.readouterr().out
        assert "  staging   running, " in output and message in output
        release.kill()
    write_state(machine.folder / "staging", release_of(worker, started=1.0))
    assert main(["stop"]) == 0
    assert "stopped   staging" in capsys.readouterr().out
    assert worker.poll() is not None


@pytest.mark.parametrize("action", ["deploy", "rollback", "unchanged"])
def test_a_deployment_removes_stray_processes_and_a_damaged_previous_release(
    machine: Machine, worker: subprocess.Popen[bytes], action: str
) -> None:
    build = machine.build("1")
    release = machine.environment.deploy(build, 1, {})
    assert worker.poll() is not None
    folder = machine.folder / "staging"
    previous, releases = folder / "previous.json", folder / "releases"
    if action == "rollback":
        machine.deploy("2")
    else:
        previous.write_text("", encoding="utf-8")
    stray = releases / "9/bento"
    shutil.copytree(build.bento, stray)
    command = [sys.executable, "-c", "input()", "-m", "bentoml", "serve", str(stray)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            if action == "deploy":
                machine.deploy("3")
            elif action == "rollback":
                machine.environment.rollback({})
            else:
                assert machine.environment.deploy(build, 1, {}) == release
            assert process.poll() is not None
        finally:
            process.kill()
    assert not stray.parent.exists()
    listed = {Path(found.folder) for _, found, _ in deployed_in(machine.folder, strict=True)}
    assert listed == set(releases.iterdir())
    assert machine.response_status() == 200


def test_damaged_states_are_reported_with_the_listed_releases(
    tmp_path: Path, sleeper: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    release = write_state(tmp_path / "green", release_of(sleeper))
    (tmp_path / "blue").mkdir()
    (tmp_path / "blue/previous.json").touch()
    assert list(deployed_in(tmp_path)) == [("green", release, True)]
    (warning,) = capsys.readouterr().out.splitlines()
    assert f"{tmp_path / 'blue/previous.json'} is damaged: run make deploy" in warning
    with pytest.raises(DeploymentError, match="blue/previous.json is damaged"):
        list(deployed_in(tmp_path, strict=True))


def test_another_model_is_deployed_only_with_replace(machine: Machine) -> None:
    first = machine.deploy("1")
    other = machine.build("9", model="wine")
    with pytest.raises(
        DeploymentError,
        match="staging serves another model, iris:1: .*wine:9.*another ENV=; .*REPLACE=1",
    ):
        machine.environment.deploy(other, 1, {})
    assert machine.environment.current() == first
    assert machine.environment.deploy(other, 1, {}, replace=True).model == "wine"
    assert machine.environment.rollback({}).model == "iris"


@pytest.mark.parametrize("name", ["../../x", "", ".", "..", "a/b", "-x", "a b", "x" * 65])
@pytest.mark.parametrize("action", ["deploy", "stop", "smoke"])
def test_an_invalid_environment_name_is_refused(
    places: Path, action: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([action, f"--env={name}"])
    assert "is not a valid environment name" in capsys.readouterr().err
    assert not list(places.iterdir())


def test_the_state_with_api_keys_is_readable_only_by_its_owner(machine: Machine) -> None:
    machine.environment.deploy(
        machine.build("1"), 1, {"SERVING_API_KEYS": entry_of("me", new_key())}
    )
    assert machine.state.stat().st_mode & 0o077 == 0


def test_production_refuses_what_was_not_accepted_in_staging_or_needs_no_keys(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = str(machine.build("1").bento.parent / "bento-build.json")
    deploy = ["deploy", "--env", "production", "--bento", built, "--port", str(free_port())]
    assert main(deploy) == 1
    captured = capsys.readouterr()
    for word in ("no-keys", "no-champion", "unstaged"):
        assert f"({word})" in captured.out and word in captured.err
    assert not (machine.folder / "production").exists()
    FileLedger(machine.folder / "ledger.jsonl").append("promote", "iris", "1")
    assert main(["deploy", "--bento", built, "--port", str(machine.port)]) == 0
    monkeypatch.setenv("SERVING_API_KEYS", entry_of("me", new_key()))
    assert main([*deploy, "--allow", "uncommitted"]) == 0  # this clone may have changes
    assert main(["stop", "--env", "production"]) == 0
    monkeypatch.delenv("SERVING_API_KEYS")
    assert main([*deploy, "--allow", "uncommitted"]) == 0  # with the keys of before
    assert main(["stop", "--env", "production"]) == 0


def test_a_canary_without_keys_is_known_to_have_none_when_it_takes_over(machine: Machine) -> None:
    machine.deploy("1", {"SERVING_API_KEYS": entry_of("me", new_key())})
    build, environment = machine.build("2"), machine.environment
    assert environment.will_have_keys(build, {})
    environment.deploy_canary(build, 1, {"SERVING_API_KEYS": "none"}, 10)
    assert not environment.will_have_keys(build, {})
    assert environment.will_have_keys(machine.build("3"), {})


def test_a_release_that_the_disk_has_no_room_for_is_refused(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = machine.deploy("1")
    monkeypatch.setattr(local, "SPARE_BYTES", 2**60)
    with pytest.raises(DeploymentError, match="a release needs .* MiB, and the disk has"):
        machine.deploy("2")
    assert machine.environment.current() == old and machine.response_status() == 200
    assert len(list((machine.folder / "staging/releases").iterdir())) == 1


def test_an_invalid_receipt_is_reported(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    receipt = places / "bento-build.json"
    assert main(["deploy", "--bento", str(receipt)]) == 1
    assert capsys.readouterr().err == f"error: {receipt} does not exist: run make bento-build\n"
    for content in ("", "[]", "{}"):
        receipt.write_text(content, encoding="utf-8")
        assert main(["deploy", "--bento", str(receipt)]) == 1
        message = f"error: {receipt} is not a receipt of bento-build: run make bento-build again\n"
        assert capsys.readouterr().err == message


@pytest.mark.parametrize("header", ["", "X-User"])
def test_a_canary_gets_a_share_that_can_be_changed_without_a_restart(
    machine: Machine, header: str, capsys: pytest.CaptureFixture[str]
) -> None:
    built = str(machine.build("2").bento.parent / "bento-build.json")
    current = machine.deploy("1")
    command = ["deploy", "--bento", built, *(("--canary-by", header) if header else ())]
    assert main([*command, "--canary", "50"]) == 0, capsys.readouterr().err
    assert machine.served_versions() == {"1", "2"}
    for _ in range(8):
        assert machine.environment.smoke() == "1"
    assert main(["status"]) == 0
    of = "callers by X-User" if header else "connections"
    output = capsys.readouterr().out
    assert "start     iris:2, a canary next to iris:1\n" in output
    assert f"gets 50 % of {of}\n" in output and "still runs" not in output
    first = machine.environment.current()
    assert first and first.canary and replace(first, canary=None) == current
    assert main([*command, "--canary", "99"]) == 0
    second = machine.environment.current()
    assert second and second.canary == replace(first.canary, share=99)
    assert f"canary    2 gets 99 % of {of}\n" in capsys.readouterr().out
    assert [entry[1:] for entry in machine.ledger()] == [("1", None), ("2", 50), ("2", 99)]
    listed = [(release.version, serves) for _, release, serves in deployed_in(machine.folder)]
    assert listed == [("1", True), ("2", False)]


def test_a_deployment_of_its_build_makes_the_canary_the_release_without_a_restart(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    old, build = machine.deploy("1"), machine.build("2")
    settings = {"SERVING_MAX_ROWS": "5"}
    canary = machine.environment.deploy_canary(build, 1, settings, 10).canary
    built = str(build.bento.parent / "bento-build.json")
    assert canary is not None and main(["deploy", "--bento", built]) == 0
    current = machine.environment.current()
    assert current == canary.release and current.variables == settings
    assert old.process() is None and machine.served_versions(10) == {"2"}
    assert machine.ledger()[-1] == ("deploy", "2", None)
    assert "stopped   iris:1\n" in capsys.readouterr().out
    assert machine.environment.rollback({}).version == "1"


def test_a_rollback_ends_the_canary_and_only_the_next_one_goes_back(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.deploy("0")
    current, canary = machine.deploy("1"), machine.canary(machine.build("2"))
    assert main(["rollback-release"]) == 0
    assert "now serves 1 only\n" in capsys.readouterr().out
    assert machine.environment.current() == current
    assert canary.release.process() is None and not Path(canary.release.folder).exists()
    assert machine.served_versions(10) == {"1"}
    assert machine.ledger()[-1] == ("canary", "2", 0)
    assert machine.environment.rollback({}).version == "0"


@pytest.mark.parametrize("action", ["canary", "same", "other", "stop"])
def test_another_build_or_a_stop_ends_the_canary(machine: Machine, action: str) -> None:
    build = machine.build("1")
    current = machine.environment.deploy(build, 1, {})
    canary = machine.canary(machine.build("2"))
    if action == "canary":
        assert machine.canary(machine.build("3")).release.version == "3"
        assert machine.served_versions() == {"1", "3"}
    elif action == "same":
        assert machine.environment.deploy(build, 1, {}) == current
        assert machine.served_versions(10) == {"1"}
    elif action == "other":
        assert machine.deploy("3").canary is None
        assert machine.served_versions(10) == {"3"}
        assert machine.environment.rollback({}).version == "1"
    else:
        assert machine.environment.stop() is True
        assert machine.environment.stopped() == current
    assert canary.release.process() is None
    assert (current.process() is None) == (action in ("other", "stop"))


def test_a_canary_needs_a_running_release_of_its_model_and_another_build(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = machine.build("1"), machine.build("2")
    built = str(second.bento.parent / "bento-build.json")
    assert main(["deploy", "--bento", built, "--canary", "10", "--env", "new"]) == 1
    assert "no release runs in new that a canary could be" in capsys.readouterr().err
    assert not (machine.folder / "new").exists()
    assert main(["deploy", "--bento", built, "--canary-by", "X-User"]) == 1
    assert "CANARY_BY needs CANARY" in capsys.readouterr().err
    current = machine.environment.deploy(first, 1, {})
    with pytest.raises(DeploymentError, match="serves iris:1 already: a canary has to be another"):
        machine.canary(first)
    with pytest.raises(DeploymentError, match="another model, iris:1: its canary cannot be wine:2"):
        machine.canary(machine.build("2", model="wine"))
    with pytest.raises(DeploymentError, match="serves version other, not 3"):
        machine.canary(machine.build("3", served="other"))
    assert machine.environment.current() == current and machine.served_versions(10) == {"1"}
    assert stop_process(current.process())
    with pytest.raises(DeploymentError, match="no release runs in staging"):
        machine.canary(second)


def test_requests_do_not_fail_while_a_canary_is_dead_and_its_deployment_restarts_it(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.deploy("1")
    build = machine.build("2")
    canary = machine.canary(build)
    assert stop_process(canary.release.process())
    assert machine.served_versions() == {"1"}
    assert main(["status"]) == 0
    output = capsys.readouterr().out
    assert "running, iris 1" in output
    assert "canary 2 ended: make rollback-release ENV=staging removes it" in output
    assert machine.canary(build).release.process() is not None
    assert machine.served_versions() == {"1", "2"}


@pytest.mark.parametrize("killed", ["before", "after", "at the end"])
def test_a_canary_of_a_killed_command_is_known_to_the_next_one(
    machine: Machine, killed: str
) -> None:
    ledger = FileLedger(machine.folder / "ledger.jsonl")
    current = machine.deploy("1")
    ledger.append("deploy", "iris", "1", env="staging")
    canary = machine.canary(machine.build("2"), 10)
    if killed == "at the end":  # its process still runs
        ledger.append("canary", "iris", "2", env="staging", share=10)
    if killed != "after":
        machine.state.write_text(json.dumps(asdict(current)), encoding="utf-8")
        assert f"pid {canary.release.pid} still runs" in machine.environment.status()
    assert main(["stop"]) == 0
    assert canary.release.process() is None
    noted = {"before": [], "after": [("canary", "2", 10)]}
    ended = [("canary", "2", 10), ("canary", "2", 0)]
    assert machine.ledger() == [
        *(("deploy", "1", None), *noted.get(killed, ended), ("stop", "1", None)),
    ]
