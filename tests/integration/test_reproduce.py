"""A recorded version is trained again from its commit, and what differs is said."""

from __future__ import annotations

import json

import pytest

from tests.served import Home, add_petals, commit_all, copy_clone

ESTIMATOR = "domain/models/petals.py"


@pytest.fixture(scope="module", name="place")
def _place(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A clone whose environment is this one, in which petals was trained from a commit."""
    folder = tmp_path_factory.mktemp("reproduce")
    clone = folder / "clone"
    copy_clone(clone)
    add_petals(clone)
    commit_all(clone, "petals")
    place = Home(folder / "home", clone)
    train(place)
    return place


def train(place: Home) -> str:
    """Train petals; its run."""
    done = place.make("-B", "train")
    assert done.returncode == 0, done.stdout + done.stderr
    run: str = json.loads((place.receipts / "train.json").read_text("utf-8"))["run_id"]
    return run


def reproduce(place: Home, run: str) -> tuple[int, str]:
    """Exit code of the command, and what it said; no worktree is left."""
    done = place.python("-m", "infrastructure.cli", "reproduce", "--run", run)
    assert len(place.run("git", "worktree", "list").stdout.splitlines()) == 1
    return done.returncode, done.stdout + done.stderr


def test_a_version_of_a_commit_is_reproduced_when_the_clone_has_moved_on(place: Home) -> None:
    recorded = place.run("git", "rev-parse", "HEAD").stdout.strip()
    path = place.root / ESTIMATOR
    source = path.read_text("utf-8")
    path.write_text(f"{source}\nraise RuntimeError('another commit')\n", "utf-8")
    commit_all(place.root, "break petals")
    code, said = reproduce(place, "1")
    path.write_text(source, "utf-8")
    commit_all(place.root, "fix petals")
    assert code == 0, said
    assert f"same      commit: {recorded}" in said
    assert "same      predictions: digest" in said
    assert "same      served model: model.onnx" in said
    assert "DIFFERS" not in said
    assert "result    the predictions are the same\n" in said


def test_what_was_trained_with_uncommitted_changes_differs_and_that_is_said(place: Home) -> None:
    path = place.root / ESTIMATOR
    source = path.read_text("utf-8")
    assert "random_state=random_state" in source
    path.write_text(source.replace("random_state=random_state", "random_state=7"), "utf-8")
    try:
        run = train(place)
    finally:
        path.write_text(source, "utf-8")
    code, said = reproduce(place, run)
    assert code == 3, said
    assert "WARNING   trained with uncommitted changes" in said
    assert "DIFFERS   commit:" in said
    assert "of 150 rows, by at most" in said
    assert "DIFFERS   served model: model.onnx" in said
    assert "same      training rows: 120 rows" in said
    assert "the predictions differ; the recorded version had uncommitted changes" in said


def test_make_wants_a_run_and_the_registry_must_know_it(place: Home) -> None:
    done = place.make("reproduce")
    assert done.returncode != 0
    assert "make reproduce RUN=" in done.stderr
    done = place.make("reproduce", "RUN=nobody")
    assert done.returncode != 0
    assert "nobody" in done.stderr
    assert "Traceback" not in done.stderr
