"""Estimators get the keys of their rows if they use them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LinearRegression

from domain.data.split_keys import SplitKeys
from domain.estimators.fitting import fit_estimator

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
