"""A recorded version is trained again from its commit, and differences are reported."""

from __future__ import annotations

import json

import pytest

from tests.served import Home, commit_all, copy_with_petals

ESTIMATOR = "domain/models/petals.py"


@pytest.fixture(scope="module", name="petals_home")
def _petals_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose clone shares this environment, with petals trained from a commit."""
    folder = tmp_path_factory.mktemp("reproduce")
    clone = folder / "clone"
    copy_with_petals(clone)
    home = Home(folder / "home", clone)
    train(home)
    return home


def train(home: Home) -> str:
    """Train petals; returns the run."""
    done = home.make("-B", "train")
    assert done.returncode == 0, done.stdout + done.stderr
    run: str = json.loads((home.receipts / "train.json").read_text("utf-8"))["run_id"]
    return run


def reproduce(home: Home, run: str) -> tuple[int, str]:
    """Exit code and output of the command, which leaves no worktree."""
    done = home.python("-m", "infrastructure.cli", "reproduce", "--run", run)
    assert len(home.run("git", "worktree", "list").stdout.splitlines()) == 1
    return done.returncode, done.stdout + done.stderr


def test_a_version_is_reproduced_from_an_earlier_commit(petals_home: Home) -> None:
    recorded = petals_home.run("git", "rev-parse", "HEAD").stdout.strip()
    path = petals_home.root / ESTIMATOR
    source = path.read_text("utf-8")
    path.write_text(f"{source}\nraise RuntimeError('another commit')\n", "utf-8")
    commit_all(petals_home.root, "break petals")
    code, output = reproduce(petals_home, "1")
    path.write_text(source, "utf-8")
    commit_all(petals_home.root, "fix petals")
    assert code == 0, output
    assert f"same      commit: {recorded}" in output
    assert "same      predictions: digest" in output
    assert "same      served model: model.onnx" in output
    assert "DIFFERS" not in output
    assert "result    the predictions are the same\n" in output


def test_differences_due_to_uncommitted_changes_are_reported(petals_home: Home) -> None:
    path = petals_home.root / ESTIMATOR
    source = path.read_text("utf-8")
    assert "random_state=random_state" in source
    path.write_text(source.replace("random_state=random_state", "random_state=7"), "utf-8")
    try:
        run = train(petals_home)
    finally:
        path.write_text(source, "utf-8")
    code, output = reproduce(petals_home, run)
    assert code == 3, output
    assert "WARNING   trained with uncommitted changes" in output
    assert "DIFFERS   commit:" in output
    assert "of 150 rows, by at most" in output
    assert "DIFFERS   served model: model.onnx" in output
    assert "same      training rows: 120 rows" in output
    assert "the predictions differ; the recorded version had uncommitted changes" in output


def test_a_missing_or_unknown_run_is_an_error(petals_home: Home) -> None:
    done = petals_home.make("reproduce")
    assert done.returncode != 0
    assert "make reproduce RUN=" in done.stderr
    done = petals_home.make("reproduce", "RUN=nobody")
    assert done.returncode != 0
    assert "nobody" in done.stderr
    assert "Traceback" not in done.stderr
