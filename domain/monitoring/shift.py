"""Shift of a variable in standard deviations, the tutorial's drift score."""

from __future__ import annotations

import numpy as np

from domain.errors import InputError


def standardised_shift(current: np.ndarray, reference: np.ndarray) -> float:
    """The larger of the differences in mean and in standard deviation, in units of the reference's
    standard deviation.

    The score of n rows without drift is about 1/√n, and at least 1 for one row, whose standard
    deviation is 0. Unlike the population stability index, it does not notice a distribution of
    another form with the same mean and standard deviation.

    Args:
        current: values of shape (n_current,); NaN is a missing value, which is left out.
        reference: values of shape (n_reference,), as above.

    Returns:
        At least 0; infinity if only the reference is constant, or if both are at different values.

    Raises:
        InputError: there is no value, or one is infinite.

    >>> round(standardised_shift(np.array([3.0, 5.0]), np.array([1.0, 3.0])), 3)
    2.0
    """
    known = [
        _known(values, name) for values, name in ((current, "current"), (reference, "reference"))
    ]
    scale = max(np.abs(values).max() for values in known) or 1.0  # squares must not overflow
    (mean, deviation), (reference_mean, unit) = (_moments(values / scale) for values in known)
    difference = max(abs(mean - reference_mean), abs(deviation - unit))
    if unit == 0:
        return np.inf if difference else 0.0
    return float(difference / unit)


def _known(values: np.ndarray, name: str) -> np.ndarray:
    known = values[~np.isnan(values)]
    if known.size == 0:
        raise InputError(f"the {name} rows have no value: a score needs at least one")
    if np.isinf(known).any():
        raise InputError(f"the {name} rows have an infinite value: remove it, or make it NaN")
    return known


def _moments(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation; those of equal values are exact."""
    if (values == values[0]).all():
        return float(values[0]), 0.0
    return float(values.mean()), float(values.std())
