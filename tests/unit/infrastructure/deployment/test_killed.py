"""A command that is killed at any step fails no request, and the next command finishes its work."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infrastructure.cli.__main__ import main
from infrastructure.deployment.release import find_front, read_release, serving_below
from tests.local_environment import STEPS, Machine, killed_at


def releases(machine: Machine) -> Path:
    """Where an environment keeps its releases."""
    return machine.folder / "staging/releases"


@pytest.mark.parametrize(
    ("action", "step"),
    [
        *(("deploy", step) for step in STEPS),
        *(("rollback-release", step) for step in ("before the switch", "after the switch")),
    ],
)
def test_a_killed_command_fails_no_request_and_is_finished_by_the_next(
    machine: Machine, step: str, action: str
) -> None:
    machine.deploy("1")
    old, build = machine.deploy("2"), machine.build("3")
    command = [action, "--port", str(machine.port)]
    if action == "deploy":
        command += ["--bento", str(build.bento.parent / "bento-build.json"), "--watch", "1"]
    with machine.traffic() as statuses:
        program = [sys.executable, *killed_at(step, machine.port), *command]
        done = subprocess.run(program, check=False)
        assert done.returncode == -signal.SIGKILL
        assert main(["status"]) == 0
        current = read_release(machine.state)
        has_switched = current is not None and current.folder != old.folder
        assert has_switched == ("before the switch" not in step and "start" not in step)
        # once more, a rollback would go forward again
        assert (has_switched and action == "rollback-release") or main(command) == 0
        assert main(["smoke", "--port", str(machine.port)]) == 0
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
