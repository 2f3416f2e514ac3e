"""Tests whether two samples have one distribution. They hold for a single look at a period; for
repeated looks there is `evidence`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import chi2_contingency, false_discovery_control

_FEWEST_EXPECTED = 5.0  # rows of a bin, below which the chi-square distribution is a bad fit


def p_value_of_counts(reference: np.ndarray, current: np.ndarray) -> float:
    """P-value of a chi-square test of two samples in bins, 1 if nothing can be compared.

    Bins with too few rows are joined with the next ones.

    Args:
        reference, current: number of rows in each bin, shape (n_bins,).

    References:
        K. Pearson, "On the criterion that a given system of deviations …", 1900.

    >>> round(p_value_of_counts(np.array([500, 500]), np.array([60, 40])), 3)
    0.056
    """
    table = np.array([reference, current], np.float64)
    if (table.sum(axis=1) == 0).any():
        return 1.0
    table = _joined(table)
    if table.shape[1] < 2:
        return 1.0
    return float(chi2_contingency(table, correction=False).pvalue)


def adjusted(p_values: Mapping[str, float]) -> dict[str, float]:
    """P-values such that at most a share of p of those below p is false, on average.

    References:
        Y. Benjamini and Y. Hochberg, "Controlling the false discovery rate", 1995.
    """
    if not p_values:
        return {}
    corrected = false_discovery_control(list(p_values.values()))
    return dict(zip(p_values, map(float, corrected)))


def _joined(table: np.ndarray) -> np.ndarray:
    """The table without bins in which a sample should have too few rows."""
    share = table.sum(axis=1).min() / table.sum()
    columns: list[np.ndarray] = []
    waiting = np.zeros(2)
    for column in table.T:
        waiting = waiting + column
        if waiting.sum() * share >= _FEWEST_EXPECTED:
            columns.append(waiting)
            waiting = np.zeros(2)
    if columns:
        columns[-1] = columns[-1] + waiting
    return np.array(columns or [waiting]).T
