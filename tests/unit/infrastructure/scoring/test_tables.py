"""Tables: values for the contract, and columns that are copied to the output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from application.scaffold.table_inspection import inspect_table
from domain.contract import (
    Category,
    Classes,
    Datetime,
    ModelSpec,
    Number,
    Quantity,
    Tensor,
    Text,
)
from domain.data.tables import read_frame, read_table
from domain.errors import DataError, InputError
from infrastructure.scoring.tables import Batch, check_output, open_sink, open_table
from tests.messy_csv import FILES, ROWS, write_csv

CLASSES = Classes(("let", "sold"))
FLAT = ModelSpec(
    "flat",
    (
        Number("area", "m²", 5, 500, nullable=True),
        Category("kind", ("house", "true", "1"), nullable=True),
        Tensor("plan", (2, 3), 0, 9),
    ),
    CLASSES,
)
PLAN = [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
NUMBER = ModelSpec("number", (Number("x", "", 0, 10),), CLASSES)
REVIEW = ModelSpec("review", (Text("said"),), CLASSES)


def only_batch(path: Path, spec: ModelSpec) -> Batch:
    """The only batch of a table."""
    (batch,) = open_table(path, spec).batches()
    return batch


def encoded(path: Path, spec: ModelSpec) -> list[Any]:
    """The encoded rows of a table."""
    return list(spec.encode(only_batch(path, spec).columns).tolist())


def parquet(folder: Path, **columns: Any) -> Path:
    """A Parquet file."""
    pq.write_table(pa.table(columns), folder / "in.parquet")
    return folder / "in.parquet"


VISITS = ModelSpec(
    "visits",
    (Datetime("at", ("days_since", "hour"), zone="Europe/Berlin", nullable=True),),
    Quantity("visits"),
)
TIMES = [datetime(2024, 7, 2, 0, 30), datetime(2024, 1, 1)]
IN_UTC = [datetime(2024, 7, 1, 22, 30), datetime(2023, 12, 31, 23, 0)]


def text(folder: Path, name: str, *lines: str) -> Path:
    """A file with these lines."""
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder / name


def test_the_line_with_which_excel_names_the_separator_is_skipped(tmp_path: Path) -> None:
    path = text(tmp_path, "in.csv", "sep=;", "x;note", "1;a, b", "2;")
    assert encoded(path, NUMBER) == [[1], [2]]


@pytest.mark.parametrize("name", FILES)
def test_a_csv_file_is_read_alike_by_training_and_scoring(name: str, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "in.csv", name)
    spec = inspect_table(read_frame(str(path)), "churned", "messy").spec
    learned = read_table(str(path), spec).encoded(spec)
    assert len(learned) == ROWS
    assert np.array_equal(np.array(encoded(path, spec), np.float32), learned, equal_nan=True)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 2, None], pa.int8()),
        pa.array([1, 2, None], pa.uint64()),
        pa.array([1, 2, None], pa.float32()),
        pa.array([1, 2, np.nan], pa.float16()),
        pa.array([Decimal("1.0"), Decimal("2.0"), None]),
        pa.array([1, 2, None]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_numbers_of_every_type_of_parquet_are_numbers(column: pa.Array, tmp_path: Path) -> None:
    values = only_batch(parquet(tmp_path, x=column), NUMBER).columns["x"]
    assert np.array_equal(np.asarray(values), [1, 2, np.nan], equal_nan=True)


@pytest.mark.parametrize(
    "column", [pa.array(["1"]), pa.array([True]), pa.array([[1.0]]), pa.array([{"x": 1}])]
)
def test_a_parquet_value_that_is_not_a_number_is_refused(column: pa.Array, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a number"):
        encoded(parquet(tmp_path, x=column), NUMBER)


@pytest.mark.parametrize(
    ("column", "codes"),
    [
        (pa.array(["house", "1", None]), [0, 2, np.nan]),
        (pa.array(["house", "1", None], pa.large_string()), [0, 2, np.nan]),
        (pa.array(["house", "1", None]).dictionary_encode(), [0, 2, np.nan]),
        (pa.array([True, True, None]), [1, 1, np.nan]),
        (pa.array([1, 1, None]), [2, 2, np.nan]),
    ],
)
def test_words_of_every_type_of_parquet_are_words(
    column: pa.Array, codes: Sequence[float], tmp_path: Path
) -> None:
    spec = ModelSpec("kind", FLAT.inputs[1:2], CLASSES)
    found = np.array(encoded(parquet(tmp_path, kind=column), spec))
    assert np.array_equal(found[:, 0], codes, equal_nan=True)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["2024-07-02T00:30", "2024-01-01", None]),
        pa.array(["2024-07-01T22:30Z", "2024-01-01", None]),
        pa.array(["2024-07-02 00:30", "2024-01-01", None]).dictionary_encode(),
        *(pa.array([*TIMES, None], pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")),
        pa.array([*IN_UTC, None], pa.timestamp("us", "UTC")),
        pa.array([*IN_UTC, None], pa.timestamp("ns", "Asia/Taipei")),
    ],
    ids=lambda column: str(column.type),
)
def test_times_of_every_type_of_parquet_are_times_in_the_zone(
    column: pa.Array, tmp_path: Path
) -> None:
    found = np.array(encoded(parquet(tmp_path, at=column), VISITS))
    expected = [[8949, 0.5], [8766, 0], [np.nan, np.nan]]
    assert np.array_equal(found, expected, equal_nan=True)


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()], ids=str)
def test_dates_of_parquet_are_midnights(kind: pa.DataType, tmp_path: Path) -> None:
    column = pa.array([date(2024, 7, 2), None], kind)
    found = np.array(encoded(parquet(tmp_path, at=column), VISITS))
    assert np.array_equal(found, [[8949, 0], [np.nan, np.nan]], equal_nan=True)


def test_dates_of_csv_are_read_alike_by_training_and_scoring(tmp_path: Path) -> None:
    path = text(
        *(tmp_path, "in.csv", "at,visits", " 2024-07-02T00:30 ,1", "2024-07-01T22:30Z,2"),
        *(",3", "NA,4", "2024-07-02 00:30,5"),
    )
    learned = read_table(str(path), VISITS).encoded(VISITS)
    assert learned[[0, 1, 4]].tolist() == [[8949, 0.5]] * 3
    assert np.array_equal(np.array(encoded(path, VISITS)), learned, equal_nan=True)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([PLAN, PLAN]),
        pa.array([PLAN, PLAN], pa.large_list(pa.list_(pa.float32(), 3))),
        pa.array([PLAN, PLAN], pa.list_(pa.list_(pa.int8(), 3), 2)),
        pa.FixedShapeTensorArray.from_numpy_ndarray(np.array([PLAN, PLAN])),
        pa.array([None, PLAN, PLAN]).slice(1),
    ],
    ids=lambda column: str(column.type),
)
def test_lists_of_every_type_of_parquet_are_tensors(column: pa.Array, tmp_path: Path) -> None:
    spec = ModelSpec("plan", FLAT.inputs[2:], CLASSES)
    path = parquet(tmp_path, plan=column)
    assert isinstance(only_batch(path, spec).columns["plan"], np.ndarray)
    assert encoded(path, spec) == [list(range(6))] * 2


@pytest.mark.parametrize(
    "bad", [None, [[0.0]], [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], [[0.0, None, 1.0]] * 2]
)
def test_only_the_invalid_tensors_of_a_batch_are_refused(bad: Any, tmp_path: Path) -> None:
    spec = ModelSpec("plan", FLAT.inputs[2:], CLASSES)
    batch = only_batch(parquet(tmp_path, plan=[PLAN, bad, PLAN]), spec)
    assert list(spec.reasons(batch.columns)) == [1]


def test_other_columns_of_parquet_are_copied_unchanged(tmp_path: Path) -> None:
    columns = {
        "id": pa.array([7, 8, 9], pa.uint16()),
        "x": pa.array([1, 2, 3]),
        "when": pa.array([0, 1, None], pa.timestamp("ns", tz="UTC")),
        "tags": pa.array([["a"], [], None]),
    }
    path = parquet(tmp_path, **columns)
    table = open_table(path, NUMBER)
    (batch,) = table.batches()
    assert table.total == 3
    rows = batch.rows(np.array([0, 2]))
    assert rows.schema == table.schema
    assert pa.table(rows) == pa.table(columns).take([0, 2])
    assert batch.originals([1]) == pa.table(columns).slice(1, 1).to_pylist()


def test_a_long_table_is_read_in_batches_in_order(tmp_path: Path) -> None:
    path = parquet(tmp_path, x=np.arange(150_000))
    batches = list(open_table(path, NUMBER).batches())
    assert max(map(len, batches)) <= 65_536
    assert np.array_equal(np.concatenate([b.columns["x"] for b in batches]), np.arange(150_000))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_fields_of_csv_are_numbers_words_and_tensors(separator: str, tmp_path: Path) -> None:
    quoted = '"' + json.dumps(PLAN) + '"'
    lines = (("\ufeffarea", "kind", "plan"), ("50.5", "house", quoted), ("NA", "", quoted))
    path = text(tmp_path, "in.csv", *(separator.join(line) for line in lines))
    found = np.array(encoded(path, FLAT))
    assert np.array_equal(found[:, :2], [[50.5, 0], [np.nan, np.nan]], equal_nan=True)
    assert found[:, 2:].tolist() == [list(range(6))] * 2


@pytest.mark.parametrize("word", ["abc", "1_0", "0x10", "1,5", "--1", "1e", "."])
def test_only_the_fields_that_are_not_numbers_are_refused(word: str, tmp_path: Path) -> None:
    good = ["1", " 2.5 ", "+3", ".5", "5.", "1e0", "2.5E-1"]
    batch = only_batch(
        text(tmp_path, "in.csv", "id,x", *(f'1,"{x}"' for x in [*good, word])), NUMBER
    )
    assert NUMBER.reasons(batch.columns) == {7: f"x: {word!r} is not a number"}
    assert batch.originals([7]) == [{"id": "1", "x": word}]
    kept = batch.rows(np.arange(7)).to_pydict()
    assert kept == {"id": ["1"] * 7, "x": [1, 2.5, 3, 0.5, 5, 1, 0.25]}


@pytest.mark.parametrize("word", ["1e400", "-1e400", "inf", "-Infinity"])
def test_a_field_that_is_not_finite_is_refused(word: str, tmp_path: Path) -> None:
    batch = only_batch(text(tmp_path, "in.csv", "x", word, "1"), NUMBER)
    assert list(NUMBER.reasons(batch.columns)) == [0]


def test_other_columns_of_csv_are_copied_as_text(tmp_path: Path) -> None:
    path = text(tmp_path, "in.csv", "code,x,note", '007,1,"two\nlines, one ""word"""', ",2,")
    rows = only_batch(path, NUMBER).rows(np.arange(2)).to_pydict()
    assert rows["code"] == ["007", None]
    assert rows["note"] == ['two\nlines, one "word"', None]


