"""Snapshots in a folder and in an object store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.data.tables import read_frame
from domain.errors import DataError
from infrastructure.storage.snapshots import SnapshotStore
from shared.digests import sha256_of
from tests.s3 import s3_server


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> SnapshotStore:
    return SnapshotStore(str(tmp_path / "snapshots"), tmp_path / "cache", tmp_path)


def test_a_file_is_kept_once_by_its_content(store: SnapshotStore, tmp_path: Path) -> None:
    for name in ("a.csv.gz", "b.csv.gz"):
        (tmp_path / name).write_bytes(b"content")
    names = {store.keep(tmp_path / name) for name in ("a.csv.gz", "b.csv.gz")}
    assert names == {f"{sha256_of(tmp_path / 'a.csv.gz')}.csv.gz"}
    (tmp_path / "a.csv.gz").write_bytes(b"changed")
    assert store.find(*names).read_bytes() == b"content"


def test_a_source_is_kept_as_parquet_and_the_same_data_have_the_same_name(
    store: SnapshotStore, tmp_path: Path
) -> None:
    (tmp_path / "t.json").write_text(json.dumps([{"x": 1}, {"x": 2}]), encoding="utf-8")
    first = store.fetch("t.json", None)
    assert read_frame(str(first.file))["x"].tolist() == [1, 2]
    assert (first.file.suffix, first.watched) == (".parquet", (str(tmp_path / "t.json"),))
    assert store.fetch("t.json", None) == first
    (tmp_path / "t.json").write_text(json.dumps([{"x": 1}]), encoding="utf-8")
    assert store.fetch("t.json", None).snapshot != first.snapshot
    assert len(list(store.folder.iterdir())) == 2


def test_a_missing_or_changed_snapshot_is_refused(store: SnapshotStore, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x\n1\n", encoding="utf-8")
    name = store.keep(tmp_path / "t.csv")
    store.find(name).chmod(0o644)
    (store.folder / name).write_text("x\n2\n", encoding="utf-8")
    with pytest.raises(DataError, match="was changed"):
        store.find(name)
    store.remove(name)
    assert store.size(name) is None
    with pytest.raises(DataError, match="is not in"):
        store.find(name)


@pytest.fixture(scope="module", name="s3")
def _s3() -> Iterator[None]:
    with s3_server():
        yield


@pytest.mark.usefixtures("s3")
def test_an_object_store_gives_a_snapshot_to_another_machine(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x\n1\n", encoding="utf-8")
    here, there = (
        SnapshotStore("s3://shop/snapshots", tmp_path / name, tmp_path) for name in ("a", "b")
    )
    name = here.keep(tmp_path / "t.csv")
    assert here.keep(tmp_path / "t.csv") == name
    assert there.size(name) == 4
    assert there.find(name).read_text("utf-8") == "x\n1\n"
    here.remove(name)
    with pytest.raises(DataError, match="cannot copy"):
        SnapshotStore("s3://shop/snapshots", tmp_path / "c", tmp_path).find(name)
