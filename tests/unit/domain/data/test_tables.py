"""Reading of tables in files."""

from __future__ import annotations

import datetime
import gzip
import hashlib
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domain.contract import Category, Classes, ModelSpec, Number, Quantity
from domain.data.tables import check_target, read_frame, read_table
from domain.errors import DataError
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
    """The path of a new file with this content."""
    path = folder / "made.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def test_the_columns_of_the_contract_are_read_in_its_order(table: Path) -> None:
    dataset = read_table(str(table), SPEC)
    assert dataset.rows() == [(1.5, "s"), (None, "l"), (3.0, "m")]
    assert dataset.target.tolist() == ["yes", "no", "no"]
    assert dataset.encoded_target(SPEC).tolist() == [1, 0, 0]


def test_rows_are_encoded_as_requests_are(table: Path) -> None:
    dataset = read_table(str(table), SPEC)
    np.testing.assert_array_equal(dataset.encoded(SPEC), SPEC.encode_rows(dataset.rows()))
    np.testing.assert_array_equal(dataset.encoded(SPEC), [[1.5, 0], [np.nan, 1], [3, np.nan]])


def test_the_source_has_the_path_and_digest_of_the_file(table: Path) -> None:
    dataset = read_table(str(table), SPEC)
    assert dataset.files == (table,)
    assert dataset.source == f"{table}, sha256 {hashlib.sha256(TABLE.encode()).hexdigest()}"


def test_a_relative_path_is_resolved_from_the_clone() -> None:
    with pytest.raises(DataError, match=str(ROOT / "no" / "such.csv")):
        read_frame("no/such.csv")


@pytest.mark.parametrize("name", ["t.csv.gz", "t.parquet", "t.pq", "t.tsv", "t.txt"])
def test_csv_and_parquet_give_the_same_data(table: Path, tmp_path: Path, name: str) -> None:
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
        ([Decimal("2.50"), None], [2.5, None]),
        ([datetime.date(2020, 2, 1), None], [pd.Timestamp(2020, 2, 1), None]),
    ],
)
def test_columns_of_pandas_extension_types_become_plain_values(
    tmp_path: Path, column: object, values: list[object]
) -> None:
    path = str(tmp_path / "t.parquet")
    pd.DataFrame({"x": column}).to_parquet(path)
    read = read_frame(path)["x"]
    assert [None if pd.isna(value) else value for value in read.tolist()] == values
    assert isinstance(read.dtype, np.dtype) or read.dtype == "str"
    assert not any(isinstance(value, Decimal) for value in read.tolist())


@pytest.mark.parametrize("path", ["https://example.com/t.csv", "."])
def test_what_is_not_a_local_file_is_refused_with_what_to_do(path: str) -> None:
    with pytest.raises(DataError, match="not a local file: write it as data.source.address"):
        read_frame(path)


def test_a_numeric_target_becomes_the_classes_of_the_contract(tmp_path: Path) -> None:
    spec = ModelSpec("made", (Number("x", "", 0, 9),), Classes(("0", "1"), "y"))
    for truth in ("1.0\n2,0.0", "1\n2,0"):
        dataset = read_table(written(tmp_path, f"x,y\n1,{truth}\n"), spec)
        assert dataset.target.tolist() == ["1", "0"]


def test_a_missing_column_is_named(table: Path) -> None:
    spec = ModelSpec("made", (Number("age", "", 0, 9),), Classes(("no", "yes"), "class"))
    message = "missing columns of the contract of made: age; it has größe"
    with pytest.raises(DataError, match=message):
        read_table(str(table), spec)


