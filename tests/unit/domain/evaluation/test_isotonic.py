"""Isotonic calibration on a hold-out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from domain.contract import Classes, ModelSpec, Number
from domain.evaluation.isotonic import calibrate

AGE = (Number("age", "", 0, 120),)
CHURN = ModelSpec("churn", AGE, Classes(("no", "yes"), "churned"))
SIZES = ModelSpec("sizes", AGE, Classes(("S", "M", "L"), "size"))


def binary(
    positive: np.ndarray, frequency: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions with these probabilities, and classes with another frequency."""
    rng = np.random.default_rng(seed)
    actual = (rng.random(len(positive)) < frequency).astype(np.int64)
    return np.column_stack([1 - positive, positive]), actual


def confident(confidence: np.ndarray, frequency: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of three classes that are right with this frequency."""
    rng = np.random.default_rng(0)
    code = rng.integers(3, size=len(confidence))
    predictions = np.repeat((1 - confidence[:, None]) / 2, 3, axis=1)
    predictions[np.arange(len(code)), code] = confidence
    wrong = rng.random(len(code)) >= frequency
    return predictions, np.where(wrong, (code + 1) % 3, code)


def test_the_steps_are_frequencies_that_rise_with_the_score() -> None:
    scores = np.random.default_rng(1).random(1_000)
    found = calibrate(CHURN, *binary(scores, scores**2), 0.1)
    shares = found.occurred / found.rows
    assert not found.reason
    assert found.rows.sum() == 1_000
    assert (np.diff(shares) > 0).all() and (np.diff(found.edges) > 0).all()
    centres = (np.append(0, found.edges) + np.append(found.edges, 1)) / 2
    assert np.abs(shares - centres**2).max() < 0.15


def test_they_are_those_of_scikit_learn_if_no_bin_has_several_scores() -> None:
    scores = np.repeat(np.linspace(0.02, 0.98, 20), 25)
    predictions, actual = binary(scores, scores)
    found = calibrate(CHURN, predictions, actual, 0.1)
    shares = (found.occurred / found.rows)[np.searchsorted(found.edges, scores, side="right")]
    assert shares == pytest.approx(IsotonicRegression().fit(scores, actual).predict(scores))


def test_of_more_classes_it_is_how_often_the_prediction_is_right() -> None:
    confidence = np.linspace(0.4, 1, 1_000)
    predictions, actual = confident(confidence, confidence)
    found = calibrate(SIZES, predictions, actual, 0.1)
    assert found.occurred.sum() == (predictions.argmax(axis=1) == actual).sum()


def test_of_two_classes_it_is_how_often_the_positive_one_occurs_whatever_is_decided() -> None:
    predictions, actual = binary(np.linspace(0, 1, 500), np.linspace(0, 1, 500))
    for output in (Classes(("no", "yes")), Classes(("no", "yes"), threshold=0.2)):
        found = calibrate(ModelSpec("churn", AGE, output), predictions, actual, 0.1)
        assert found.occurred.sum() == actual.sum()
        assert (found.occurred / found.rows)[[0, -1]] == pytest.approx([0, 1], abs=0.1)
    other = ModelSpec("churn", AGE, Classes(("no", "yes"), positive="no"))
    assert calibrate(other, predictions, actual, 0.1).occurred.sum() == 500 - actual.sum()


@pytest.mark.parametrize("rows", [99, 100])
def test_a_small_hold_out_is_too_few_to_say(rows: int) -> None:
    scores = np.linspace(0, 1, rows)
    found = calibrate(CHURN, *binary(scores, scores), 0.1)
    expected = "too few to say: 99 hold-out rows, 100 are needed" if rows == 99 else ""
    assert found.reason == expected


def test_few_wrong_predictions_are_too_few_to_say() -> None:
    confidence = np.linspace(0.5, 1, 300)
    found = calibrate(SIZES, *confident(confidence, confidence >= 0.506), 0.1)
    assert found.reason == "too few to say: 4 wrong predictions in the hold-out, 5 are needed"
    found = calibrate(CHURN, *binary(confidence, confidence < 0.506), 0.1)
    assert found.reason == "too few to say: 4 rows of a class in the hold-out, 5 are needed"


def test_confidence_without_any_meaning_is_uncalibrated() -> None:
    confidence = np.linspace(0.4, 1, 1_000)
    found = calibrate(SIZES, *confident(confidence, 1 - confidence), 0.1)
    assert found.reason.startswith("uncalibrated: in the hold-out, predictions are not more often")


def test_a_frequency_that_falls_with_the_probability_is_uncalibrated() -> None:
    """Of the surest third only a third are right."""
    confidence = np.linspace(0.4, 1, 1_000)
    frequency = np.where(confidence > 0.8, 0.33, confidence)
    found = calibrate(SIZES, *confident(confidence, frequency), 0.1)
    assert "uncalibrated: the frequency in the hold-out does not rise" in found.reason
    assert not calibrate(SIZES, *confident(confidence, frequency), 0.5).reason


def test_calibrated_models_are_not_refused() -> None:
    for rows in (100, 300, 1_000):
        refused = 0
        for seed in range(50):
            scores = np.linspace(0, 1, rows)
            refused += bool(calibrate(CHURN, *binary(scores, scores, seed), 0.02).reason)
        assert refused <= 1
