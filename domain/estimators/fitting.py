"""Fits an estimator, with the keys of its rows if it sets rows apart itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import has_fit_parameter

if TYPE_CHECKING:  # a server has this module, without the data
    from domain.data.split_keys import SplitKeys


def fit_estimator(
    estimator: Any, rows: np.ndarray, target: np.ndarray, keys: SplitKeys | None
) -> Any:
    """The estimator, fitted on rows of shape (n_rows, width) and a target of shape (n_rows,).

    Args:
        keys: of the rows, if their split follows time or group; passed on if `fit` has a parameter
            of this name.
    """
    if keys is not None and has_fit_parameter(estimator, "keys"):
        return estimator.fit(rows, target, keys=keys)
    return estimator.fit(rows, target)
