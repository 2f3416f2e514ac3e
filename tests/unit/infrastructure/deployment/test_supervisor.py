"""What has ended of an environment is started again, with growing delays."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from application.inference.api_keys import entry_of, new_key
from infrastructure.cli.__main__ import main
from infrastructure.deployment.release import Release, find_front, find_process
from infrastructure.deployment.supervisor import Supervisor, is_supervised, restarts_of, supervise
from tests.local_environment import Machine

HOLDER = """
import sys
from filelock import FileLock

with FileLock(sys.argv[1]):
    print(flush=True)
    input()
"""


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(name="supervisor")
def _supervisor(machine: Machine, clock: Clock) -> Supervisor:
    return Supervisor(machine.folder / "staging", 10, clock)


def kill(process: psutil.Process | None) -> None:
    """Kill a process that runs, as the kernel does when memory runs out."""
    assert process is not None
    started = process.create_time()
    process.kill()
    wait_until(lambda: find_process(process.pid, started) is None)


def current(machine: Machine) -> Release:
    """The release of an environment."""
    release = machine.environment.current()
    assert release is not None
    return release


def front_of(machine: Machine) -> psutil.Process | None:
    """The process of the front."""
    front = find_front(machine.folder / "staging")
    return front.process() if front else None


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def responds(machine: Machine) -> bool:
    """Whether a request is answered."""
    try:
        return machine.response_status() == 200
    except OSError:
        return False


def test_a_killed_release_is_started_again_with_its_keys_and_its_restarts_are_shown(
    machine: Machine, supervisor: Supervisor
) -> None:
    key = new_key()
    first = machine.deploy("1", {"SERVING_API_KEYS": entry_of("me", key)})
    supervisor.look()
    assert current(machine) == first
    kill(first.process())
    assert "DEAD (release ended)" in machine.environment.status()
    supervisor.look()
    assert machine.response_status(key) == 200 and machine.response_status() == 401
    again = current(machine)
    assert replace(first, pid=0, started=0, port=0) == replace(again, pid=0, started=0, port=0)
    status = machine.environment.status()
    assert "running" in status and "restarted 1 time, last " in status
    assert f"ended: see {Path(first.folder) / 'service.log'}" in status


def test_what_ends_soon_again_waits_twice_as_long_up_to_a_minute(
    machine: Machine, supervisor: Supervisor, clock: Clock
) -> None:
    release = machine.deploy("1")
    part = Path(release.folder).name
    (release.bento / "response.json").unlink()  # its service cannot start
    kill(release.process())
    tries = []
    for _ in range(200):
        supervisor.look()
        failed = restarts_of(machine.folder / "staging")[part].failed
        if failed > len(tries):
            tries.append(clock.now)
        if len(tries) == 9:
            break
        clock.now += 1
    waits = [later - earlier for earlier, later in zip(tries, tries[1:])]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    status = machine.environment.status()
    assert "DEAD (release ended)" in status and "restart failed 9 times, last " in status
    assert "ended while starting: FileNotFoundError" in status


def test_after_a_stable_minute_a_release_is_started_again_at_once(
    machine: Machine, supervisor: Supervisor, clock: Clock
) -> None:
    machine.deploy("1")
    for _ in range(2):
        kill(current(machine).process())
        supervisor.look()
        assert current(machine).process()
        clock.now += 62
    restarts = restarts_of(machine.folder / "staging")[Path(current(machine).folder).name]
    assert (restarts.count, restarts.failed) == (2, 0)
    assert restarts.reason == "was killed by SIGKILL"  # which it knows of its own child


def test_a_killed_front_is_started_again_on_its_port(
    machine: Machine, supervisor: Supervisor
) -> None:
    release = machine.deploy("1")
    kill(front_of(machine))
    assert "DEAD (front ended)" in machine.environment.status()
    supervisor.look()
    assert machine.response_status() == 200
    assert current(machine) == release
    assert "front restarted 1 time" in machine.environment.status()


def test_a_killed_canary_is_started_again_with_its_share(
    machine: Machine, supervisor: Supervisor
) -> None:
    release = machine.deploy("1")
    canary = machine.canary(machine.build("2"))
    kill(canary.release.process())
    supervisor.look()
    after = current(machine)
    assert after.canary and after.canary.release.process() and after.canary.share == canary.share
    assert replace(after, canary=None) == release
    assert machine.served_versions() == {"1", "2"}


def test_a_worker_that_outlived_its_release_serves_until_the_next_is_ready(
    machine: Machine, supervisor: Supervisor
) -> None:
    release = machine.deploy("1")
    arguments = ["-m", "_bentoml_impl.worker.service", str(release.bento)]
    with subprocess.Popen(
        [sys.executable, "-c", "input()", *arguments], stdin=subprocess.PIPE
    ) as worker:
        kill(release.process())
        supervisor.look()
        assert worker.poll() is not None
    assert machine.response_status() == 200


def test_nothing_is_started_while_a_command_changes_the_environment_or_after_a_stop(
    machine: Machine, supervisor: Supervisor
) -> None:
    release = machine.deploy("1")
    kill(release.process())
    lock = str(machine.folder / "staging/lock")
    holder = [sys.executable, "-c", HOLDER, lock]
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as command:
        assert command.stdout and command.stdout.readline()
        supervisor.look()
        assert current(machine) == release
        command.kill()
    machine.environment.stop()
    supervisor.look()
    assert not list((machine.folder / "staging").glob("current.json"))
    assert restarts_of(machine.folder / "staging") == {}


def test_requests_wait_while_their_release_is_started_again(machine: Machine) -> None:
    release = machine.deploy("1")
    with ThreadPoolExecutor(1) as pool:
        kill(release.process())
        response = pool.submit(machine.response_status)
        time.sleep(0.3)
        assert not response.done()
        Supervisor(machine.folder / "staging").look()
        assert response.result(10) == 200


def test_a_command_deploys_with_a_supervisor_that_the_next_one_replaces_and_a_stop_ends(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, states = machine.folder / "staging", []
    for version in ("1", "2"):
        built = str(machine.build(version).bento.parent / "bento-build.json")
        assert main(["deploy", "--port", str(machine.port), "--bento", built]) == 0
        wait_until(lambda: is_supervised(folder))
        states.append(json.loads((folder / "supervisor.json").read_text(encoding="utf-8")))
    assert states[0] != states[1] and not psutil.pid_exists(states[0]["pid"])
    kill(current(machine).process())
    kill(front_of(machine))
    wait_until(lambda: "running" in machine.environment.status() and responds(machine))
    os.kill(states[1]["pid"], signal.SIGKILL)
    wait_until(lambda: "not supervised: make start ENV=staging" in machine.environment.status())
    assert machine.response_status() == 200
    kill(current(machine).process())
    capsys.readouterr()
    assert main(["start"]) == 0
    assert f"staging serves version 2 at http://127.0.0.1:{machine.port}" in capsys.readouterr().out
    assert main(["stop"]) == 0
    wait_until(lambda: not is_supervised(folder))
    assert main(["start"]) == 1
    assert "nothing is deployed in staging" in capsys.readouterr().err


def test_a_supervisor_ends_with_the_folder_of_its_environment(machine: Machine) -> None:
    machine.deploy("1")
    machine.environment.keep_running()
    folder = machine.folder / "staging"
    wait_until(lambda: is_supervised(folder))
    process = psutil.Process(json.loads((folder / "supervisor.json").read_text("utf-8"))["pid"])
    machine.environment.stop()
    shutil.rmtree(folder)
    process.wait(10)


def test_the_supervisor_of_the_clone_that_was_copied_goes_on(machine: Machine) -> None:
    machine.deploy("1")
    machine.environment.keep_running()
    folder, copy = machine.folder / "staging", machine.folder / "copy"
    wait_until(lambda: is_supervised(folder))
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.lock", "lock"))
    assert not is_supervised(copy)
    supervise(copy)
    wait_until((copy / "supervisor.lock").exists)
    wait_until(lambda: not is_supervised(copy))  # nothing is deployed in the copy
    assert is_supervised(folder)
