"""A commit is checked out next to the clone, trained there as it was recorded, and removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from domain.errors import BuildError
from infrastructure.reproduction.worktree import Worktree, commit_of, open_worktree
from shared.digests import sha256_of

PIPELINE = """
import json, os, pathlib, sys

args = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if pathlib.Path("lacks").exists() and not pathlib.Path("torch").exists():
    sys.exit("error: the model needs torch, which is not installed: make install EXTRAS=torch")
if "fail" in json.loads(pathlib.Path(args["--config"]).read_text()):
    sys.exit("error: no memory")
package = pathlib.Path(os.environ["MODEL_REGISTRY_DIR"])
package.mkdir(exist_ok=True)
call = {**args, "root": os.getcwd(), "python": sys.executable, "environment": dict(os.environ)}
(package / "call.json").write_text(json.dumps(call))
pathlib.Path(args["--receipt"]).write_text(json.dumps({"package": str(package)}))
"""
INSTALL = f"""
mkdir -p .venv/bin
echo "$1 $EXTRAS" >>installed
printf '#!/usr/bin/env bash\\nexec {sys.executable} "$@"\\n' >.venv/bin/python
chmod +x .venv/bin/python
[ -z "$EXTRAS" ] || touch "$EXTRAS"
"""


@pytest.fixture(autouse=True)
def _no_repository_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # a git hook sets them
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Path:
    """A clone with one commit, whose pipeline and installer record their arguments."""
    root = tmp_path / "clone"
    for name, text in {
        "application/training/pipelines/iris_training_pipeline.py": PIPELINE,
        "scripts/setup/install.sh": INSTALL,
        "poetry.lock": "locked\n",
        "pyproject.toml": "",
        ".gitignore": "/data\n/.venv\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    git(root, "init", "--quiet")
    commit(root)
    return root


def git(root: Path, *arguments: str) -> str:
    """Run git as a test user, and return its output."""
    somebody = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    return subprocess.run(
        ["git", *somebody, *arguments], cwd=root, capture_output=True, text=True, check=True
    ).stdout.strip()


def commit(root: Path) -> str:
    """Commit everything, and return the commit."""
    git(root, "add", "-A")
    git(root, "commit", "--quiet", "--allow-empty", "--message", "all")
    return git(root, "rev-parse", "HEAD")


def install(root: Path) -> None:
    """Make an environment of the clone that is newer than its lock."""
    (root / ".venv/bin").mkdir(parents=True)
    (root / ".venv/bin/python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', "utf-8")
    (root / ".venv/bin/python").chmod(0o755)
    (root / ".venv/.core").touch()
    for name in ("poetry.lock", "pyproject.toml"):
        os.utime(root / name, (1_700_000_000, 1_700_000_000))


def trained(
    worktree: Worktree, config: dict[str, Any] | None = None
) -> tuple[Path, list[tuple[str, str]]]:
    """Train with the lock of the commit; return the package and the reported steps."""
    steps: list[tuple[str, str]] = []
    lock = sha256_of(worktree.clone / "poetry.lock")
    package = worktree.train("iris", config or {}, lock, lambda *step: steps.append(step))
    return package, steps


def call_of(package: Path) -> dict[str, Any]:
    """The arguments and environment of the pipeline."""
    call: dict[str, Any] = json.loads((package / "call.json").read_text("utf-8"))
    return call


@pytest.mark.parametrize("recorded", ["unknown", "abc123", "--help", "unknown-dirty"])
def test_an_unknown_commit_is_refused(root: Path, recorded: str) -> None:
    with pytest.raises(BuildError, match="its commit is recorded as"):
        commit_of({"git_commit": recorded}, root)


def test_a_commit_that_is_not_there_is_to_be_fetched(root: Path) -> None:
    with pytest.raises(BuildError, match=f"commit {'1' * 40} is not in this clone: run git fetch"):
        commit_of({"git_commit": "1" * 40}, root)


@pytest.mark.parametrize("suffix", ["", "-dirty"])
def test_a_commit_is_found_with_and_without_changes(root: Path, suffix: str) -> None:
    head = git(root, "rev-parse", "HEAD")
    assert commit_of({"git_commit": head + suffix}, root) == head


def test_the_worktree_has_the_commit_and_nothing_later(root: Path) -> None:
    head = git(root, "rev-parse", "HEAD")
    (root / "later.py").touch()
    commit(root)
    with open_worktree(head, root) as worktree:
        assert (worktree.clone / "poetry.lock").exists()
        assert not (worktree.clone / "later.py").exists()
        assert git(worktree.clone, "rev-parse", "HEAD") == head


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_worktree_is_removed_whatever_happens(root: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), open_worktree("HEAD", root) as worktree:
        (worktree.clone / "left.txt").touch()
        raise error
    assert not worktree.clone.parent.exists()
    assert len(git(root, "worktree", "list").splitlines()) == 1


def test_a_worktree_that_git_cannot_make_leaves_nothing(root: Path) -> None:
    with pytest.raises(BuildError, match="git cannot create a worktree"):
        with open_worktree("nowhere", root):
            pass
    assert len(git(root, "worktree", "list").splitlines()) == 1


def test_data_that_git_does_not_track_are_brought(root: Path, tmp_path: Path) -> None:
    (root / "data").mkdir()
    for name in ("data/churn.csv", "data/words.txt"):
        (root / name).write_text(name, encoding="utf-8")
    outside = tmp_path / "outside.csv"
    outside.touch()
    config = {
        "data": {"path": "data/churn.csv", "columns": ["poetry.lock", "x" * 5000]},
        "version": "1.0.0",
        "above": "..",
    }
    files = [str(root / "data/words.txt"), str(outside), str(root / "data/gone.csv")]
    with open_worktree("HEAD", root) as worktree:
        snapshots = {"data/old.csv": outside, "s3://bucket/t/": outside, str(outside): outside}
        linked = worktree.link_data(config, files, snapshots)
        assert linked == ["data/churn.csv", "data/words.txt"]
        assert (worktree.clone / "data/churn.csv").read_text("utf-8") == "data/churn.csv"
        assert (worktree.clone / "data/old.csv").resolve() == outside
        assert not (worktree.clone / "poetry.lock").is_symlink()
    assert (root / "data/churn.csv").exists()


def test_training_runs_in_the_worktree_and_writes_outside_of_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(root)
    monkeypatch.setenv("MAKEFLAGS", "-n")
    with open_worktree("HEAD", root) as worktree:
        package, steps = trained(worktree, {"model": {"max_depth": 3}})
        call = call_of(package)
        assert not (worktree.clone / "installed").exists()
        assert call["root"] == str(worktree.clone)
        assert call["--model"] == "iris"
        environment = call["environment"]
        assert environment["PYTHONPATH"] == str(worktree.clone)
        for name in (
            "MLFLOW_TRACKING_URI",
            "BENTOML_HOME",
            "RECEIPTS_DIR",
            "RELEASES_DIR",
            "LEDGER",
        ):
            assert str(worktree.home) in environment[name]
        assert "MAKEFLAGS" not in environment
    assert steps == [
        ("libraries", "this clone's environment, which matches the lock of that commit")
    ]


@pytest.mark.parametrize("why", ["nothing installed", "older than the lock", "another lock"])
def test_an_environment_that_is_not_the_recorded_one_is_installed(root: Path, why: str) -> None:
    head = git(root, "rev-parse", "HEAD")
    if why != "nothing installed":
        install(root)
    if why == "older than the lock":
        os.utime(root / ".venv/.core", (1_600_000_000, 1_600_000_000))
    if why == "another lock":
        (root / "poetry.lock").write_text("locked anew\n", encoding="utf-8")
        (root / ".venv/.core").touch()
    with open_worktree(head, root) as worktree:
        _, steps = trained(worktree)
        assert (worktree.clone / "installed").read_text("utf-8") == "core \n"
    assert "installing the lock of that commit: some minutes" in steps[0][1]


def test_an_extra_that_the_model_needs_is_installed_too(root: Path) -> None:
    (root / "lacks").touch()
    commit(root)
    with open_worktree("HEAD", root) as worktree:
        _, steps = trained(worktree)
        assert (worktree.clone / "installed").read_text("utf-8") == "core \nall torch\n"
    assert "and the extra torch" in steps[1][1]


def test_a_failed_training_is_reported(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    install(root)
    with pytest.raises(BuildError, match="training iris at that commit failed"):
        with open_worktree("HEAD", root) as worktree:
            trained(worktree, {"fail": True})
    assert "no memory" in capfd.readouterr().err
    assert len(git(root, "worktree", "list").splitlines()) == 1


def test_a_failed_installation_is_reported(root: Path) -> None:
    (root / "scripts/setup/install.sh").write_text("exit 1\n", encoding="utf-8")
    commit(root)
    with pytest.raises(BuildError, match="could not be installed"):
        with open_worktree("HEAD", root) as worktree:
            trained(worktree)
