"""Regression with conformal prediction intervals."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.model_selection import KFold, cross_val_predict

from domain.errors import DataError


class ConformalRegressor(RegressorMixin, BaseEstimator):
    """Any regressor, with an interval of constant width around its predictions.

    The width is a quantile of the regressor's errors in cross-validation. So no rows are set apart
    for calibration; in return the coverage is guaranteed only approximately: measure it on a
    hold-out.

    Args:
        estimator: the regressor.
        coverage: share of the true values that the intervals should contain.
        folds: number of folds of the cross-validation.
        random_state: seed of the folds.

    Attributes:
        estimator_: the regressor, fitted on all rows.
        half_width_: half the width of the interval, in the unit of the target.

    References:
        V. Vovk, "Cross-conformal predictors", 2015; R. F. Barber et al., "Predictive inference with
        the jackknife+", 2021.
    """

    def __init__(
        self, estimator: Any, coverage: float = 0.9, folds: int = 10, random_state: int = 0
    ) -> None:
        self.estimator = estimator
        self.coverage = coverage
        self.folds = folds
        self.random_state = random_state

    def fit(self, rows: np.ndarray, target: np.ndarray) -> Self:
        """Fit on rows of shape (n_rows, width) and target of shape (n_rows,).

        Raises:
            DataError: there are too few rows for this coverage or for the folds.
        """
        rank = int(np.ceil((len(rows) + 1) * self.coverage))
        if rank > len(rows) or len(rows) < self.folds:
            raise DataError(
                f"{len(rows)} rows are too few for intervals with a coverage of {self.coverage:g} "
                f"and {self.folds} folds"
            )
        # pylint: disable=attribute-defined-outside-init  # scikit-learn's convention
        folds = KFold(self.folds, shuffle=True, random_state=self.random_state)
        predicted = cross_val_predict(clone(self.estimator), rows, target, cv=folds)
        errors = np.abs(np.asarray(target) - np.asarray(predicted).reshape(-1))
        self.half_width_ = float(np.sort(errors)[rank - 1])
        self.estimator_ = clone(self.estimator).fit(rows, target)
        return self

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """float array of shape (n_rows,)."""
        return np.asarray(self.estimator_.predict(rows)).reshape(-1)

    def predict_interval(self, rows: np.ndarray) -> np.ndarray:
        """Prediction, lower and upper limit, float array of shape (n_rows, 3)."""
        middle = self.predict(rows)
        return np.stack([middle, middle - self.half_width_, middle + self.half_width_], axis=1)
