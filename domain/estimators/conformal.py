"""Regression with conformal prediction intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, clone

from domain.errors import DataError
from domain.estimators.fitting import default_folds, fit_estimator, fit_on, make_folds
from domain.estimators.search import without_search

if TYPE_CHECKING:  # a server has this module, without the data
    from domain.data.split_keys import SplitKeys


class ConformalRegressor(RegressorMixin, BaseEstimator):
    """Any regressor, with an interval of constant width around its predictions.

    The width is a quantile of the regressor's errors in cross-validation. So no rows are set apart
    for calibration; in return the coverage is guaranteed only approximately: measure it on a
    hold-out. If the regressor searches for parameters, the folds use those that it found on all
    rows.

    Args:
        estimator: the regressor.
        coverage: share of the true values that the intervals should contain.
        folds: number of folds of the cross-validation; None for `default_folds`.
        random_state: seed of the folds.

    Attributes:
        estimator_: the regressor, fitted on all rows.
        half_width_: half the width of the interval, in the unit of the target.
        fits_: how many times the regressor was fitted.
        fold_predictions_: for each fold the positions of the rows that it tests and the predictions
            for them, of shape (n_tested,) both. They are not kept when it is saved.

    References:
        V. Vovk, "Cross-conformal predictors", 2015; R. F. Barber et al., "Predictive inference with
        the jackknife+", 2021.
    """

    def __init__(
        self,
        estimator: Any,
        coverage: float = 0.9,
        folds: int | None = None,
        random_state: int = 0,
    ) -> None:
        self.estimator = estimator
        self.coverage = coverage
        self.folds = folds
        self.random_state = random_state

    def fit(self, rows: np.ndarray, target: np.ndarray, keys: SplitKeys | None = None) -> Self:
        """Fit on rows of shape (n_rows, width) and target of shape (n_rows,).

        Args:
            keys: of the rows, if the folds must follow time or group. Folds in time leave the
                earliest rows without an error.

        Raises:
            DataError: there are too few rows for this coverage or for the folds.
        """
        number = self.folds or default_folds(len(rows))
        needs = f"intervals with a coverage of {self.coverage:g} and {number} folds"
        try:
            folds = make_folds(keys, len(rows), number, self.random_state)
        except ValueError as error:
            raise DataError(f"{len(rows)} rows are too few for {needs}: {error}") from error
        count = sum(len(test) for _, test in folds)
        rank = int(np.ceil((count + 1) * self.coverage))
        if rank > count:
            raise DataError(f"{count} rows are too few for {needs}")
        # pylint: disable=attribute-defined-outside-init  # scikit-learn's convention
        self.estimator_ = fit_estimator(clone(self.estimator), rows, target, keys)
        self.fold_predictions_ = []
        for fit, test in folds:
            fitted = fit_on(fit, without_search(self.estimator_), rows, target, keys)
            self.fold_predictions_.append(
                (test, np.asarray(fitted.predict(rows[test])).reshape(-1))
            )
        errors = [np.abs(target[test] - predicted) for test, predicted in self.fold_predictions_]
        self.fits_ = 1 + len(folds)
        self.half_width_ = float(np.sort(np.concatenate(errors))[rank - 1])
        return self

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "fold_predictions_"}

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """float array of shape (n_rows,)."""
        return np.asarray(self.estimator_.predict(rows)).reshape(-1)

    def predict_interval(self, rows: np.ndarray) -> np.ndarray:
        """Prediction, lower and upper limit, float array of shape (n_rows, 3)."""
        middle = self.predict(rows)
        return np.stack([middle, middle - self.half_width_, middle + self.half_width_], axis=1)
