"""Which snapshots `make gc` removes; test_registry.py has packages."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from application.registry.collection import Stored
from infrastructure.cli.gc import _unneeded_snapshots


def package(folder: Path, version: str, *snapshots: str) -> Stored:
    """A stored package that was trained on these snapshots."""
    path = folder / version
    path.mkdir()
    names = {f"{name}.csv": name for name in snapshots}
    text = json.dumps({"data": {"snapshots": names}})
    (path / "provenance.json").write_text(text, encoding="utf-8")
    return Stored("package", "made", version, path, 1, datetime.now(UTC))


def test_a_snapshot_goes_with_the_last_package_that_was_trained_on_it(tmp_path: Path) -> None:
    old, middle = package(tmp_path, "a", "1", "2"), package(tmp_path, "b", "2")
    new, older = package(tmp_path, "c", "3"), package(tmp_path, "d")
    stored = [old, middle, new, older]
    assert _unneeded_snapshots(stored, []) == set()
    assert _unneeded_snapshots(stored, [old]) == {"1"}
    assert _unneeded_snapshots(stored, [old, middle, older]) == {"1", "2"}