def test_a_column_of_csv_may_change_its_type_after_the_first_block(tmp_path: Path) -> None:
    path = text(tmp_path, "in.csv", "x,note", *["1,1"] * 3_000_000, "one,one")
    bad = 0
    for batch in open_table(path, NUMBER).batches():
        bad += len(NUMBER.reasons(batch.columns)) if len(batch) < 65_536 else 0
    assert bad == 1


def test_objects_become_columns_of_a_type_for_all_their_values(tmp_path: Path) -> None:
    objects: list[dict[str, Any]] = [
        {
            "x": 1,
            "whole": 1,
            "real": 1,
            "word": "a",
            "yes": True,
            "mixed": 1,
            "list": [1],
            "big": 1,
        },
        {"x": 2, "real": 0.5, "yes": None, "mixed": "a", "list": {"a": 1}, "big": 2**64},
        {"x": "a", "late": 1},
    ]
    path = text(tmp_path, "in.ndjson", *map(json.dumps, objects[:2]), "", json.dumps(objects[2]))
    table = open_table(path, NUMBER)
    (batch,) = table.batches()
    assert table.total == 3
    assert batch.columns["x"] == [1, 2, "a"]
    rows = batch.rows(np.arange(2))
    assert rows.schema == table.schema
    assert rows.to_pydict() == {
        "x": [1, 2],
        "whole": [1, None],
        "real": [1, 0.5],
        "word": ["a", None],
        "yes": [True, None],
        "mixed": ["1", "a"],
        "list": ["[1]", '{"a":1}'],
        "big": ["1", str(2**64)],
        "late": [None, None],
    }
    assert batch.originals([2]) == objects[2:]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.parquet", "no Parquet", "cannot read .*in.parquet: "),
        ("in.csv", "", "cannot read .*in.csv: Empty CSV file"),
        (
            "in.csv",
            "x,y\n1,2\n3\n",
            "cannot read .*: CSV parse error: (Row #3: )?Expected 2 columns, got 1: 3",
        ),
        ("in.ndjson", '{"x": 1}\n{"x": \n', "cannot read .*: line 2 is not a JSON object: "),
        ("in.ndjson", r'{"x": "\ud800"}', r"line 1 is not a JSON object: \\ud800 is half of a"),
        ("in.jsonl", "[1]\n", "line 1 is not a JSON object: "),
        ("in.ndjson", "[" * 100_000, "line 1 is not a JSON object: "),
        ("in.xlsx", "x", r"has an unknown format: its name must end in \.parquet, \.csv, "),
    ],
)
def test_an_unreadable_file_is_reported(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        list(open_table(tmp_path / name, NUMBER).batches())


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the file .*in.csv does not exist"):
        open_table(tmp_path / "in.csv", NUMBER)


def test_a_field_that_is_not_utf8_is_reported(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"said\n" + "süß\n".encode("latin-1"))
    with pytest.raises(DataError, match="in.csv is not UTF-8"):
        list(open_table(tmp_path / "in.csv", REVIEW).batches())


def test_an_output_with_an_unknown_format_or_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="out.txt has an unknown format"):
        check_output(tmp_path / "out.txt")
    with pytest.raises(DataError, match="cannot write out.csv: the folder .*absent does not exist"):
        check_output(tmp_path / "absent/out.csv")


