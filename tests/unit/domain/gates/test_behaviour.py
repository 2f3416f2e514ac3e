"""Gates on the behaviour of a model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from domain import gates
from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.evaluation.parity import Parity

REGRESSION = ModelSpec("rents", (Number("area", "m²", 0, 500),), Quantity("rent", coverage=0.9))
CLASSES = ModelSpec("flowers", (Number("length", "cm", 0, 9),), Classes(("small", "large")))
TWO_OF_THREE = np.array([[0.5, 0.5], [1, 0], [0, 1]])
SURE = np.eye(2)[[0, 1] * 10]


def test_valid_predictions_are_accepted() -> None:
    assert gates.predictions_are_valid(CLASSES, np.array([[0.25, 0.75], [1, 0]])).accepted
    assert gates.predictions_are_valid(REGRESSION, np.array([[5.0, 4, 6], [5, 5, 5]])).accepted


@pytest.mark.parametrize("row", [[0.5, 0.6], [-0.1, 1.1], [np.nan, 1], [np.inf, 0], [0.2, 0.2]])
def test_a_row_that_is_not_probabilities_is_refused(row: list[float]) -> None:
    verdict = gates.predictions_are_valid(CLASSES, np.array([[0.5, 0.5], row]))
    assert not verdict.accepted
    assert verdict.reason == "1 of 2 predictions is invalid"
    assert verdict.figures == {"wrong": 1}


@pytest.mark.parametrize(
    "row", [[5, 6, 7], [5, 3, 4], [np.nan, 1, 2], [1, np.nan, 2], [1, 0, np.inf]]
)
def test_a_quantity_outside_its_interval_is_refused(row: list[float]) -> None:
    assert not gates.predictions_are_valid(REGRESSION, np.array([[5, 4, 6], row])).accepted


def test_a_probability_above_1_is_refused_though_its_sum_is_near_1() -> None:
    assert not gates.predictions_are_valid(CLASSES, np.array([[1.00005, 0.0]])).accepted


def test_every_row_with_an_invalid_quantity_is_counted() -> None:
    predictions = np.array([[5, 4, 6], [np.nan, 1, 2], [5, 4, 6]])
    assert gates.predictions_are_valid(REGRESSION, predictions).figures == {"wrong": 1}


def test_unrepeatable_and_nan_predictions_are_refused() -> None:
    predictions = np.array([[0.5, 0.5], [1, 0]])
    assert gates.deterministic(predictions, predictions.copy()).accepted
    changed = predictions + [[0, 0], [-1e-9, 1e-9]]
    verdict = gates.deterministic(predictions, changed)
    assert not verdict.accepted
    assert verdict.reason == "1 of 2 predictions changes on repeat"
    nothing = np.full((2, 2), np.nan)
    assert not gates.deterministic(nothing, nothing).accepted


def test_predictions_that_depend_on_the_order_of_columns_are_refused() -> None:
    predictions = np.array([[0.5, 0.5], [1, 0]])
    assert gates.column_order(predictions, predictions.copy()).accepted
    verdict = gates.column_order(predictions, predictions[:, ::-1])
    assert not verdict.accepted
    assert verdict.reason == "1 of 2 predictions changes when the columns are reordered"
    nothing = np.full((2, 2), np.nan)
    assert not gates.column_order(nothing, nothing).accepted


@pytest.mark.parametrize(
    ("changed", "accepted"),
    [(0.0, True), (0.1, True), (0.101, False), (np.nan, False), (np.inf, False)],
)
def test_predictions_that_change_with_the_noise_are_refused(changed: float, accepted: bool) -> None:
    verdict = gates.robustness(changed, limit=0.1, noise=0.01)
    assert verdict.accepted is accepted
    assert verdict.reason == (
        f"noise of 0.01 standard deviations changes the predictions by {changed:.3f}, limit 0.100"
    )


@pytest.mark.parametrize("difference", [0.0, 3e-7, 1e-5])
def test_a_difference_within_the_tolerance_is_accepted(difference: float) -> None:
    assert gates.parity("parity", Parity(150, difference, 0)).accepted


@pytest.mark.parametrize("difference", [1.01e-5, 0.5, np.inf, np.nan])
def test_a_difference_that_is_nan_or_above_the_tolerance_is_refused(difference: float) -> None:
    verdict = gates.parity("parity", Parity(150, difference, 0))
    assert not verdict.accepted
    assert f"differ by at most {difference:.1e} (tolerance 1e-05)" in verdict.reason


def test_one_changed_class_is_refused_however_small_the_difference() -> None:
    verdict = gates.parity("parity", Parity(150, 1e-9, 1))
    assert not verdict.accepted
    assert verdict.reason.endswith("(tolerance 1e-05); the class differs in 1 row")


def test_the_tolerance_of_parity_can_be_configured() -> None:
    measured = Parity(150, 1e-3, 0)
    assert gates.parity("parity", measured, tolerance=1e-2).accepted
    assert not gates.parity("parity", measured, tolerance=1e-4).accepted


@pytest.mark.parametrize(
    ("call", "gate", "figures"),
    [
        (lambda: gates.predictions_are_valid(CLASSES, SURE), "predictions_are_valid", {"wrong": 0}),
        (lambda: gates.deterministic(SURE, SURE), "deterministic", {"different": 0}),
        (
            lambda: gates.deterministic(TWO_OF_THREE, TWO_OF_THREE[:, ::-1]),
            "deterministic",
            {"different": 2},
        ),
        (
            lambda: gates.column_order(TWO_OF_THREE, TWO_OF_THREE[:, ::-1]),
            "column_order",
            {"different": 2},
        ),
        (
            lambda: gates.robustness(0.2, 0.1, 0.01),
            "robustness",
            {"changed": 0.2, "limit": 0.1, "noise": 0.01},
        ),
        (
            lambda: gates.parity("parity", Parity(150, 0.5, 2)),
            "parity",
            {"rows": 150, "largest_difference": 0.5, "different_classes": 2},
        ),
        (
            lambda: gates.parity("parity_at_edges", Parity(1, 0.0, 0)),
            "parity_at_edges",
            {"rows": 1, "largest_difference": 0.0, "different_classes": 0},
        ),
    ],
)
def test_every_verdict_has_the_name_and_figures_of_its_gate(
    call: Callable[[], gates.Verdict], gate: str, figures: dict[str, float]
) -> None:
    verdict = call()
    assert (verdict.gate, verdict.figures) == (gate, figures)
    assert isinstance(verdict.accepted, bool | np.bool)
