"""A command that is killed at any step fails no request, and the next command finishes its work."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infrastructure.cli.__main__ import main
from infrastructure.deployment.release import Release, find_front, read_release, serving_below
from tests.local_environment import Machine


def releases(machine: Machine) -> Path:
    """Where an environment keeps its releases."""
    return machine.folder / "staging/releases"


def is_started(machine: Machine, _: Release) -> bool:
    """Whether the new release has a process."""
    starting = read_release(machine.folder / "staging/starting.json")
    return starting is not None and starting.process() is not None


def is_switched(machine: Machine, old: Release) -> bool:
    """Whether the new release gets the traffic."""
    current = read_release(machine.state)
    return current is not None and current.folder != old.folder


STEPS: dict[str, Callable[[Machine, Release], bool]] = {
    "the new release is copied": lambda machine, _: len(list(releases(machine).iterdir())) > 2,
    "its process is started": is_started,
    "it gets the traffic": is_switched,
    "the old one ends": lambda _, old: old.process() is None,
}


@pytest.mark.parametrize("action", ["deploy", "rollback-release"])
@pytest.mark.parametrize("step", STEPS)
def test_a_killed_command_fails_no_request_and_is_finished_by_the_next(
    machine: Machine, step: str, action: str
) -> None:
    machine.deploy("1")
    old = machine.deploy("2")
    build = machine.build("3")
    command = [action, "--port", str(machine.port)]
    if action == "deploy":
        command += ["--bento", str(build.bento.parent / "bento-build.json"), "--watch", "1"]
    with machine.traffic() as statuses:
        program = [sys.executable, "-m", "infrastructure.cli", *command]
        with subprocess.Popen(program, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None and not STEPS[step](machine, old):
                time.sleep(0.001)
            process.kill()
        killed = process.returncode == -signal.SIGKILL
        assert killed or step == "the old one ends"  # after which little is left to do
        assert main(["status"]) == 0
        going_back = action == "rollback-release" and STEPS["it gets the traffic"](machine, old)
        assert going_back or main(command) == 0
        assert main(["smoke", "--port", str(machine.port)]) == 0
        time.sleep(0.1)
    assert set(statuses) == {200} and len(statuses) > 20
    expected = "3" if action == "deploy" else "1"
    assert machine.served_versions(3) == {expected}
    assert main(["which-model"]) == 0
    assert machine.ledger()[-1][1] == expected
    current = machine.environment.current()
    assert current is not None
    left = {process.pid for process in serving_below(releases(machine))} - {current.pid}
    assert not left or "make deploy ENV=staging ends it" in machine.environment.status()
    assert main(["stop"]) == 0
    assert not list(serving_below(releases(machine)))
    assert find_front(machine.folder / "staging") is None
