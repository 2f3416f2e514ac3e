"""Isotonic calibration on a hold-out, and whether it may be relied on."""

from __future__ import annotations

import numpy as np
from scipy.optimize import isotonic_regression

from domain.contract import ModelSpec
from domain.evaluation.estimation import IsotonicCalibration, scores_of

FEWEST_ROWS = 100
FEWEST_OUTCOMES = 5  # rows of each kind: with and without the outcome
_BINS = 50
_BIN_ROWS = 10
_LEVEL = 0.01  # of significance
_RESAMPLES = 2000


def calibrate(
    spec: ModelSpec, predictions: np.ndarray, actual: np.ndarray, tolerance: float
) -> IsotonicCalibration:
    """Calibrate a classifier on its hold-out, or say why that cannot be relied on.

    Args:
        predictions: probabilities, shape (n_rows, n_classes).
        actual: class numbers, shape (n_rows,).
        tolerance: largest mean difference between the shares of bins of scores and the increasing
            step function; a larger one is accepted if it is not significant at 1 %.

    References:
        B. Zadrozny and C. Elkan, "Transforming classifier scores into accurate multiclass
        probability estimates", 2002.
    """
    predicted = spec.decide(predictions)
    confidence = predictions[np.arange(len(predictions)), predicted]
    scores, right = scores_of(spec, predicted, confidence)
    occurred = (predicted == actual) == right
    fewest = int(min(occurred.sum(), (~occurred).sum()))
    if len(scores) < FEWEST_ROWS:
        return IsotonicCalibration(
            f"too few to say: {len(scores)} hold-out rows, {FEWEST_ROWS} are needed"
        )
    if fewest < FEWEST_OUTCOMES:
        kind = "rows of a class" if len(spec.classes) == 2 else "wrong predictions"
        return IsotonicCalibration(
            f"too few to say: {fewest} {kind} in the hold-out, {FEWEST_OUTCOMES} are needed"
        )
    edges, rows, found = _bins(scores, occurred, right)
    fitted = isotonic_regression(found / rows, weights=rows)
    steps = fitted.blocks[:-1]
    if len(steps) == 1:
        return IsotonicCalibration(
            "uncalibrated: in the hold-out, predictions are not more often right where their "
            "probability is higher"
        )
    error = float(_difference(found, rows, fitted.x))
    if error > tolerance and (p_value := _p_value(error, rows, fitted.x)) < _LEVEL:
        return IsotonicCalibration(
            "uncalibrated: the frequency in the hold-out does not rise with the probability: it "
            f"differs by {error:.3f} from the best increasing one (tolerance {tolerance:.3f}, "
            f"p = {p_value:.2g})"
        )
    return IsotonicCalibration(
        "", edges[steps[1:] - 1], np.add.reduceat(rows, steps), np.add.reduceat(found, steps)
    )


def _bins(
    scores: np.ndarray, occurred: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bins of about equally many rows: the edges between them, shape (n_bins - 1,), the number of
    rows and of outcomes of each. Equal scores share a bin; of two classes, those below and above
    the decision threshold do not, since most errors are near to it."""
    order = np.argsort(scores, kind="stable")
    scores, occurred = scores[order], occurred[order]
    n_bins = int(np.clip(len(scores) // _BIN_ROWS, 1, _BINS))
    cuts = scores[np.arange(n_bins) * len(scores) // n_bins]
    starts = np.unique([*np.searchsorted(scores, cuts), np.argmax(right[order])])
    rows = np.diff(starts, append=len(scores))
    found = np.add.reduceat(occurred, starts, dtype=np.int64)
    return (scores[starts[1:] - 1] + scores[starts[1:]]) / 2, rows, found


def _difference(found: np.ndarray, rows: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Mean difference between the shares of the bins and the fitted ones, for arrays of counts of
    shape (…, n_bins)."""
    difference: np.ndarray = np.abs(found - rows * shares).sum(axis=-1) / rows.sum()
    return difference


def _p_value(error: float, rows: np.ndarray, shares: np.ndarray) -> float:
    """Probability of a larger difference if the fitted shares are true: rather too high, since they
    were fitted to these rows."""
    drawn = np.random.default_rng(0).binomial(rows, shares, (_RESAMPLES, len(rows)))
    as_large = (_difference(drawn, rows, shares) >= error).sum()
    return float((as_large + 1) / (_RESAMPLES + 1))
