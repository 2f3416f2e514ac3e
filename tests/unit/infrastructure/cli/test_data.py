"""What differs between the data of two versions, of the rows that came from the log."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from infrastructure.cli.data import labelled_rows
from infrastructure.packaging.model_package import ModelPackage, PackageDraft
from tests.fakes import FakeSnapshots


def package_of(folder: Path, snapshots: FakeSnapshots, rows: int) -> ModelPackage:
    """A package that was also trained on some labelled rows of the log."""
    provenance: dict[str, object] = {"config": {"data": {}}, "data": {"snapshots": {"a.csv": "x"}}}
    if rows:
        table = folder / f"labelled-{rows}.parquet"
        pd.DataFrame({"age": range(rows)}).to_parquet(table)
        kept = {"a.csv": "x", table.name: snapshots.keep(table)}
        provenance = {"config": {"data": {"labelled": table.name}}, "data": {"snapshots": kept}}
    with PackageDraft(folder / "packages", "made", f"1-{rows}") as draft:
        draft.write_json("provenance.json", provenance)
        return ModelPackage(draft.seal())


def test_labelled_rows_of_the_log_are_compared(tmp_path: Path) -> None:
    snapshots = FakeSnapshots()
    none, few, many = (package_of(tmp_path, snapshots, rows) for rows in (0, 20, 1800))
    assert labelled_rows(none, many, snapshots) == ["labelled rows: 0, now 1,800"]
    assert labelled_rows(few, many, snapshots) == ["labelled rows: 20, now 1,800"]
    assert not labelled_rows(none, none, snapshots)
