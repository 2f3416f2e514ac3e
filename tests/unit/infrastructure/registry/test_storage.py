"""What uses disk space, and its removal; test_promotion.py removes from the Bento store."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infrastructure.packaging.model_package import training_lock
from infrastructure.registry.storage import remove, stored_in
from shared.files import locked


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """A package of 5 bytes with a folder in it, a draft, a hidden folder, a model and a Bento."""
    for name in (
        *("packages/iris/1.0.0-a/figures/f.png", "packages/iris/.1.0.0-b.draft/model.onnx"),
        *("packages/iris/.cache/x", "packages/.trash/x", "packages/file"),
        *("bento/models/iris/1.0.0-a/model.onnx", "bento/models/iris/latest"),
        *("bento/bentos/iris/1.0.0-a/bento.yaml", "bento/tmp/iris/x"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    return tmp_path


def test_packages_drafts_models_and_bentos_are_found(folder: Path) -> None:
    found = list(stored_in(folder / "packages", folder / "bento"))
    assert {(item.kind, item.model_name, item.version) for item in found} == {
        ("package", "iris", "1.0.0-a"),
        ("draft", "iris", "1.0.0-b"),
        ("model", "iris", "1.0.0-a"),
        ("bento", "iris", "1.0.0-a"),
    }
    assert {item.path.relative_to(folder).as_posix() for item in found if item.kind != "draft"} == {
        "packages/iris/1.0.0-a",
        "bento/models/iris/1.0.0-a",
        "bento/bentos/iris/1.0.0-a",
    }
    assert all(item.size >= 5 for item in found)


def test_an_empty_folder_has_no_items(tmp_path: Path) -> None:
    assert not list(stored_in(tmp_path / "packages", tmp_path / "bento"))


def test_the_age_is_that_of_the_latest_changed_file(folder: Path) -> None:
    newest = datetime(2126, 1, 1, tzinfo=UTC)
    file = folder / "packages/iris/.1.0.0-b.draft/model.onnx"
    os.utime(file, (newest.timestamp(), newest.timestamp()))
    changed = {i.kind: i.modified for i in stored_in(folder / "packages", folder / "bento")}
    assert changed["draft"] == newest
    assert changed["package"] < newest


def test_files_and_folders_that_vanish_meanwhile_are_ignored(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lstat = os.lstat

    def vanishing(path: Path | str) -> os.stat_result:
        if "figures" in str(path) or "models" in str(path):
            raise FileNotFoundError(path)
        return lstat(path)

    before = {i.kind: i.size for i in stored_in(folder / "packages", folder / "bento")}
    monkeypatch.setattr(os, "lstat", vanishing)
    after = {i.kind: i.size for i in stored_in(folder / "packages", folder / "bento")}
    assert after.keys() == before.keys() - {"model"}
    assert after["package"] < before["package"]
    assert after["draft"] == before["draft"]


def test_leftovers_of_a_killed_training_are_distinguished_from_a_running_one(
    folder: Path,
) -> None:
    def states() -> dict[str, bool | None]:
        found = stored_in(folder / "packages", folder / "nowhere")
        return {item.version: item.in_training for item in found}

    lock = training_lock(folder / "packages/iris/1.0.0-a")
    assert states() == {"1.0.0-a": None, "1.0.0-b": None}
    lock.touch()
    assert states() == {"1.0.0-a": False, "1.0.0-b": None}
    with locked(lock, 0), ThreadPoolExecutor(1) as other:
        assert other.submit(states).result() == {"1.0.0-a": True, "1.0.0-b": None}
    for item in stored_in(folder / "packages", folder / "nowhere"):
        remove(item)
    assert not lock.exists()


def test_only_packages_and_drafts_are_removed(folder: Path) -> None:
    (folder / "packages/iris/1.0.0-a/figures/f.png").chmod(0o444)
    for item in list(stored_in(folder / "packages", folder / "nowhere")):
        remove(item)
    assert sorted(path.name for path in (folder / "packages/iris").iterdir()) == [".cache"]
