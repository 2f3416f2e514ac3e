"""Folds and fits that follow the keys of the rows, if there are any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils.validation import has_fit_parameter
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:  # a server has this module, without the data
    from domain.data.split_keys import SplitKeys

_VALUES_OF_A_THREAD = 1_000_000
_FOLDS, _FEW_FOLDS = 10, 3
_MANY_ROWS = 20_000


def fit_estimator(
    estimator: Any, rows: np.ndarray, target: np.ndarray, keys: SplitKeys | None
) -> Any:
    """The estimator, fitted on rows of shape (n_rows, width) and a target of shape (n_rows,).

    Few values are learned with one thread: more would wait for each other, above all on a busy
    machine.

    Args:
        keys: of the rows, if their split follows time or group; passed on if `fit` has a parameter
            of this name.
    """
    with threadpool_limits(1 if rows.size < _VALUES_OF_A_THREAD else None):
        if keys is not None and has_fit_parameter(estimator, "keys"):
            return estimator.fit(rows, target, keys=keys)
        return estimator.fit(rows, target)


def fit_on(
    chosen: np.ndarray,
    estimator: Any,
    rows: np.ndarray,
    target: np.ndarray,
    keys: SplitKeys | None,
) -> Any:
    """The estimator, fitted as by `fit_estimator` on the rows at the chosen positions."""
    part = None if keys is None else keys.take(chosen)
    return fit_estimator(estimator, rows[chosen], target[chosen], part)


def default_folds(rows: int) -> int:
    """Folds of a cross-validation of this number of rows: with more than 20,000, three find about
    the same as ten."""
    return _FOLDS if rows <= _MANY_ROWS else _FEW_FOLDS


def make_folds(
    keys: SplitKeys | None, rows: int, count: int, seed: int, classes: np.ndarray | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds of a cross-validation that follow the keys, else at random, stratified by class.

    Args:
        keys: of the rows, if their split follows time or group.
        rows: number of rows.
        classes: class number of each row, shape (n_rows,); None for a quantity.

    Returns:
        For each fold the positions of the rows to fit on and of those to test on.

    Raises:
        ValueError: there are too few rows, of a class, a time or a group.
    """
    if keys is not None:
        return keys.folds(count, seed, classes)
    kind = KFold if classes is None else StratifiedKFold
    splitter = kind(count, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(rows), classes))
