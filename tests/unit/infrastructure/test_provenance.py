"""Provenance: the commit, lock file and libraries that a package was made with."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from datetime import UTC, datetime, timedelta
from importlib.metadata import distributions, version
from pathlib import Path

import pytest

from infrastructure.provenance import LIBRARIES, collect_provenance, uncommitted


@pytest.fixture(autouse=True)
def _no_repository_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # a git hook sets them
        monkeypatch.delenv(name, raising=False)


def git(folder: Path, *arguments: str) -> str:
    """Run git as a test user, and return its output."""
    somebody = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    done = subprocess.run(
        ["git", *somebody, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture(name="clone")
def _clone(tmp_path: Path) -> Path:
    """A repository with one commit."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "poetry.lock").write_text("locked\n", encoding="utf-8")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "Lock")
    return tmp_path


def test_the_commit_is_named_in_full(clone: Path) -> None:
    assert collect_provenance(clone)["git_commit"] == git(clone, "rev-parse", "HEAD")


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"])
def test_the_commit_is_the_clones_though_the_environment_names_another_repository(
    clone: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "--quiet")
    (other / "poetry.lock").write_text("another\n", encoding="utf-8")
    git(other, "add", ".")
    git(other, "commit", "--quiet", "--message", "Another")
    expected = git(clone, "rev-parse", "HEAD")
    foreign = {"GIT_DIR": ".git", "GIT_WORK_TREE": ".", "GIT_INDEX_FILE": ".git/index"}[name]
    monkeypatch.setenv(name, str(other / foreign))
    assert collect_provenance(clone)["git_commit"] == expected


def test_a_tag_does_not_stand_for_the_commit(clone: Path) -> None:
    git(clone, "tag", "--annotate", "--message", "First", "v1.0.0")
    assert collect_provenance(clone)["git_commit"] == git(clone, "rev-parse", "HEAD")


def test_a_changed_file_makes_the_commit_dirty(clone: Path) -> None:
    (clone / "poetry.lock").write_text("changed\n", encoding="utf-8")
    expected = f"{git(clone, 'rev-parse', 'HEAD')}-dirty"
    assert collect_provenance(clone)["git_commit"] == expected


def test_a_new_source_makes_the_commit_dirty_and_another_file_does_not(clone: Path) -> None:
    commit = git(clone, "rev-parse", "HEAD")
    (clone / "notes.txt").write_text("mine\n", encoding="utf-8")
    assert collect_provenance(clone)["git_commit"] == commit
    (clone / "domain/models").mkdir(parents=True)
    (clone / "domain/models/churn.py").write_text("SPEC = ...\n", encoding="utf-8")
    assert collect_provenance(clone)["git_commit"] == f"{commit}-dirty"


def test_outside_a_repository_the_commit_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert collect_provenance(tmp_path)["git_commit"] == "unknown"


def test_the_commit_of_a_repository_around_the_clone_is_not_its_own(clone: Path) -> None:
    inside = clone / "unpacked"
    (inside / "domain").mkdir(parents=True)
    (inside / "domain/model.py").touch()
    (inside / "poetry.lock").touch()
    assert collect_provenance(inside)["git_commit"] == "unknown"
    git(clone, "add", "unpacked")
    git(clone, "commit", "--quiet", "--message", "Adopt it")
    assert collect_provenance(inside)["git_commit"] == git(clone, "rev-parse", "HEAD")


def test_without_a_first_commit_it_is_unknown(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "poetry.lock").touch()
    assert collect_provenance(tmp_path)["git_commit"] == "unknown"


def test_the_lock_is_named_by_its_digest(clone: Path) -> None:
    expected = hashlib.sha256(b"locked\n").hexdigest()
    assert collect_provenance(clone)["lock_sha256"] == expected
    (clone / "poetry.lock").unlink()
    assert collect_provenance(clone)["lock_sha256"] is None


def test_python_and_libraries_are_those_that_run(clone: Path) -> None:
    collected = collect_provenance(clone)
    assert collected["python"] == platform.python_version()
    assert collected["libraries"] == {name: version(name) for name in collected["libraries"]}
    assert {"scikit-learn", "numpy", "onnxruntime"} <= set(collected["libraries"])


def test_a_library_that_is_not_installed_is_left_out(clone: Path) -> None:
    installed = set(installed_names())
    assert set(collect_provenance(clone)["libraries"]) == installed.intersection(LIBRARIES)


def installed_names() -> list[str]:
    """Names of all installed distributions."""
    return [found.metadata["Name"].lower() for found in distributions()]


def test_the_time_is_now_with_its_zone(clone: Path) -> None:
    created = datetime.fromisoformat(collect_provenance(clone)["created"])
    assert abs(datetime.now(UTC) - created) < timedelta(minutes=1)


def test_files_that_no_commit_has_are_named(
    clone: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = ["poetry.lock", "new model.py", "domain/models/kept.py"]
    for name in names[1:]:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).touch()
    git(clone, "add", names[2])
    git(clone, "commit", "--quiet", "--message", "Keep")
    outside = tmp_path_factory.mktemp("outside") / "x.py"
    files = [*(clone / name for name in names), outside]
    assert uncommitted(clone, files) == ["new model.py"]
    (clone / "poetry.lock").write_text("changed\n", encoding="utf-8")
    assert uncommitted(clone, files) == ["poetry.lock", "new model.py"]
    assert not uncommitted(outside.parent, [outside.parent / "x.py"])
