"""Gates on the performance of a model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from domain import gates
from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.evaluation.metrics import ClassificationReport, RegressionReport, evaluate
from domain.evaluation.slices import SliceReport

NONE = np.array([])
REGRESSION = ModelSpec("rents", (Number("area", "m²", 0, 500),), Quantity("rent", coverage=0.9))
CLASSES = ModelSpec("flowers", (Number("length", "cm", 0, 9),), Classes(("small", "large")))
SURE = np.eye(2)[[0, 1] * 10]
CODES = np.array([0, 1] * 10)
QUANTITIES = RegressionReport(np.arange(9.0), np.stack([np.arange(9.0)] * 3, axis=1), 0.9)


def report_with(correct: int, rows: int) -> ClassificationReport:
    """A report of two classes with so many correct predictions."""
    return ClassificationReport(np.array([[correct, rows - correct], [0, 0]]))


def probabilities(codes: np.ndarray) -> np.ndarray:
    """Predictions with a probability of 1, shape (n_rows, 2)."""
    return np.eye(2)[codes]


def baseline_verdict(
    spec: ModelSpec, predictions: np.ndarray, actual: np.ndarray, learned: np.ndarray
) -> gates.Verdict:
    """The gate's verdict on these predictions."""
    report = evaluate(spec, predictions, actual)
    return gates.beats_baseline(spec, report, predictions, actual, learned)


def slice_report(p: float, name: str = "north", rows: int = 30, loss: float = 0.4) -> SliceReport:
    """The report of a slice."""
    return SliceReport(name, rows, loss, 0.25, 0.58, p, declared=False)


def test_an_accuracy_at_the_threshold_is_accepted() -> None:
    assert gates.quality(report_with(27, 30), 0.9).accepted


def test_an_accuracy_just_below_the_threshold_is_refused_with_its_figures() -> None:
    verdict = gates.quality(report_with(26, 30), 0.9)
    assert not verdict.accepted
    assert "accuracy 0.867 (26 of 30" in verdict.reason
    assert "threshold 0.900" in verdict.reason


@pytest.mark.parametrize("correct", range(31))
def test_quality_refuses_exactly_the_scores_below_the_threshold(correct: int) -> None:
    accepted = gates.quality(report_with(correct, 30), 0.85).accepted
    assert accepted == (correct >= 26)


def test_quality_shows_the_interval_of_the_accuracy() -> None:
    assert "95 % interval 0.744 to 0.965" in gates.quality(report_with(27, 30), 0.9).reason


@pytest.mark.parametrize(("error", "accepted"), [(1.0, True), (2.0, True), (2.1, False)])
def test_a_regression_is_judged_by_its_r2(error: float, accepted: bool) -> None:
    actual = np.array([0.0, 4.0, 8.0, 12.0, 16.0])  # variance 32
    predictions = np.stack([actual + error * np.array([1, -1, 1, -1, 1])] * 3, axis=1)
    verdict = gates.quality(RegressionReport(actual, predictions, 0.9), 0.875)
    assert verdict.accepted is accepted
    assert f"R² {1 - error**2 / 32:.3f} (5 rows" in verdict.reason


def test_a_nan_quality_is_refused() -> None:
    report = RegressionReport(np.arange(3.0), np.full((3, 3), np.nan), 0.9)
    assert not gates.quality(report, -1e9).accepted


def test_a_model_that_always_predicts_the_most_frequent_class_is_refused() -> None:
    actual, learned = np.array([0] * 60 + [1] * 40), np.array([0] * 6 + [1] * 4)
    constant = probabilities(np.zeros(100, np.int64))
    verdict = baseline_verdict(CLASSES, constant, actual, learned)
    assert not verdict.accepted
    assert verdict.figures["accuracy"] == verdict.figures["trivial"] == 0.6


@pytest.mark.parametrize(("won", "accepted"), [(4, False), (5, True)])
def test_beats_baseline_requires_more_than_chance(won: int, accepted: bool) -> None:
    actual = np.array([0] * 20 + [1] * 10)
    predicted = actual.copy()
    predicted[20 + won :] = 0  # finds so many rows of the rarer class, and no row is lost
    verdict = baseline_verdict(CLASSES, probabilities(predicted), actual, actual)
    assert verdict.accepted is accepted
    assert verdict.figures["p"] == pytest.approx(0.5**won)


def test_a_regression_must_beat_the_mean_with_its_whole_interval() -> None:
    rng = np.random.default_rng(0)
    actual = rng.normal(size=100)

    def predictions(share: float) -> np.ndarray:
        middle = share * actual
        return np.stack([middle, middle - 1, middle + 1], axis=1)

    none = np.zeros(1)
    assert baseline_verdict(REGRESSION, predictions(0.8), actual, none).accepted
    assert not baseline_verdict(REGRESSION, predictions(0.0), actual, none).accepted
    assert not baseline_verdict(REGRESSION, predictions(-1.0), actual, none).accepted


def test_rows_lost_to_the_baseline_count_too() -> None:
    actual = np.repeat([0, 1], 20)
    predicted = actual.copy()
    predicted[:4], predicted[27:] = 1, 0  # wins 7 rows of the rarer class, loses 4 of the other
    verdict = baseline_verdict(CLASSES, probabilities(predicted), actual, np.zeros(1, np.int64))
    assert not verdict.accepted
    assert verdict.figures["p"] == pytest.approx(562 / 2048)  # P(7 or more of 11)
    assert verdict.reason == "accuracy 0.575, baseline (most frequent class) 0.500 (p = 0.27)"


