"""Permutation importance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from domain.contract import Classes, ModelSpec, Number, Quantity, Tensor, Text
from domain.evaluation.importance import permutation_importances
from domain.evaluation.measures import Measure, default_measure

RNG = np.random.default_rng(0)
NUMBERS = (Number("used", "", 0, 1), Number("idle", "", 0, 1))
SPEC = ModelSpec("m", NUMBERS, Classes(("low", "high")))
ACCURACY = default_measure(SPEC)
ROWS = RNG.random((400, 2), dtype=np.float32)
ACTUAL = (ROWS[:, 0] > 0.5).astype(int)


def by_first_column(rows: np.ndarray) -> np.ndarray:
    """Probabilities of two classes, by the first column alone."""
    high = (rows[:, 0] > 0.5).astype(float)
    return np.stack([1 - high, high], axis=1)


class CountingModel:
    """A model that counts its calls and remembers the number of rows of the last one."""

    def __init__(self) -> None:
        self.calls = 0
        self.rows = 0

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        self.calls, self.rows = self.calls + 1, len(rows)
        return by_first_column(rows)


def test_only_an_input_that_the_model_uses_is_important() -> None:
    found = permutation_importances(by_first_column, ROWS, ACTUAL, ACCURACY)
    assert found["used"] == pytest.approx(0.5, abs=0.06)  # half of the classes are guessed
    assert found["idle"] == 0
    assert list(found) == ["used", "idle"]


@pytest.mark.parametrize(
    ("name", "decrease"),
    [
        ("r2", 2.0),  # the variance of the difference of two draws is twice that of one
        ("neg_mean_absolute_error", 1 / 3),  # the mean difference of two uniform draws
    ],
)
def test_the_importance_for_a_quantity_is_in_the_unit_of_the_measure(
    name: str, decrease: float
) -> None:
    measure = Measure(replace(SPEC, output=Quantity("q")), name)
    actual = ROWS[:, 0].astype(float)
    found = permutation_importances(lambda rows: rows[:, [0, 0, 0]], ROWS, actual, measure)
    assert found["used"] == pytest.approx(decrease, rel=0.1)
    assert found["idle"] == 0


def test_the_importance_by_the_area_under_the_curve_is_its_fall_to_one_half() -> None:
    found = permutation_importances(by_first_column, ROWS, ACTUAL, Measure(SPEC, "roc_auc"))
    assert found == {"used": pytest.approx(0.5, abs=0.06), "idle": 0}


def test_the_same_seed_gives_equal_importances_and_the_rows_stay_unchanged() -> None:
    rows = ROWS.copy()
    first = permutation_importances(by_first_column, rows, ACTUAL, ACCURACY, random_state=3)
    assert first == permutation_importances(by_first_column, rows, ACTUAL, ACCURACY, random_state=3)
    assert first != permutation_importances(by_first_column, rows, ACTUAL, ACCURACY, random_state=5)
    assert (rows == ROWS).all()


def test_the_columns_of_a_tensor_are_shuffled_together() -> None:
    spec = ModelSpec("m", (Tensor("image", (2,), 0, 1), NUMBERS[1]), Classes(("no", "yes")))
    left = RNG.integers(0, 2, 300)
    rows = np.stack([left, 1 - left, np.zeros(300)], axis=1).astype(np.float32)

    def sum_is_one(encoded: np.ndarray) -> np.ndarray:
        yes = (encoded[:, 0] + encoded[:, 1] == 1).astype(float)
        return np.stack([1 - yes, yes], axis=1)

    found = permutation_importances(sum_is_one, rows, np.ones(300, int), default_measure(spec))
    assert found == {"image": 0, "idle": 0}  # shuffled separately, the sum would change


@pytest.mark.parametrize("alone", [Tensor("image", (2,), 0, 1), Text("review")])
def test_a_tensor_or_a_text_alone_is_not_measured(alone: Tensor | Text) -> None:
    model = CountingModel()
    spec = replace(SPEC, inputs=(alone,))
    assert not permutation_importances(model, ROWS, ACTUAL, default_measure(spec))
    assert model.calls == 0


def test_a_number_alone_is_measured() -> None:
    spec = replace(SPEC, inputs=NUMBERS[:1])
    assert (
        permutation_importances(by_first_column, ROWS[:, :1], ACTUAL, default_measure(spec))["used"]
        > 0.4
    )


def test_many_rows_are_sampled() -> None:
    model, rows = CountingModel(), RNG.random((1500, 2), dtype=np.float32)
    found = permutation_importances(model, rows, (rows[:, 0] > 0.5).astype(int), ACCURACY)
    assert (model.calls, model.rows) == (1 + 2 * 5, 1000)
    assert found["used"] > 0.4


@pytest.mark.parametrize(("inputs", "calls", "measured"), [(200, 401, 200), (600, 501, 500)])
def test_wide_contracts_call_the_model_a_bounded_number_of_times(
    inputs: int, calls: int, measured: int
) -> None:
    model = CountingModel()
    spec = replace(SPEC, inputs=tuple(Number(f"n{place}", "", 0, 1) for place in range(inputs)))
    rows = RNG.random((30, inputs), dtype=np.float32)
    found = permutation_importances(model, rows, np.zeros(30, int), default_measure(spec))
    assert model.calls == calls
    assert len(found) == measured
