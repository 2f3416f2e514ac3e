"""Predictions of a native model, in the form that all models share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from domain.contract import ModelSpec


def predict_function(estimator: Any, spec: ModelSpec) -> Callable[[np.ndarray], np.ndarray]:
    """A fitted estimator as a function from encoded rows to predictions.

    Returns:
        A function that returns an array of shape (n_rows, n_columns): probabilities of the classes,
        or prediction, lower and upper limit, or only the prediction of a regressor without them.
    """
    if spec.classes:
        return estimator.predict_proba
    if hasattr(estimator, "predict_interval"):
        return estimator.predict_interval
    return lambda rows: np.reshape(estimator.predict(rows), (-1, 1))
