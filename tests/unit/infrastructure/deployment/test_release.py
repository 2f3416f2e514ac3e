"""State files of releases, and the processes that belong to them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from infrastructure.deployment.release import (
    Canary,
    DamagedStateError,
    Front,
    Release,
    copied_from,
    find_front,
    moved_from,
    public_port,
    read_release,
    serving_below,
    stop_process,
    write_release,
)


@pytest.fixture(name="sleeper")
def _sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for a release."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def release_of(process: subprocess.Popen[bytes]) -> Release:
    """A release that is this process."""
    started = psutil.Process(process.pid).create_time()
    return Release("1.0.0-a", "iris:1.0.0-a", "nowhere", 1, 1, process.pid, started)


def test_a_release_knows_its_running_process(sleeper: subprocess.Popen[bytes]) -> None:
    found = release_of(sleeper).process()
    assert found is not None and found.pid == sleeper.pid


def test_a_reused_pid_is_not_mistaken_for_the_release(sleeper: subprocess.Popen[bytes]) -> None:
    release = release_of(sleeper)
    earlier = Release(**{**asdict(release), "started": release.started - 60})
    assert earlier.process() is None


def test_an_ended_process_is_not_found_even_as_a_zombie(
    sleeper: subprocess.Popen[bytes],
) -> None:
    release = release_of(sleeper)
    sleeper.kill()
    while psutil.Process(sleeper.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert release.process() is None
    sleeper.wait()
    assert release.process() is None


def test_a_state_file_keeps_a_release_for_its_owner_only(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    path = tmp_path / "current.json"
    assert read_release(path) is None
    own = {"folder": str(tmp_path / "releases/1"), "variables": {"SERVING_QUEUE": "1"}}
    release = Release(**{**asdict(release_of(sleeper)), **own})
    write_release(path, release)
    assert read_release(path) == release
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", '{"pid": "x"}', "\x00", "\udcff"])
def test_a_damaged_state_file_is_reported_with_the_remedies(tmp_path: Path, content: str) -> None:
    path = tmp_path / "blue/current.json"
    path.parent.mkdir()
    path.write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(DamagedStateError) as caught:
        read_release(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    assert "make deploy ENV=blue" in message and "make stop ENV=blue" in message


@pytest.mark.parametrize(("key", "known"), [("", {}), ("secret", None)])
def test_the_state_of_an_older_version_is_read(
    tmp_path: Path, sleeper: subprocess.Popen[bytes], key: str, known: dict[str, str] | None
) -> None:
    state = {**asdict(release_of(sleeper)), "api_key": key, "settings": 64 * "0"}
    state["folder"] = str(tmp_path / "releases/1")
    del state["variables"], state["canary"]
    (tmp_path / "current.json").write_text(json.dumps(state), encoding="utf-8")
    release = read_release(tmp_path / "current.json")
    assert release is not None and release.version == "1.0.0-a"
    assert release.variables_on_record == known


def test_state_files_that_were_copied_name_nothing_of_this_folder(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    here, there = tmp_path / "here/staging", tmp_path / "there/staging"
    here.mkdir(parents=True)
    release = Release(**{**asdict(release_of(sleeper)), "folder": str(here / "releases/1")})
    write_release(here / "current.json", release)
    front = Front(release.pid, release.started, 13100, str(here))
    (here / "front.json").write_text(json.dumps(asdict(front)), encoding="utf-8")
    shutil.copytree(here, there)
    assert (read_release(here / "current.json"), copied_from(here / "current.json")) == (
        *(release, None),
    )
    assert (find_front(here), public_port(here)) == (front, 13100)
    assert read_release(there / "current.json") is None
    assert copied_from(there / "current.json") == here
    assert (find_front(there), public_port(there)) == (None, None)
    sleeper.kill()
    sleeper.wait()
    assert (find_front(here), public_port(here)) == (None, 13100)


def test_state_files_that_were_moved_name_what_runs_with_its_new_folder(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    here, there = tmp_path / "here/staging", tmp_path / "there/staging"
    here.mkdir(parents=True)
    release = replace(release_of(sleeper), folder=str(here / "releases/1"))
    canary = Canary(replace(release, folder=str(here / "releases/2")), 10, "X-API-Key")
    release = replace(release, canary=canary)
    write_release(here / "current.json", release)
    front = Front(release.pid, release.started, 13100, str(here))
    (here / "front.json").write_text(json.dumps(asdict(front)), encoding="utf-8")
    assert moved_from(here) is None
    here.parent.rename(there.parent)
    assert (moved_from(there), copied_from(there / "current.json")) == (here, None)
    tried = replace(canary, release=replace(canary.release, folder=str(there / "releases/2")))
    moved = replace(release, folder=str(there / "releases/1"), canary=tried)
    assert read_release(there / "current.json") == moved
    assert (find_front(there), public_port(there)) == (front, 13100)
    (there / "front.json").unlink()
    assert moved_from(there) == here
    write_release(there / "current.json", moved)
    assert moved_from(there) is None


def test_only_what_serves_a_bento_of_the_folder_is_found(tmp_path: Path) -> None:
    bento = tmp_path / "staging/releases/1/bento"
    sleep = "import sys; sys.stdin.read()"
    commands = {
        "ours": ["-m", "bentoml", "serve", str(bento), "--port", "1"],
        "worker": ["-m", "_bentoml_impl.worker.service", str(bento), "--fd", "7"],
        "another": ["-m", "bentoml", "serve", str(tmp_path / "production/releases/1/bento")],
        "reader": ["tail", str(bento)],
        "front": [
            *("-m", "infrastructure.deployment.front", "--port", "7"),
            *("--state", str(tmp_path / "staging/current.json")),
        ],
    }
    with ExitStack() as stack:
        started = {}
        for name, words in commands.items():
            command = [sys.executable, "-c", sleep, *words]
            started[name] = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE))
        found = {process.pid for process in serving_below(tmp_path / "staging/releases")}
        assert found == {started["ours"].pid, started["worker"].pid}
        front = find_front(tmp_path / "staging")
        assert front is not None and (front.pid, front.port) == (started["front"].pid, 7)
        assert find_front(tmp_path / "production") is None


def test_a_process_is_ended_with_its_children(sleeper: subprocess.Popen[bytes]) -> None:
    assert stop_process(None) is False
    assert stop_process(psutil.Process(sleeper.pid)) is True
    assert sleeper.poll() is not None
