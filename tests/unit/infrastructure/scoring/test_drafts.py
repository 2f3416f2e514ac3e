"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infrastructure.scoring.drafts import Draft


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


def test_what_a_killed_process_has_left_goes_and_what_another_writes_stays(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    left = tmp_path / f".out[1].csv.{done.stdout.strip()}.part"
    written = tmp_path / f".out[1].csv.{os.getppid()}.part"
    other = tmp_path / f".out.csv.{done.stdout.strip()}.part"
    for path in (left, written, other):
        path.touch()
    with Draft(tmp_path / "out[1].csv"):
        assert sorted(tmp_path.iterdir()) == sorted([written, other])
