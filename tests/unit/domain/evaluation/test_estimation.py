"""Quality that is estimated without labels."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.evaluation.estimation import IsotonicCalibration, estimable, estimate
from domain.evaluation.intervals import wilson_interval
from domain.evaluation.isotonic import calibrate
from domain.evaluation.measures import Measure
from shared.paths import ROOT

AGE = (Number("age", "", 0, 120),)
CHURN = ModelSpec("churn", AGE, Classes(("no", "yes"), "churned"))
SIZES = ModelSpec("sizes", AGE, Classes(("S", "M", "L"), "size"))
RENT = ModelSpec("rent", AGE, Quantity("rent", "EUR"))
HALVES = IsotonicCalibration("", np.array([0.5]), np.array([100, 300]), np.array([20, 270]))
"""At scores below 0.5 the outcome occurred in 20 % of the hold-out, else in 90 %."""


def counts(spec: ModelSpec, predicted: list[int], confidence: list[float]) -> np.ndarray:
    """Counts of rows by `HALVES`."""
    return HALVES.count(spec, np.array(predicted), np.array(confidence))


def test_of_many_classes_the_score_is_the_confidence() -> None:
    found = counts(SIZES, [0, 2, 1, 1], [0.4, 0.5, 0.9, 0.49])
    assert found.tolist() == [[0, 0], [2, 2]]


def test_of_two_classes_the_score_is_the_probability_of_the_positive_class() -> None:
    found = counts(CHURN, [0, 0, 1, 1], [0.9, 0.3, 0.7, 0.4])  # 0.1, 0.7, 0.7, 0.4
    assert found.tolist() == [[1, 1], [1, 1]]
    other = ModelSpec("churn", AGE, Classes(("no", "yes"), positive="no"))
    assert counts(other, [0, 1], [0.9, 0.9]).tolist() == [[1, 0], [0, 1]]


def test_accuracy_is_the_mean_share_of_right_predictions() -> None:
    found = estimate(HALVES, Measure(SIZES, "accuracy"), np.array([[0, 0], [30, 70]]))
    assert found.score == pytest.approx(0.3 * 0.2 + 0.7 * 0.9)
    assert found.rows == 100
    # of two classes, 10 of the 30 are predicted negative, as are 5 of the 70
    found = estimate(HALVES, Measure(CHURN, "accuracy"), np.array([[10, 5], [20, 65]]))
    assert found.score == pytest.approx((10 * 0.8 + 5 * 0.1 + 20 * 0.2 + 65 * 0.9) / 100)


@pytest.mark.parametrize("threshold", [None, 0.3])
def test_on_the_hold_out_it_estimates_what_was_measured(threshold: float | None) -> None:
    """Also near the decision threshold, where a sharp model has all of its errors."""
    spec = ModelSpec("churn", AGE, Classes(("no", "yes"), threshold=threshold))
    rng, measure = np.random.default_rng(0), Measure(spec, "accuracy")
    logit = 20 * rng.normal(size=400)
    actual = (rng.random(400) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    predictions = np.column_stack([1 / (1 + np.exp(logit)), 1 / (1 + np.exp(-logit))])
    calibration, predicted = calibrate(spec, predictions, actual, 0.1), spec.decide(predictions)
    confidence = predictions[np.arange(400), predicted]
    found = estimate(calibration, measure, calibration.count(spec, predicted, confidence))
    assert found.score == pytest.approx(measure.score(actual, predictions))
    assert 0.9 < found.score < 1


def test_the_error_is_that_of_the_labels_and_of_the_hold_out() -> None:
    found = estimate(HALVES, Measure(SIZES, "accuracy"), np.array([[0, 0], [30, 70]]))
    shares = np.array([20.5 / 101, 270.5 / 301])
    of_labels = np.array([0.3, 0.7]) @ (shares * (1 - shares)) / 100
    of_holdout = np.square([0.3, 0.7]) @ (shares * (1 - shares) / [100, 300])
    centre = np.array([0.3, 0.7]) @ shares
    rows = centre * (1 - centre) / (of_labels + of_holdout)
    assert found.interval == pytest.approx(wilson_interval(0.69 * rows, rows))


def test_the_area_under_the_curve_is_that_of_labels_with_these_shares() -> None:
    measure = Measure(CHURN, "roc_auc")
    found = estimate(HALVES, measure, np.array([[600, 100], [0, 300]]))
    # 600 rows with 120 positive ones rank below 400 with 360
    actual = np.repeat([1, 0, 1, 0], [120, 480, 360, 40])
    ranks = np.repeat([0.2, 0.2, 0.9, 0.9], [120, 480, 360, 40])
    expected = measure.score(actual, np.column_stack([1 - ranks, ranks]))
    assert found.score == pytest.approx(expected)


@pytest.mark.parametrize("name", ["accuracy", "roc_auc"])
def test_the_slopes_are_derivatives(name: str) -> None:
    """Moving a share of the hold-out by its error moves the score as the interval supposes."""
    measure, many = Measure(CHURN, name), np.array([[6e9, 1e9], [0, 3e9]])
    found = estimate(HALVES, measure, many)
    moved = np.array([20.5, 270.5]) / [101, 301]
    squares = 0.0
    for step, rows in enumerate((100, 300)):
        scores = []
        for sign in (-1, 1):
            changed = moved.copy()
            changed[step] += sign * 1e-5
            shifted = IsotonicCalibration("", HALVES.edges, HALVES.rows, changed * HALVES.rows)
            scores.append(estimate(shifted, measure, many).score or 0.0)
        slope = (scores[1] - scores[0]) / 2e-5
        squares += slope**2 * moved[step] * (1 - moved[step]) / rows
    assert found.interval and found.score
    half = (found.interval[1] - found.interval[0]) / 2
    assert half == pytest.approx(1.96 * np.sqrt(squares), rel=0.05)


def test_without_any_error_in_the_hold_out_the_interval_still_has_a_width() -> None:
    sure = IsotonicCalibration("", np.array([0.5]), np.array([50, 50]), np.array([0, 50]))
    found = estimate(sure, Measure(CHURN, "accuracy"), np.array([[500, 0], [0, 500]]))
    assert found.score == 1
    assert found.interval and found.interval[0] < 0.99


@pytest.mark.parametrize(
    ("calibration", "measure", "rows", "reason"),
    [
        (HALVES, Measure(CHURN, "f1"), 100, "f1 cannot be estimated without labels"),
        (HALVES, Measure(SIZES, "roc_auc"), 100, "roc_auc cannot be estimated without labels"),
        (HALVES, Measure(RENT, "r2"), 0, "r2 cannot be estimated without labels"),
        (
            HALVES,
            Measure(CHURN, "accuracy"),
            29,
            "too few to say: 29 predictions, 30 are needed",
        ),
        (
            IsotonicCalibration("uncalibrated"),
            Measure(CHURN, "accuracy"),
            100,
            "uncalibrated",
        ),
    ],
)
def test_what_cannot_be_estimated_has_its_reason(
    calibration: IsotonicCalibration, measure: Measure, rows: int, reason: str
) -> None:
    found = estimate(calibration, measure, np.array([[0, 0], [rows, 0]]))
    assert (found.score, found.interval, found.reason, found.rows) == (None, None, reason, rows)


@pytest.mark.parametrize("occurred", [[0, 0, 50], [5, 10, 50]])
def test_rows_of_one_step_or_class_have_no_area_under_the_curve(occurred: list[int]) -> None:
    edges, rows = np.array([0.3, 0.5]), np.array([50, 50, 50])
    found = estimate(
        IsotonicCalibration("", edges, rows, np.array(occurred)),
        Measure(CHURN, "roc_auc"),
        np.array([[500, 500 * (occurred[0] == 0), 0], [0, 0, 0]]),
    )
    assert found.reason == "these predictions differ too little in probability for roc_auc"


def test_accuracy_can_be_estimated_for_all_classes_and_an_area_for_two() -> None:
    names = [[each.name for each in estimable(spec)] for spec in (CHURN, SIZES, RENT)]
    assert names == [["accuracy", "roc_auc"], ["accuracy"], []]


def test_a_calibration_comes_back_from_plain_data() -> None:
    again = IsotonicCalibration.from_dict(HALVES.to_dict())
    assert again.to_dict() == HALVES.to_dict()
    refused = IsotonicCalibration("too few to say")
    assert IsotonicCalibration.from_dict(refused.to_dict()).reason == "too few to say"


def test_a_package_without_a_calibration_must_be_trained_again() -> None:
    assert IsotonicCalibration.from_dict(None).reason.endswith("train again")


def binary_rows(rng: np.random.Generator, rows: int, mean: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of an overconfident model, and the classes."""
    logit = 2 * rng.normal(mean, 1, rows) - 0.5
    actual = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    positive = 1 / (1 + np.exp(-2 * logit))
    return np.column_stack([1 - positive, positive]), actual


@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_the_interval_has_the_later_score_in_95_of_100_windows(mean: float) -> None:
    rng, inside = np.random.default_rng(0), []
    for _ in range(200):
        calibration = calibrate(CHURN, *binary_rows(rng, 400, 0.0), 0.1)
        predictions, actual = binary_rows(rng, 500, mean)
        chosen = calibration.count(CHURN, predictions.argmax(axis=1), predictions.max(axis=1))
        for measure in estimable(CHURN):
            interval = estimate(calibration, measure, chosen).interval
            assert interval
            inside.append(interval[0] <= measure.score(actual, predictions) <= interval[1])
    assert np.mean(inside[::2]) >= 0.92 and np.mean(inside[1::2]) >= 0.92


def test_estimating_needs_neither_scipy_nor_pandas() -> None:
    code = (
        "import sys, domain.evaluation.estimation;"
        "print({'scipy', 'pandas', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "set()"
