"""Calibration of classifiers."""

from __future__ import annotations

import numpy as np
import pytest

from domain.evaluation.calibration import calibration_of


def drawn(
    rows: int, seed: int, accuracy_of: float = 1.0, confidences: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of two classes, and a truth in which they are right `accuracy_of` × as often."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.5, 1, size=rows)
    if confidences:
        confidence = np.round(confidence * confidences) / confidences
    predicted = rng.integers(2, size=rows)
    right = rng.random(rows) < confidence * accuracy_of
    predictions = np.where(np.eye(2)[predicted] == 1, confidence[:, None], 1 - confidence[:, None])
    return predictions, np.where(right, predicted, 1 - predicted)


def test_the_error_is_the_mean_gap_of_the_bins() -> None:
    predictions = np.repeat([[0.9, 0.1], [0.4, 0.6]], 15, axis=0)
    actual = np.repeat([0, 1, 1, 0], [12, 3, 9, 6])  # right in 0.8 and 0.6 of 15 each
    found = calibration_of(predictions, actual)
    assert found.rows.tolist() == [15, 15]
    assert found.confidence == pytest.approx([0.6, 0.9])
    assert found.accuracy == pytest.approx([0.6, 0.8])
    assert found.error == pytest.approx(0.05)


@pytest.mark.parametrize(("rows", "bins"), [(1, 1), (29, 1), (30, 2), (143, 9), (5000, 10)])
def test_bins_have_15_rows_or_more_and_are_10_at_most(rows: int, bins: int) -> None:
    found = calibration_of(*drawn(rows, seed=0))
    assert len(found.rows) == len(found.confidence) == len(found.accuracy) == bins
    assert found.rows.sum() == rows
    assert np.ptp(found.rows) <= 1
    assert (np.diff(found.confidence) > 0).all()


def test_equally_confident_rows_share_a_bin_in_any_order() -> None:
    predictions, actual = drawn(300, seed=0, confidences=4)  # only 0.5, 0.75 and 1
    found = calibration_of(predictions, actual)
    assert found.confidence == pytest.approx([0.5, 0.75, 1.0])
    order = np.random.default_rng(0).permutation(300)
    assert calibration_of(predictions[order], actual[order]).error == pytest.approx(found.error)


@pytest.mark.parametrize("rows", [40, 150, 1000])
def test_a_calibrated_model_is_rarely_flagged(rows: int) -> None:
    found = np.array([calibration_of(*drawn(rows, seed)).p for seed in range(100)])
    assert (found < 0.01).sum() <= 4
    assert (found < 0.1).sum() <= 20
    assert (found > 0.5).sum() >= 30


@pytest.mark.parametrize(("rows", "accuracy_of"), [(150, 0.65), (1000, 0.9)])
def test_an_overconfident_model_is_detected(rows: int, accuracy_of: float) -> None:
    for seed in range(20):
        found = calibration_of(*drawn(rows, seed, accuracy_of))
        assert found.p < 0.01
        assert found.error > (1 - accuracy_of) * 0.4


def test_an_underconfident_model_is_detected() -> None:
    predictions, actual = np.tile([0.6, 0.4], (200, 1)), np.zeros(200, np.int64)
    found = calibration_of(predictions, actual)
    assert found.error == pytest.approx(0.4)
    assert found.p < 0.001


def test_calibration_is_repeatable() -> None:
    predictions, actual = drawn(150, seed=3)
    assert calibration_of(predictions, actual).p == calibration_of(predictions.copy(), actual).p


@pytest.mark.parametrize("rows", [40, 1500])  # 1500 are drawn in batches, the last one is shorter
def test_the_probability_comes_from_outcomes_drawn_from_the_predictions(rows: int) -> None:
    predictions, actual = drawn(rows, seed=5)
    found = calibration_of(predictions, actual)
    confidence = np.sort(predictions.max(axis=1))
    ends = np.cumsum(found.rows)[:-1]
    claimed = [part.sum() for part in np.split(confidence, ends)]
    outcomes = np.random.default_rng(0).random((2000, rows)) < confidence
    right = np.stack([part.sum(axis=1) for part in np.split(outcomes, ends, axis=1)], axis=1)
    errors = np.abs(right - claimed).sum(axis=1) / rows
    assert found.p == (1 + (errors > found.error - 1e-12).sum()) / 2001
    assert 0.01 < found.p < 0.99


def test_a_perfect_model_has_no_error() -> None:
    found = calibration_of(np.eye(3)[[0, 1, 2, 2]], np.array([0, 1, 2, 2]))
    assert (found.error, found.p) == (0.0, 1.0)


@pytest.mark.parametrize("nothing", [np.nan, np.inf])
def test_nan_predictions_have_no_calibration(nothing: float) -> None:
    predictions, actual = drawn(60, seed=0)
    predictions[7] = nothing
    found = calibration_of(predictions, actual)
    assert not np.isfinite(found.error)
    assert np.isnan(found.p)