def test_rows_without_a_target_are_counted(tmp_path: Path) -> None:
    spec = ModelSpec("made", (Number("x", "", 0, 9),), Quantity("y"))
    with pytest.raises(DataError, match="2 of 3 rows have no y"):
        read_table(written(tmp_path, "x,y\n1,\n2,\n3,4\n"), spec)
    dataset = read_table(written(tmp_path, "x,y\n1,\n2,\n3,4\n"), spec, drop_unlabelled=True)
    assert (dataset.rows(), dataset.target.tolist()) == ([(3,)], [4])


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
        ("a b,c,a b\n1,2,3\n", "several columns have the name 'a b'"),
        ("a,b\n1,2\n3,4,5\n", "cannot read"),
        ("a,b\n1,2,3\n4,5,6\n", "more values than the first line has names"),
        ("a,b\n1,\xe4\n".encode("latin-1"), "not UTF-8"),
        ("\xe4,b\n1,2\n".encode("latin-1"), "not UTF-8"),
        (b"PAR1\x15\x04\x15\n\x00", "rename it so that it ends in .parquet"),
        (b"PK\x03\x04\x14\x00\x06\x00\x08\n\xe4", "an Excel file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\n\x00", "an old Excel file"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), "compressed"),
    ],
)
def test_a_file_that_is_not_a_table_is_refused(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_frame(written(tmp_path, text))


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(DataError, match="cannot read"):
        read_frame(str(path))


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv.zip", "t.csv.xz", "t.csv.bz2"])
@pytest.mark.parametrize("damage", ["cut", "garbled", "another kind"])
def test_a_damaged_compressed_file_is_refused(tmp_path: Path, name: str, damage: str) -> None:
    path = tmp_path / name
    pd.DataFrame({"a": range(5000), "b": range(5000)}).to_csv(path, index=False)
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(
        {
            "cut": whole[:middle],
            "garbled": whole[:200] + bytes(middle) + whole[200 + middle :],
            "another kind": b"a,b\n1,2\n",
        }[damage]
    )
    with pytest.raises(DataError, match="cannot read|has no rows|is empty|not UTF-8"):
        read_frame(str(path))


NO_VALUES = ["NA", "None", "N/A", "null", "nan"]


@pytest.mark.parametrize("word", NO_VALUES)
def test_a_word_such_as_na_is_missing_among_numbers_and_booleans(tmp_path: Path, word: str) -> None:
    text = f"number,truth\n1.5,True\n{word},{word}\n2,false\n"
    frame = read_frame(written(tmp_path, text))
    assert frame["number"].dtype == np.float64
    assert [None if pd.isna(value) else value for value in frame["truth"]] == [True, None, False]
    assert frame["number"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize("word", NO_VALUES)
def test_a_word_such_as_na_is_a_word_among_words_as_in_requests(tmp_path: Path, word: str) -> None:
    spec = ModelSpec(
        "made", (Category("x", ("a", word), nullable=True),), Classes(("no", word), "y")
    )
    dataset = read_table(written(tmp_path, f"x,y\na,no\n{word},{word}\n,no\n"), spec)
    assert dataset.rows() == [("a",), (word,), (None,)]
    np.testing.assert_array_equal(dataset.encoded(spec), spec.encode_rows(dataset.rows()))
    assert dataset.encoded_target(spec).tolist() == [0, 1, 0]


def test_numbers_with_leading_zeros_stay_words(tmp_path: Path) -> None:
    frame = read_frame(
        written(tmp_path, ",zip,code,n,share\n1,01234,,10,0.5\n2,12345,007,0,0.25\n")
    )
    assert frame["zip"].tolist() == ["01234", "12345"]
    assert frame["code"].isna().tolist() == [True, False]
    assert frame["code"][1] == "007"
    assert (frame["n"].tolist(), frame["share"].tolist()) == ([10, 0], [0.5, 0.25])


def test_a_named_index_of_parquet_is_a_column_and_an_unnamed_one_is_dropped(tmp_path: Path) -> None:
    path, frame = tmp_path / "t.parquet", pd.DataFrame({"x": [1, 2]}, index=[7, 8])
    frame.to_parquet(path)
    assert read_frame(str(path)).columns.tolist() == ["x"]
    frame.rename_axis("age").to_parquet(path)
    read = read_frame(str(path))
    assert (read["age"].tolist(), read.index.tolist()) == ([7, 8], [0, 1])
    frame.index = pd.MultiIndex.from_arrays([[1, 2], [3, 4]], names=["a", None])
    frame.to_parquet(path)
    assert read_frame(str(path)).columns.tolist() == ["a", "x"]


def test_multi_level_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pd.DataFrame({("a", "b"): [1], ("a", "c"): [2]}).to_parquet(path)
    with pytest.raises(DataError, match="names of 2 levels: give each column one name"):
        read_frame(str(path))


def test_a_target_of_several_values_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pd.DataFrame({"x": [1, 2], "y": [[1, 2], [3]]}).to_parquet(path)
    with pytest.raises(DataError, match="y has several values in one row, such as .1 2."):
        check_target(read_frame(str(path))["y"], str(path))


def test_columns_that_the_contract_does_not_name_are_kept_apart(tmp_path: Path) -> None:
    path = written(tmp_path, "day,x,y,who\n2026-01-31,a,no,7\n2026-02-01,b,yes,8\n")
    spec = ModelSpec("words", (Category("x", ("a", "b")),), Classes(("no", "yes"), "y"))
    dataset = read_table(path, spec)
    assert list(dataset.inputs.columns) == ["x"]
    assert dataset.others is not None
    assert dataset.others.to_dict("list") == {"day": ["2026-01-31", "2026-02-01"], "who": [7, 8]}


def test_two_columns_of_one_name_in_parquet_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table([[1], [2]], names=["age", "age"]), tmp_path / "in.parquet")
    with pytest.raises(DataError, match="several columns have the name age: rename them"):
        read_frame(str(tmp_path / "in.parquet"))