def test_values_that_csv_cannot_represent_are_written_as_json(tmp_path: Path) -> None:
    batch = pa.record_batch(
        {
            "list": pa.array([[1.5, None], None]),
            "word": pa.array(["a", "b"]).dictionary_encode(),
            "price": pa.array([Decimal("1.50"), None]),
            "day": pa.array([0, 1], pa.date32()),
        }
    )
    path = tmp_path / "out.csv"
    with open_sink(path, path, batch.schema) as sink:
        sink.write_batch(batch)
    assert path.read_text(encoding="utf-8").splitlines() == [
        '"list","word","price","day"',
        '"[1.5,null]","a","1.50","1970-01-01"',
        ',"b",,"1970-01-02"',
    ]


def test_a_value_that_the_format_cannot_hold_is_reported(tmp_path: Path) -> None:
    batch = pa.record_batch({"bytes": pa.array([b"\xff"])})
    with pytest.raises(DataError, match="cannot write .*out.csv: Invalid UTF8"):
        with open_sink(tmp_path / "out.csv", tmp_path / "out.csv", batch.schema) as sink:
            sink.write_batch(batch)


def test_small_batches_share_a_row_group_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    small, large = (pa.record_batch({"x": np.arange(rows)}) for rows in (10, 65_536))
    with open_sink(path, path, small.schema.with_metadata({"model_name": "iris"})) as sink:
        for batch in (large, large, small, small):
            sink.write_batch(batch)
    file = pq.ParquetFile(path)
    groups = [file.metadata.row_group(group) for group in range(file.metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [65_536, 65_536, 20]
    assert {group.column(0).compression for group in groups} == {"ZSTD"}
    assert file.schema_arrow.metadata[b"model_name"] == b"iris"
