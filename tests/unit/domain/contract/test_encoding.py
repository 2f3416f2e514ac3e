"""Encoding of words, missing values and numbers."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from domain.contract import (
    Category,
    ModelSpec,
    Number,
    RepeatedValues,
    Tensor,
    Text,
    as_word,
    json_unicode_fault,
)
from domain.errors import InputError
from tests.contracts import FLAT, REVIEW, SOLD, input_refusal


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("east", "east"),
        (np.str_("east"), "east"),
        (True, "true"),
        (np.False_, "false"),
        (1, "1"),
        (1.0, "1"),
        (np.int64(1), "1"),
        (np.float32(-2), "-2"),
        (0.5, "0.5"),
        (math.inf, "inf"),
    ],
)
def test_every_plain_value_is_a_word(value: Any, word: str) -> None:
    assert as_word(value) == word


@pytest.mark.parametrize("missing", [pd.NA, pd.NaT])
def test_a_value_that_pandas_treats_as_missing_is_missing(missing: Any) -> None:
    values = [missing, None]
    assert np.isnan(Number("age", "", 0, 120, nullable=True).encode(values)).all()
    assert np.isnan(Category("side", ("east",), nullable=True).encode(values)).all()
    assert Text("note", nullable=True).encode(values)[:, 0].tolist() == ["", ""]
    for item in (FLAT.inputs[1], Category("side", ("<NA>", "NaT")), REVIEW.inputs[0]):
        assert input_refusal(item, missing) == f"row 0, {item.name}: a value is missing"


def test_a_column_of_float32_is_compared_with_the_range_in_float32() -> None:
    spec = ModelSpec("share", (Number("x", "", 0, 0.1),), SOLD)
    assert float(np.float32(0.1)) > 0.1
    for value in (np.float32(0.1), np.float32(0)):
        column = np.array([value, 0], np.float32)
        assert spec.encode({"x": column})[:, 0].tolist() == column.tolist()
    above = np.nextafter(np.float32(0.1), np.float32(1))
    with pytest.raises(InputError, match="row 1, x: 0.1 is outside"):
        spec.encode({"x": np.array([0, above], np.float32)})
    with pytest.raises(InputError, match="row 0, x"):
        spec.encode({"x": np.array([above], np.float64)})
    with pytest.raises(InputError, match="row 0, x: -1.4013e-45 is outside"):
        spec.encode({"x": np.array([np.nextafter(np.float32(0), np.float32(-1))], np.float32)})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_column_of_float32_with_no_finite_number_is_refused(value: float) -> None:
    spec = ModelSpec("share", (Number("x", "", 0, 0.1),), SOLD)
    with pytest.raises(InputError, match="row 1, x: "):
        spec.encode({"x": np.array([0, value], np.float32)})


# fields of CSV files

AGE = Number("age", "", 0, 120, nullable=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("7", 7),
        (" 7.50 ", 7.5),
        ("+.5e1", 5),
        ("007", 7),
        ("", None),
        ("  ", None),
        ("NA", None),
        (" nan", None),
        ("1,5", "1,5"),
        ("1_000", "1_000"),
        ("１２", "１２"),
        ("inf", "inf"),
        ("True", "True"),
    ],
)
def test_a_field_of_a_number_is_a_number_missing_or_refused_as_text(field: str, value: Any) -> None:
    assert AGE.parse(field) == value


@pytest.mark.parametrize(
    ("field", "word"),
    [
        ("Tech", "Tech"),
        (" Tech ", "Tech"),
        ("tech", "tech"),
        ("3", "3"),
        ("3.0", "3"),
        ("3e0", "3"),
        ("03", "03"),
        ("04", "04"),
        ("True", "true"),
        ("FALSE", "FALSE"),
        ("4.0", "4.0"),
        ("NULL", "NULL"),
        ("NA", None),
        (" ", None),
    ],
)
def test_a_field_of_a_category_is_the_word_that_it_can_be_read_as(field: str, word: Any) -> None:
    words = ("Tech", "3", "03", "true", "NULL")
    assert Category("team", words).parse(field) == word


def test_a_field_of_a_text_is_the_text_without_blanks_around_it() -> None:
    assert [Text("review").parse(field) for field in (" so so\n", "NA", " ")] == [
        "so so",
        "NA",
        None,
    ]


def test_a_field_of_a_tensor_is_json() -> None:
    image = Tensor("image", (1, 2), 0, 9)
    assert image.parse("[[1, 2.5]]") == [[1, 2.5]]
    assert [image.parse(field) for field in ("[[1", "")] == ["[[1", ""]


# repeated values


def test_repeated_values_are_those_of_the_array() -> None:
    values = RepeatedValues.of(np.array([3, 1, 3, 2]))
    assert [*values] == [3, 1, 3, 2]
    assert (len(values), values[1], [*values[1:3]]) == (4, 1, [1, 3])
    assert [*values[np.array([0, 3])]] == [3, 2]


@pytest.mark.parametrize(
    "values",
    [
        np.array([1, 3, 1]),
        np.array([1.0, np.nan, 3.0]),
        np.array([True, False]),
        RepeatedValues(["a", None, 1], np.array([0, 0, 2, 1])),
    ],
)
def test_repeated_values_are_encoded_as_one_by_one(values: Any) -> None:
    category = Category("code", ("a", "1", "3", "true", "false"), nullable=True)
    expected = category.encode([*values])
    assert np.array_equal(category.encode(values), expected, equal_nan=True)


def test_the_first_refused_row_of_repeated_values_is_named() -> None:
    values = RepeatedValues(["b", "a", None], np.array([1, 1, 2, 0]))
    category = Category("code", ("a",))
    message = "row 2, code: a value is missing"
    assert input_refusal(category, *values) == f"{message}; row 3, code: 'b' is not one of a"
    with pytest.raises(InputError, match=f"^{message}$"):
        category.encode(values)


@pytest.mark.parametrize("repeated", [True, False])
def test_unknown_words_are_counted_but_missing_ones_are_not(repeated: bool) -> None:
    values: Any = ["a", "z", None, "z", 7]
    if repeated:
        values = RepeatedValues(["z", "a", None, 7], np.array([1, 0, 2, 0, 3]))
    category = Category("code", ("a",), nullable=True, unseen="missing")
    assert category.count_unknown(values) == 3


@pytest.mark.parametrize(
    ("document", "half"),
    [
        (r'"\ud83d\ude00"', None),
        (r'"\\ud800 \"\\"', None),  # an escaped backslash
        (r'"a\ud800"', r"\ud800"),
        (r'"\\\uDFFF"', r"\uDFFF"),
        (r'"\ud83d\ude00\ude00"', r"\ude00"),
        (r'"\ud800\u0041"', r"\ud800"),
        ('"😀"', None),
    ],
)
def test_json_with_half_of_a_surrogate_pair_is_not_unicode(document: str, half: str | None) -> None:
    fault = json_unicode_fault(document.encode())
    assert fault == (half and f"{half} is half of a surrogate pair: send valid Unicode")
    assert (fault is None) == json.loads(document).isprintable()
