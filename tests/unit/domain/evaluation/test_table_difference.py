"""What differs between two versions of a table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from domain.contract import Category, ModelSpec, Number, Quantity
from domain.data.dataset import Dataset
from domain.evaluation.table_difference import input_drift, table_differences
from domain.monitoring.profile import profile_inputs

SPEC = ModelSpec(
    "made", (Number("age", "", 0, 200), Category("city", ("Oslo", "Bergen"))), Quantity("price")
)


def made(shift: float = 0.0, city: str = "Oslo") -> Dataset:
    """A hundred rows."""
    age = np.linspace(20, 80, 100) + shift
    inputs = pd.DataFrame({"age": age, "city": np.where(np.arange(100) % 2, city, "Bergen")})
    return Dataset("made", "here", inputs, pd.Series(age, name="price"))


def test_rows_columns_types_and_missing_values_are_compared() -> None:
    old = pd.DataFrame({"a": [1, 2], "b": [1.0, 2.0], "c": ["x", "y"]})
    new = pd.DataFrame({"a": [1, 2, 3, 4], "b": [1.0, 2.0, np.nan, 4.0], "d": [0] * 4})
    assert table_differences(old, new.assign(a=["1"] * 4)) == [
        "rows: 2, now 4",
        "column c: is gone",
        "column d: is new",
        "column a: its type was int64, now str",
        "column b: 0.00% missing, now 25.00%",
    ]
    assert not table_differences(old, old)


def test_inputs_that_drifted_are_listed_the_strongest_first() -> None:
    profiles = profile_inputs(SPEC, made().encoded(SPEC))
    (stable,) = input_drift(profiles, SPEC, made())
    assert stable.startswith("drift: none; the largest population stability index is 0.0")
    lines = input_drift(profiles, SPEC, made(40, "Bergen"))
    assert [line.partition(":")[0] for line in lines] == ["drift of age", "drift of city"]
    scores = [float(line.split()[-1]) for line in lines]
    assert scores[0] > scores[1] > 0.1


def test_data_that_break_the_older_contract_are_a_line() -> None:
    profiles = profile_inputs(SPEC, made().encoded(SPEC))
    (line,) = input_drift(profiles, SPEC, made(500))
    assert line.startswith("drift of age: cannot be measured by the older contract: ")
    lines = input_drift(profiles, SPEC, made(500, "Bergen"))  # the others are measured
    assert len(lines) == 2 and lines[1].startswith("drift of city: population stability index")
