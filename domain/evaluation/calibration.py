"""Calibration of a classifier: whether its confidence matches its accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_BINS = 10
_ROWS = 15  # minimum of a bin, unless rows with equal confidence share one
_RESAMPLES = 2000
_CELLS = 1_000_000  # of resamples that are in memory at once


@dataclass(frozen=True)
class Calibration:
    """Confidence, the probability of the most probable class, compared with accuracy.

    It is about the probabilities: a decision threshold does not change it.

    Attributes:
        error: expected calibration error: mean over rows of |confidence − accuracy| of their bin.
        p: probability of an error at least this large if the model were calibrated; NaN if `error`
            is not finite.
        confidence: mean of each bin, increasing, shape (n_bins,).
        accuracy: of each bin, shape (n_bins,).
        rows: number of rows of each bin, shape (n_bins,).
    """

    error: float
    p: float
    confidence: np.ndarray
    accuracy: np.ndarray
    rows: np.ndarray


def calibration_of(predictions: np.ndarray, actual: np.ndarray) -> Calibration:
    """Calibration of the most probable class, in at most 10 bins of about equally many rows.

    Rows with equal confidence share a bin. Even a calibrated model has an error, which grows as
    rows get fewer. `p` compares with the errors that it would have, by drawing outcomes that are
    right with the model's confidence, with a fixed seed.

    Args:
        predictions: probabilities, shape (n_rows, n_classes), at least one row.
        actual: class numbers, shape (n_rows,).

    References:
        J. Bröcker and L. A. Smith, "Increasing the reliability of reliability diagrams", 2007.
        J. Vaicenavicius et al., "Evaluating model calibration in classification", 2019.
    """
    confidence = predictions.max(axis=1).astype(np.float64)
    order = np.argsort(confidence)
    confidence, right = confidence[order], (predictions.argmax(axis=1) == actual)[order]
    n_bins = min(_BINS, max(1, len(right) // _ROWS))
    cuts = confidence[np.arange(n_bins) * len(right) // n_bins]
    starts = np.unique(np.searchsorted(confidence, cuts))
    rows = np.diff(starts, append=len(right))
    claimed = np.add.reduceat(confidence, starts)

    def error_of(outcomes: np.ndarray) -> np.ndarray:
        sums = np.add.reduceat(outcomes, starts, axis=-1, dtype=np.float64)
        return np.abs(sums - claimed).sum(axis=-1) / len(right)

    error = float(error_of(right))
    rng, at_once = np.random.default_rng(0), max(1, _CELLS // len(right))
    as_large = 1
    for start in range(0, _RESAMPLES, at_once):
        size = min(at_once, _RESAMPLES - start), len(right)
        as_large += int((error_of(rng.random(size) < confidence) >= error).sum())
    p = as_large / (_RESAMPLES + 1) if np.isfinite(error) else np.nan
    accuracy = np.add.reduceat(right, starts, dtype=np.float64) / rows
    return Calibration(error, p, claimed / rows, accuracy, rows)
