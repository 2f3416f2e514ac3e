"""The model in MLflow predicts for data frames, whatever their columns are called."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from domain.contract import Category, ModelSpec, Number, Quantity
from infrastructure.tracking.served_model import ServedModel
from tests.protocols import DECISIONS, RISK, RISKS, risk_of

SPEC = ModelSpec(
    "made",
    (
        Number("size", "", 0, 10),
        Number("self", "", 0, 10, nullable=True),
        Category("colour", ("red", "blue"), nullable=True),
    ),
    Quantity("sum"),
)


def add_up(encoded: np.ndarray) -> np.ndarray:
    """Predicts the sum of a row in every column; missing values count 100."""
    sums = np.nan_to_num(encoded, nan=100.0).sum(axis=1)
    return np.stack([sums, sums, sums], axis=1)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"size": [1.0, 2.0]}, [201, 202]),
        ({"size": [1.0, 2.0], "self": [3.0, None]}, [104, 202]),
        ({"colour": ["blue", None], "size": [1.0, 2.0]}, [102, 202]),
        ({"colour": ["blue", "red"], "self": [3.0, 4.0], "size": [1.0, 2.0]}, [5, 6]),
    ],
)
def test_an_optional_column_of_any_name_may_be_left_out(
    columns: dict[str, list[object]], expected: list[float]
) -> None:
    frame = pd.DataFrame(columns)
    predictions = ServedModel(SPEC, add_up).predict(frame)
    assert predictions["prediction"].tolist() == expected
    assert frame.columns.tolist() == list(columns), "the caller's frame is unchanged"


def test_a_column_that_is_not_an_input_may_be_duplicated() -> None:
    frame = pd.DataFrame([[1.0, "a", "b"]], columns=["size", "note", "note"])
    assert ServedModel(SPEC, add_up).predict(frame)["prediction"].tolist() == [201]


def test_predictions_follow_the_decision_threshold_and_probabilities_stay() -> None:
    found = ServedModel(RISK, risk_of).predict(pd.DataFrame(RISKS, columns=["risk"]))
    assert found["prediction"].tolist() == DECISIONS
    assert found["yes"].tolist() == pytest.approx([0.1, 0.2, 0.45, 0.9])
