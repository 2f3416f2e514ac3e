"""Columns of text that are read as numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from application.scaffold.formatted_numbers import decimal_mark, read_as_numbers
from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.data.tables import read_table
from domain.errors import DataError
from infrastructure.scoring.tables import open_table


@pytest.mark.parametrize(
    ("words", "mark"),
    [
        (["$12.50", "$1,234.00"], "."),
        (["1,234", "12"], "."),
        (["1.234 €", "99 €"], ","),
        (["25,77", "3,1"], ","),
        (["1'234.50", "7"], "."),
        (["12 %", "n/k"], "."),
    ],
)
def test_the_decimal_mark_is_that_which_reads_the_words(words: list[str], mark: str) -> None:
    assert decimal_mark(words) == mark


@pytest.mark.parametrize(
    ("words", "numbers", "decimal", "unit"),
    [
        (["$12.50", None, "-$1,234", "($3.00)"], [12.5, np.nan, -1234, -3], ".", "$"),
        (["1.234,50 €", "NA", "7 €"], [1234.5, np.nan, 7], ",", "€"),
        (["12 %", "3.5%", "4"], [12, 3.5, 4], ".", "%"),
        (["NT$1,200", "NT$ 900"], [1200, 900], ".", "NT$"),
        (["1,200元", "900元"], [1200, 900], ".", "元"),
        (["1 234,5", "2 000"], [1234.5, 2000], ",", ""),
    ],
)
def test_text_becomes_numbers_with_their_unit(
    words: list[str], numbers: list[float], decimal: str, unit: str
) -> None:
    read, found = read_as_numbers(pd.Series(words, name="price"))
    assert np.array_equal(read, numbers, equal_nan=True) and read.dtype == np.float64
    assert (found.decimal, found.unit) == (decimal, unit)


def test_an_example_shows_how_text_is_read() -> None:
    _, found = read_as_numbers(pd.Series(["$12.50", "$1,234.50"], name="price"))
    assert found.example == "'$1,234.50' is read as 1234.5"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["$1", "n/k", "n/k"], "'my price' has 'n/k', in 2 of 3 rows: write a number"),
        (["$1.50", "1,2,3"], "has '1,2,3', in 1 of 2 rows"),
        (["(-3)", "(4)"], r"has '\(-3\)'"),
        ([1.5, 2.0], "'my price' is not text"),
    ],
)
def test_a_column_that_is_not_such_text_is_refused(values: list[object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_as_numbers(pd.Series(values, name="my price"))


def saved(frame: pd.DataFrame, path: Path) -> Path:
    """The file, with this table in it."""
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("decimal", "words"),
    [(".", ["$1,234.50", "12", "(7)", ""]), (",", ["1.234,50 €", "12", "-7", ""])],
)
def test_training_and_scoring_read_the_same_numbers(
    decimal: str, words: list[str], suffix: str, tmp_path: Path
) -> None:
    made = Number("price", "", -10, 2000, nullable=True, decimal=decimal)  # type: ignore[arg-type]
    frame = pd.DataFrame({"price": [word or None for word in words], "y": ["a", "b"] * 2})
    path = saved(frame, tmp_path / f"in{suffix}")
    spec = ModelSpec("made", (made,), Classes(("a", "b"), "y"))
    learned = read_table(str(path), spec)
    assert learned.inputs["price"].dtype == np.float64
    (batch,) = open_table(path, spec).batches()
    for encoded in (learned.encoded(spec), spec.encode(batch.columns)):
        assert np.array_equal(encoded[:, 0], [1234.5, 12, -7, np.nan], equal_nan=True)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_text_that_is_no_number_is_refused_in_scoring(suffix: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"price": ["$3", "1,5"]})
    path = saved(frame, tmp_path / f"in{suffix}")
    spec = ModelSpec("made", (Number("price", "", 0, 9, decimal="."),), Classes(("a", "b"), "y"))
    (batch,) = open_table(path, spec).batches()
    assert spec.reasons(batch.columns) == {1: "price: '1,5' is not a number"}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_target_may_be_such_text(suffix: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1, 2], "price": ["1.234,50 €", "7 €"]})
    path = saved(frame, tmp_path / f"in{suffix}")
    spec = ModelSpec("made", (Number("x", "", 0, 9),), Quantity("price", "€", decimal=","))
    assert read_table(str(path), spec).target.tolist() == [1234.5, 7]
