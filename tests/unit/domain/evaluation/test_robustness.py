"""Small changes of rows, and their effect on predictions."""

from __future__ import annotations

import numpy as np
import pytest

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
from domain.evaluation.robustness import instability, perturbed, spreads
from tests.kinds import KINDS

SPEC = ModelSpec(
    "parcels",
    (
        Number("weight", "kg", 0, 30, nullable=True),
        Tensor("image", (2, 2), 0, 16),
        Category("box", ("small", "large"), nullable=True),
    ),
    Classes(("cheap", "dear")),
)
QUANTITY = ModelSpec("rents", SPEC.inputs, Quantity("rent"))
RNG = np.random.default_rng(0)
ROWS = np.column_stack(
    [RNG.uniform(10, 20, 500), RNG.uniform(4, 12, (500, 4)), RNG.integers(0, 2, 500)]
).astype(np.float32)
ROWS[::7, 0] = ROWS[::5, 5] = np.nan


def test_the_spread_ignores_missing_values() -> None:
    found = spreads(SPEC, ROWS)
    assert found[0] == pytest.approx(np.nanstd(ROWS[:, 0].astype(float)))
    assert found[1:5] == pytest.approx(ROWS[:, 1:5].astype(float).std())
    assert found[5] == 0
    assert spreads(SPEC, np.full((3, 6), np.nan, np.float32)).tolist() == [0] * 6


@pytest.mark.parametrize("noise", [0.01, 0.2])
def test_noise_is_proportional_to_the_spread_of_each_input(noise: float) -> None:
    change = perturbed(SPEC, ROWS, noise, 0).astype(float) - ROWS
    wanted = noise * spreads(SPEC, ROWS)
    assert np.nanstd(change[:, 0]) == pytest.approx(wanted[0], rel=0.1)
    assert change[:, 1:5].std() == pytest.approx(wanted[1], rel=0.1)


def test_categories_missing_values_and_the_original_rows_stay_unchanged() -> None:
    before = ROWS.copy()
    after = perturbed(SPEC, ROWS, 0.5, 0)
    assert np.array_equal(ROWS, before, equal_nan=True)
    assert np.array_equal(np.isnan(after), np.isnan(ROWS))
    assert np.array_equal(after[:, 5], ROWS[:, 5], equal_nan=True)
    assert (after.shape, after.dtype) == (ROWS.shape, ROWS.dtype)


def test_noisy_values_stay_in_their_range() -> None:
    after = perturbed(SPEC, ROWS, 10.0, 0)
    assert (np.nanmin(after[:, 0]), np.nanmax(after[:, 0])) == (0, 30)
    assert (after[:, 1:5].min(), after[:, 1:5].max()) == (0, 16)


def test_the_same_seed_gives_the_same_noise() -> None:
    first = perturbed(SPEC, ROWS, 0.1, 1)
    assert np.array_equal(first, perturbed(SPEC, ROWS, 0.1, 1), equal_nan=True)
    assert not np.array_equal(first, perturbed(SPEC, ROWS, 0.1, 2), equal_nan=True)
    assert np.array_equal(perturbed(SPEC, ROWS, 0.0, 1), ROWS, equal_nan=True)


def test_a_constant_column_gets_no_noise() -> None:
    rows = np.full((9, 6), 1, np.float32)
    assert np.array_equal(perturbed(SPEC, rows, 0.5, 0), rows)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a fine film", {"a  fine film ", "a fine  film "}),
        ("film", {"film "}),
        ("film ", {"film   "}),
        ("", {" "}),
        ("a fine filmx", {"a fine filmx "}),  # one character is left
        ("a fine filmxx", {"a fine filmxx"}),
    ],
)
def test_a_text_gets_up_to_two_spaces(text: str, expected: set[str]) -> None:
    spec = ModelSpec("reviews", (Text("review", 13),), Classes(("bad", "good")))
    found = perturbed(spec, np.array([[text]] * 50, object), 0.01, 0)
    assert found.shape == (50, 1)
    assert set(found[:, 0]) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_noisy_rows_of_every_kind_keep_the_contract(kind: str) -> None:
    spec = KINDS[kind].SPEC
    rows = KINDS[kind].load().encoded(spec)
    after = perturbed(spec, rows, 0.01, 0)
    assert (after.shape, after.dtype) == (rows.shape, rows.dtype)


def test_the_instability_of_classes_is_the_share_that_changes() -> None:
    before = np.eye(2)[[0, 0, 1, 1]]
    after = np.array([[0.6, 0.4], [0.4, 0.6], [0.1, 0.9], [0.2, 0.8]])
    assert instability(SPEC, before, after) == 0.25
    assert instability(SPEC, before, before) == 0


def test_the_instability_of_a_quantity_is_relative_to_the_spread_of_predictions() -> None:
    before = np.array([[0.0, -1, 1], [4, 3, 5]])  # a standard deviation of 2
    assert instability(QUANTITY, before, before + [[1.0], [-1.0]]) == 0.5
    assert instability(QUANTITY, before, before + [0, 9, 9]) == 0
    wide = before * [1, 9, 9]  # intervals have a spread of their own
    assert instability(QUANTITY, wide, wide + [[1.0], [-1.0]]) == 0.5


def test_a_constant_prediction_is_stable_until_it_changes() -> None:
    before = np.full((3, 3), 5.0)
    assert instability(QUANTITY, before, before) == 0
    assert instability(QUANTITY, before, before + 1e-3) == np.inf


@pytest.mark.parametrize("spec", [SPEC, QUANTITY])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_the_stability_of_nan_predictions_is_undefined(spec: ModelSpec, bad: float) -> None:
    fine = np.full((2, 2), 0.5)
    broken = np.array([[0.5, 0.5], [bad, 0.5]])
    assert np.isnan(instability(spec, fine, broken))
    assert np.isnan(instability(spec, broken, fine))
    assert np.isnan(instability(spec, fine[:0], fine[:0]))


def test_a_class_changes_where_its_probability_crosses_the_threshold() -> None:
    spec = ModelSpec("m", (Number("x", "", 0, 1),), Classes(("no", "yes"), threshold=0.2))
    before = np.array([[0.81, 0.19], [0.55, 0.45]])
    after = np.array([[0.79, 0.21], [0.45, 0.55]])
    assert instability(spec, before, after) == 0.5


def test_dates_stay_as_they_are() -> None:
    spec = ModelSpec("d", (Datetime("at"), Number("x", "", -9, 9)), Quantity("y"))
    rows = spec.encode_rows([[f"2024-01-0{day}T0{day}:30", day] for day in range(1, 8)])
    moved = perturbed(spec, rows, noise=0.1, random_state=0)
    assert (moved[:, :-1] == rows[:, :-1]).all()
    assert (moved[:, -1] != rows[:, -1]).all()


def test_numbers_outside_a_range_that_accepts_them_are_not_moved_into_it() -> None:
    spec = ModelSpec("x", (Number("x", "", 0, 1, outside="accept"),), Quantity("y"))
    rows = spec.encode_rows([[50], [60], [70]])
    assert (perturbed(spec, rows, noise=0.01, random_state=0) > 40).all()
