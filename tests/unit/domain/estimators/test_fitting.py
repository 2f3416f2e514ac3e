"""Estimators get the keys of their rows if they use them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LinearRegression

from domain.data.split_keys import SplitKeys
from domain.estimators.fitting import fit_estimator, fit_on, make_folds

ROWS, TARGET = np.arange(4.0)[:, None], np.arange(4.0)
KEYS = SplitKeys(time=np.arange(4.0))


class Recorder:
    """Keeps what it is fitted with."""

    def fit(self, *arguments: Any, keys: SplitKeys | None = None) -> tuple[Any, ...]:
        """Return the arguments."""
        return (*arguments, keys)


def test_the_keys_are_passed_to_an_estimator_that_takes_them() -> None:
    assert fit_estimator(Recorder(), ROWS, TARGET, KEYS)[-1] is KEYS
    assert fit_estimator(Recorder(), ROWS, TARGET, None) == (ROWS, TARGET, None)


def test_other_estimators_are_fitted_without_keys() -> None:
    fitted = fit_estimator(LinearRegression(), ROWS, TARGET, KEYS)
    assert np.allclose(fitted.predict(ROWS), TARGET)


def test_a_part_of_the_rows_is_fitted_with_its_keys() -> None:
    rows, target, keys = fit_on(np.array([2, 0]), Recorder(), ROWS, TARGET, KEYS)
    assert (rows.tolist(), target.tolist(), keys.time.tolist()) == ([[2], [0]], [2, 0], [2, 0])
    assert fit_on(np.array([1]), Recorder(), ROWS, TARGET, None)[-1] is None


def test_folds_follow_the_keys_or_keep_the_shares_of_the_classes() -> None:
    for fit, test in make_folds(KEYS, 4, 3, 0):
        assert fit.max() < test.min()
    classes = np.repeat([0, 1], [9, 3])
    folds = make_folds(None, 12, 3, 0, classes)
    assert [np.bincount(classes[test]).tolist() for _, test in folds] == [[3, 1]] * 3
    quantity = make_folds(None, 12, 4, 0)
    assert sorted(np.concatenate([test for _, test in quantity])) == list(range(12))
