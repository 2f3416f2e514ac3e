"""Encoding of words, missing values and numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from domain.contract import Category, ModelSpec, Number, Text, as_word
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
