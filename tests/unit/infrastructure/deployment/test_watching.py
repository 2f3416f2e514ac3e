"""A release is watched after the switch, and undone if it answers worse."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from domain.errors import DeploymentError
from domain.monitoring.traffic import Traffic
from infrastructure.deployment.demo import Service
from infrastructure.deployment.local import Build
from infrastructure.deployment.release import read_release, stop_process
from infrastructure.deployment.watching import read_traffic, watch_release
from tests.local_environment import Machine


def failing(machine: Machine, version: str) -> Build:
    """A build that reproduces its golden predictions and fails to answer other requests."""
    build = machine.build(version)
    response = build.bento / "response.json"
    content = json.loads(response.read_text(encoding="utf-8")) | {"fails": True}
    response.write_text(json.dumps(content), encoding="utf-8")
    return build


def test_traffic_is_read_from_the_metrics(machine: Machine) -> None:
    release = machine.deploy("1")
    for _ in range(3):
        machine.response_status()
    found = read_traffic(Service(f"http://127.0.0.1:{release.port}"))
    assert found == Traffic(5, 0, 2, {0.1: 5})  # two of them golden, which real metrics leave out


def test_a_release_that_fails_is_undone_while_the_old_one_still_runs(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    old = machine.deploy("1")
    environment, build = machine.environment, failing(machine, "2")
    with machine.traffic() as statuses:
        time.sleep(0.2)
        with pytest.raises(DeploymentError, match=r"worse .*: [0-9]+ of [0-9]+ requests failed"):
            environment.deploy(build, 1, {}, watch=20)
        until = len(statuses)
        time.sleep(0.2)
    assert set(statuses[:5]) == {200} and 500 in statuses and set(statuses[until:]) == {200}
    assert "undone    1 gets all requests again" in capsys.readouterr().out
    assert environment.current() == old and old.process()
    assert read_release(machine.folder / "staging/previous.json") is None


def test_a_canary_that_fails_is_ended(machine: Machine) -> None:
    old = machine.deploy("1")
    with machine.traffic(), pytest.raises(DeploymentError, match="requests failed"):
        machine.environment.deploy_canary(failing(machine, "2"), 1, {}, 50, watch=20)
    assert machine.environment.current() == old
    assert machine.served_versions(10) == {"1"}
    assert "still runs" not in machine.environment.status()


def test_a_release_that_ends_while_it_is_watched_is_undone(machine: Machine) -> None:
    old = machine.deploy("1")
    with ThreadPoolExecutor(1) as pool:
        deployment = pool.submit(machine.environment.deploy, machine.build("2"), 1, {}, watch=20)
        while (release := machine.environment.current()) in (None, old):
            time.sleep(0.02)
        assert release is not None and stop_process(release.process())
        with pytest.raises(DeploymentError, match="ended while it was watched"):
            deployment.result()
    assert machine.environment.current() == old and machine.response_status() == 200


def test_a_good_release_is_kept_and_what_it_answered_is_shown(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.deploy("1")
    with machine.traffic() as statuses:
        machine.environment.deploy(machine.build("2"), 1, {}, watch=2)
    assert set(statuses) == {200} and machine.served_versions(3) == {"2"}
    assert "  watched   2 s: " in capsys.readouterr().out


def test_a_service_that_does_not_respond_is_given_up(machine: Machine) -> None:
    nobody = Service(f"http://127.0.0.1:{machine.port}")
    with pytest.raises(DeploymentError, match="does not respond"):
        watch_release(nobody, Traffic(), 10, lambda: True)


def test_without_requests_nothing_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    class Silent(Service):
        """A service that nobody asks."""

        def get(self, path: str, *_: object, **__: object) -> bytes:
            assert path == "/metrics"
            return b""

    watch_release(Silent("http://127.0.0.1:1"), Traffic(), 1, lambda: True)
    assert "1 s without a request, so nothing was compared" in capsys.readouterr().out
