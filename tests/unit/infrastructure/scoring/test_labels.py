"""Tables of labels in files."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from application.monitoring.labels import LabelTable
from domain.contract import is_missing
from domain.errors import DataError
from infrastructure.scoring.labels import read_labels, write_unknown
from tests import petals

TABLE = pd.DataFrame(
    {
        "request_id": ["007", "b", "c"],
        "row": [0, 1, None],
        "actual": ["setosa", None, "virginica"],
        "note": ["x", "y", "z"],
    }
)


def write(path: Path, table: pd.DataFrame) -> Path:
    """Write a table in the format of the suffix."""
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    elif path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_json(path, orient="records", lines=True)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".ndjson"])
def test_every_format_has_the_same_labels(tmp_path: Path, suffix: str) -> None:
    table = read_labels(write(tmp_path / f"labels{suffix}", TABLE), petals.SPEC)
    assert table.column == "actual"
    assert table.first_row == {".parquet": 0, ".csv": 2, ".ndjson": 1}[suffix]
    assert table.names == ["007", "b", "c"]
    assert not table.by_id
    assert table.rows
    assert [None if is_missing(row) else int(float(row)) for row in table.rows] == [
        *(0, 1, None),
    ]
    assert table.actual == ["setosa", None, "virginica"]


def test_ids_of_the_caller_and_the_name_of_the_target_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", pd.DataFrame({"id": ["1"], "species": ["setosa"], "row": [3]}))
    expected = LabelTable(["1"], None, ["setosa"], True, "species", first_row=2)
    assert read_labels(path, petals.SPEC) == expected


def test_a_request_id_is_preferred_to_an_id_and_actual_to_the_target(tmp_path: Path) -> None:
    content = {"id": ["1"], "request_id": ["r"], "species": ["a"], "actual_class": ["b"]}
    table = read_labels(write(tmp_path / "l.csv", pd.DataFrame(content)), petals.SPEC)
    assert table == LabelTable(["r"], None, ["b"], column="actual_class", first_row=2)


def test_types_of_arrow_become_text_and_numbers(tmp_path: Path) -> None:
    columns = {
        "id": pa.array(["a", "b"]).dictionary_encode(),
        "actual": pa.array([Decimal("1.50"), None], pa.decimal128(9, 2)),
    }
    pq.write_table(pa.table(columns), tmp_path / "l.parquet")
    table = read_labels(tmp_path / "l.parquet", petals.SPEC)
    assert (table.names, table.actual) == (["a", "b"], [1.5, None])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"name": ["a"], "actual": [1]}, "has no column request_id or id; its columns are name, "),
        ({"id": ["a"], "label": [1]}, "has no column actual or actual_class or species"),
        ({"id": [["a"]], "actual": [1]}, "id: expected text or numbers, got list"),
    ],
)
def test_a_table_that_is_no_table_of_labels_is_refused(
    tmp_path: Path, content: dict[str, list[object]], message: str
) -> None:
    pq.write_table(pa.table(content), tmp_path / "l.parquet")
    with pytest.raises(DataError, match=message):
        read_labels(tmp_path / "l.parquet", petals.SPEC)


@pytest.mark.parametrize(
    "table",
    [
        LabelTable(["a", "b,\n", "c"], [0, 7, 1], ["no", 'say "yes"', "no"]),
        LabelTable(["a", "b,\n", "c"], None, ["no", 'say "yes"', "no"], by_id=True),
    ],
)
def test_unknown_rows_are_read_again_as_they_were(tmp_path: Path, table: LabelTable) -> None:
    path = tmp_path / "l.unknown.csv"
    write_unknown(path, table, [1])
    rows = table.rows and ["7"]
    expected = LabelTable(["b,\n"], rows, ['say "yes"'], table.by_id, first_row=2)
    assert read_labels(path, petals.SPEC) == expected
