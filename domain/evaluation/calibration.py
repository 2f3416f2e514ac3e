"""Whether a classifier is right as often as it says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_BINS = 10
_ROWS = 15  # of a bin, where no two rows are equally confident
_RESAMPLES = 2000
_CELLS = 1_000_000  # of resamples that are held at once


@dataclass(frozen=True)
class Calibration:
    """Confidence, the probability of the most probable class, against accuracy.

    Attributes:
        error: expected calibration error: mean over rows of |confidence − accuracy| of their bin.
        p: probability of so large an error, were the model calibrated; NaN where `error` is.
        confidence: mean of each bin, rising, shape (n_bins,).
        accuracy: of each bin, shape (n_bins,).
        rows: of each bin, shape (n_bins,).
    """

    error: float
    p: float
    confidence: np.ndarray
    accuracy: np.ndarray
    rows: np.ndarray


def calibration_of(answers: np.ndarray, actual: np.ndarray) -> Calibration:
    """Calibration of the most probable class, in at most 10 bins of about equally many rows.

    Rows that are equally confident are in one bin. Even a calibrated model has an error, the
    larger the fewer rows there are; `p` compares with what it would have: outcomes are drawn as
    often right as the model says, with a fixed seed.

    Args:
        answers: probabilities, shape (n_rows, n_classes), one row or more.
        actual: class numbers, shape (n_rows,).

    References:
        J. Bröcker and L. A. Smith, "Increasing the reliability of reliability diagrams", 2007.
        J. Vaicenavicius et al., "Evaluating model calibration in classification", 2019.
    """
    confidence = answers.max(axis=1).astype(np.float64)
    order = np.argsort(confidence)
    confidence, right = confidence[order], (answers.argmax(axis=1) == actual)[order]
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
