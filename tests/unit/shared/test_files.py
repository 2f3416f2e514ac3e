"""Files and folders are replaced atomically; a lock keeps other processes out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared.files import Draft, drafts_folder, locked, publish_folder, write_atomically
from shared.paths import ROOT

HOLDER = """
import sys
from pathlib import Path
from shared.files import locked

with locked(Path(sys.argv[1]), 5):
    print("held", flush=True)
    input()
"""

KILLED = """
import os, signal, sys
from pathlib import Path
from shared.files import drafts_folder, publish_folder

folder, moves = Path(sys.argv[1]), int(sys.argv[2])

def kill(event, args):
    global moves
    if event == "os.rename":
        if not moves:
            os.kill(os.getpid(), signal.SIGKILL)
        moves -= 1

with drafts_folder(folder / "drafts") as drafts:
    (drafts / "new").mkdir()
    (drafts / "new/file").write_text("new")
    sys.addaudithook(kill)
    publish_folder(drafts / "new", folder / "bento")
"""


def test_a_draft_that_is_published_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old")
    with Draft(target) as draft:
        draft.path.write_text("new")
        assert target.read_text() == "old"
        draft.publish()
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert target.read_text() == "new"


def test_a_draft_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Draft(tmp_path / "out.csv") as draft:
        draft.path.write_text("half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_files_of_a_killed_process_are_removed_and_those_of_others_kept(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    left = tmp_path / f".out[1].csv.{done.stdout.strip()}.0a.part"
    written = tmp_path / f".out[1].csv.{os.getppid()}.0a.part"
    other = tmp_path / f".out.csv.{done.stdout.strip()}.0a.part"
    for path in (left, written, other):
        path.touch()
    with Draft(tmp_path / "out[1].csv"):
        assert sorted(tmp_path.iterdir()) == sorted([written, other])


@pytest.mark.parametrize(("private", "others"), [(False, 0o044), (True, 0)])
def test_a_private_file_is_never_readable_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private: bool, others: int
) -> None:
    seen: list[int] = []
    replace = os.replace

    def look(source: Path, target: Path) -> None:
        seen.append(source.stat().st_mode & 0o077)
        replace(source, target)

    monkeypatch.setattr(os, "replace", look)
    before = os.umask(0o022)
    try:
        write_atomically(tmp_path / "state.json", "{}", private)
    finally:
        os.umask(before)
    assert seen == [others]
    assert (tmp_path / "state.json").stat().st_mode & 0o077 == others


def test_a_file_with_the_longest_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 127)
    write_atomically(path, b"whole")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [
        (path.name, b"whole")
    ]


def test_another_process_waits_for_the_lock_and_its_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new/.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        with pytest.raises(TimeoutError, match=r"another process has held .*\.lock for 0.1 s"):
            with locked(path, 0.1):
                pytest.fail("two processes held it")
        holder.kill()
        holder.wait()
        with locked(path, 5):  # the lock has ended with its process
            pass


def test_the_holder_may_lock_again_and_an_error_frees_the_lock(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with pytest.raises(KeyError):
        with locked(path, 0), locked(path, 0):
            raise KeyError
    with locked(path, 0):
        pass


@pytest.mark.parametrize(("moves", "left"), [(0, ["old"]), (1, []), (2, ["new"])])
def test_a_process_killed_while_it_replaces_a_folder_leaves_no_half_one(
    tmp_path: Path, moves: int, left: list[str]
) -> None:
    (tmp_path / "bento").mkdir()
    (tmp_path / "bento/file").write_text("old")
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(moves)]
    done = subprocess.run(command, cwd=ROOT, check=False)
    assert done.returncode == (0 if moves == 2 else -signal.SIGKILL)
    assert [path.read_text() for path in tmp_path.glob("bento/file")] == left
    with drafts_folder(tmp_path / "drafts") as drafts:
        assert not list(drafts.iterdir())
        (drafts / "next").mkdir()
        publish_folder(drafts / "next", tmp_path / "bento")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bento", "drafts.lock"]
    assert not list((tmp_path / "bento").iterdir())
