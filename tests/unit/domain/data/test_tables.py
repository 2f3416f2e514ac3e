"""Tables in files, as training reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd
import pytest

from domain.data.tables import read_frame, read_table
from domain.errors import DataError
from domain.models.contract import Category, Classes, ModelSpec, Number, Quantity
from shared.paths import ROOT

SPEC = ModelSpec(
    "made",
    (
        Number("Total Charges", "", 0, 10, nullable=True),
        Category("größe", ("s", "l"), unseen="missing"),
    ),
    Classes(("no", "yes"), "class"),
)
TABLE = "größe,extra,Total Charges,class\ns,1,1.5,yes\nl,2, ,no\nm,3,3,no\n"


@pytest.fixture(name="table")
def _table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(TABLE, encoding="utf-8")
    return path


def written(folder: Path, text: str | bytes) -> str:
    """Path of a file with this content."""
    path = folder / "made.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def test_the_columns_of_the_contract_are_read_in_its_order(table: Path) -> None:
    dataset = read_table(str(table), SPEC)
    assert dataset.rows() == [(1.5, "s"), (None, "l"), (3.0, "m")]
    assert dataset.target.tolist() == ["yes", "no", "no"]
    assert dataset.answers(SPEC).tolist() == [1, 0, 0]


def test_rows_are_encoded_as_requests_are(table: Path) -> None:
    dataset = read_table(str(table), SPEC)
    np.testing.assert_array_equal(dataset.encoded(SPEC), SPEC.encode_rows(dataset.rows()))
    np.testing.assert_array_equal(dataset.encoded(SPEC), [[1.5, 0], [np.nan, 1], [3, np.nan]])


def test_the_file_is_known_by_its_path_and_digest(table: Path) -> None:
    dataset = read_table(str(table), SPEC)
    assert dataset.files == (table,)
    assert dataset.source == f"{table}, sha256 {hashlib.sha256(TABLE.encode()).hexdigest()}"


def test_a_relative_path_counts_from_the_clone() -> None:
    with pytest.raises(DataError, match=str(ROOT / "no" / "such.csv")):
        read_frame("no/such.csv")


@pytest.mark.parametrize("name", ["t.csv.gz", "t.parquet", "t.pq", "t.tsv", "t.txt"])
def test_csv_and_parquet_say_the_same(table: Path, tmp_path: Path, name: str) -> None:
    path, frame = tmp_path / name, read_frame(str(table))
    if name.endswith(("parquet", "pq")):
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep={"t.tsv": "\t", "t.txt": ";"}.get(name, ","))
    assert read_table(str(path), SPEC).fingerprint == read_table(str(table), SPEC).fingerprint


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pd.array([1, None], "Int64"), [1.0, None]),
        (pd.array([1, 2], "Int8"), [1, 2]),
        (pd.array([0.5, None], "Float32"), [0.5, None]),
        (pd.array([True, None], "boolean"), [True, None]),
        (pd.array([True, False], "boolean"), [True, False]),
        (pd.array(["a", None], "string"), ["a", None]),
        (pd.Categorical(["a", None]), ["a", None]),
        (pd.Categorical([2, 1]), [2, 1]),
    ],
)
def test_columns_of_pandas_own_kinds_come_as_plain_values(
    tmp_path: Path, column: object, values: list[object]
) -> None:
    path = str(tmp_path / "t.parquet")
    pd.DataFrame({"x": column}).to_parquet(path)
    read = read_frame(path)["x"]
    assert [None if pd.isna(value) else value for value in read.tolist()] == values
    assert isinstance(read.dtype, np.dtype) or read.dtype == "str"


@pytest.fixture(name="address")
def _address(table: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(table.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_table_is_read_by_its_url(table: Path, address: str) -> None:
    dataset = read_table(f"{address}/table.csv", SPEC)
    assert dataset.fingerprint == read_table(str(table), SPEC).fingerprint
    assert (dataset.files, dataset.source) == ((), f"{address}/table.csv")


def test_a_url_that_has_no_table_is_refused(address: str) -> None:
    with pytest.raises(DataError, match="404"):
        read_frame(f"{address}/other.csv")


def test_a_target_is_told_in_the_words_of_the_contract(tmp_path: Path) -> None:
    spec = ModelSpec("made", (Number("x", "", 0, 9),), Classes(("0", "1"), "y"))
    for truth in ("1.0\n2,0.0", "1\n2,0"):
        dataset = read_table(written(tmp_path, f"x,y\n1,{truth}\n"), spec)
        assert dataset.target.tolist() == ["1", "0"]


def test_a_column_that_is_not_there_is_named(table: Path) -> None:
    spec = ModelSpec("made", (Number("age", "", 0, 9),), Classes(("no", "yes"), "class"))
    with pytest.raises(DataError, match="lacks what the contract of made names: age; it has größe"):
        read_table(str(table), spec)


def test_rows_without_a_target_are_counted(tmp_path: Path) -> None:
    spec = ModelSpec("made", (Number("x", "", 0, 9),), Quantity("y"))
    with pytest.raises(DataError, match="2 of 3 rows have no y"):
        read_table(written(tmp_path, "x,y\n1,\n2,\n3,4\n"), spec)


def test_a_quantity_must_be_numbers(tmp_path: Path) -> None:
    spec = ModelSpec("made", (Number("x", "", 0, 9),), Quantity("y"))
    with pytest.raises(DataError, match="y must be numbers"):
        read_table(written(tmp_path, "x,y\n1,many\n2,3\n"), spec)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n", "has no rows"),
        ("a,b,a\n1,2,3\n", "several columns have the name a"),
        ("a,b\n1,2\n3,4,5\n", "cannot read"),
        ("a,b\n1,2,3\n4,5,6\n", "more values than its first line has names"),
        ("a,b\n1,\xe4\n".encode("latin-1"), "not UTF-8"),
    ],
)
def test_a_file_that_is_no_table_is_refused(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_frame(written(tmp_path, text))


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(DataError, match="cannot read"):
        read_frame(str(path))