def test_a_model_without_training_rows_is_compared_with_the_first_class() -> None:
    nothing = np.zeros(0, np.int64)
    assert baseline_verdict(CLASSES, SURE, CODES, nothing).figures["trivial"] == 0.5


def test_a_regression_shows_its_interval_and_the_mean() -> None:
    verdict = baseline_verdict(REGRESSION, QUANTITIES.predictions, QUANTITIES.actual, NONE)
    assert verdict.reason == "R² 1.000 (95 % interval 1.000 to 1.000), baseline (mean) 0"


class AtTheMean(RegressionReport):
    """A regression that is not significantly better than the mean."""

    interval = (0.0, 0.5)


def test_a_regression_whose_interval_begins_at_the_mean_is_refused() -> None:
    report = AtTheMean(QUANTITIES.actual, QUANTITIES.predictions, 0.9)
    verdict = gates.beats_baseline(REGRESSION, report, report.predictions, report.actual, NONE)
    assert not verdict.accepted


@pytest.mark.parametrize(("p", "accepted"), [(0.011, False), (0.0126, True), (1.0, True)])
def test_the_worst_of_four_slices_is_judged_at_a_quarter_of_the_level(
    p: float, accepted: bool
) -> None:
    reports = [slice_report(p)] + [slice_report(1.0, "south")] * 3
    verdict = gates.worst_slice(CLASSES, reports, 0.05, 0.15)
    assert verdict.accepted is accepted
    assert verdict.reason == (
        "worst of 4 slices is north: accuracy 0.600 on 30 rows, 0.950 overall, "
        f"margin 0.150 (p = {min(1, 4 * p):.2g})"
    )
    assert verdict.figures == {
        "slices": 4,
        "rows": 30,
        "loss": 0.4,
        "overall": 0.05,
        "margin": 0.15,
        "p": min(1, 4 * p),
    }


def test_the_worst_slice_of_a_quantity_has_an_error() -> None:
    reason = gates.worst_slice(REGRESSION, [slice_report(0.2, loss=0.8)], 0.5, 0.15).reason
    assert "north: mean error 0.800 standard deviations on 30 rows, 0.500 overall" in reason


def test_a_slice_of_too_few_rows_is_named_and_does_not_count() -> None:
    few = slice_report(np.nan, "rare", rows=3)
    verdict = gates.worst_slice(CLASSES, [slice_report(0.04), few], 0.05, 0.15)
    assert not verdict.accepted  # 0.04 is not doubled
    assert verdict.reason.endswith("(p = 0.04); too few rows to judge rare (3)")
    alone = gates.worst_slice(CLASSES, [few], 0.05, 0.15)
    assert alone.accepted
    assert alone.reason == "no slice has enough rows; too few rows to judge rare (3)"


def test_a_model_without_slices_is_accepted_with_a_note() -> None:
    verdict = gates.worst_slice(CLASSES, [], 0.05, 0.15)
    assert verdict.accepted
    assert verdict.reason == "no slice has enough rows"


def test_slices_of_too_few_rows_are_all_named() -> None:
    few = [slice_report(np.nan, name, rows=3) for name in ("rare", "rarer")]
    assert gates.worst_slice(CLASSES, few, 0.05, 0.15).reason.endswith("rare (3), rarer (3)")


def test_a_slice_at_the_level_is_refused() -> None:
    assert not gates.worst_slice(CLASSES, [slice_report(0.05)], 0.05, 0.15).accepted


@pytest.mark.parametrize(
    ("call", "gate", "figures"),
    [
        (
            lambda: gates.quality(report_with(27, 30), 0.9),
            "quality",
            {**report_with(27, 30).to_dict(), "threshold": 0.9},
        ),
        (
            lambda: gates.beats_baseline(
                REGRESSION, QUANTITIES, QUANTITIES.predictions, QUANTITIES.actual, NONE
            ),
            "beats_baseline",
            {"low": 1.0, "high": 1.0},
        ),
        (
            lambda: gates.beats_baseline(
                CLASSES, evaluate(CLASSES, SURE, CODES), SURE, CODES, CODES
            ),
            "beats_baseline",
            {"accuracy": 1.0, "trivial": 0.5, "p": pytest.approx(0.5**10)},
        ),
        (lambda: gates.worst_slice(CLASSES, [], 0.05, 0.15), "worst_slice", {"slices": 0}),
    ],
)
def test_every_verdict_has_the_name_and_figures_of_its_gate(
    call: Callable[[], gates.Verdict], gate: str, figures: dict[str, float]
) -> None:
    verdict = call()
    assert (verdict.gate, verdict.figures) == (gate, figures)
    assert isinstance(verdict.accepted, bool | np.bool)


def test_the_classes_that_a_threshold_decides_are_compared_with_the_baseline() -> None:
    spec = ModelSpec("flowers", CLASSES.inputs, Classes(("small", "large"), threshold=0.2))
    predictions, actual = np.tile([[0.9, 0.1], [0.7, 0.3]], (10, 1)), np.array([0, 1] * 10)
    learned = np.zeros(3, np.int64)
    assert baseline_verdict(spec, predictions, actual, learned).accepted
    assert not baseline_verdict(CLASSES, predictions, actual, learned).accepted
