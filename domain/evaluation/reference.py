"""A plain model of the training rows, which shows what can be reached on rows that are hard."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from domain.contract import ModelSpec, Text
from domain.evaluation.measures import repeat

_ROWS, _WIDTH = 20_000, 500  # that it learns from at most


def reference_predictions(
    spec: ModelSpec, training: np.ndarray, target: np.ndarray, rows: np.ndarray
) -> np.ndarray | None:
    """Predictions of gradient boosting, shape (n_rows, n_outputs); None for texts and for more than
    500 columns.

    Args:
        training: encoded training rows, shape (n_training, width); at most 20,000 are learned from,
            drawn with a fixed seed.
        target: their class numbers or values, shape (n_training,).
        rows: encoded rows to predict for, shape (n_rows, width).
    """
    if isinstance(spec.inputs[0], Text) or training.shape[1] > _WIDTH:
        return None
    if len(training) > _ROWS:
        drawn = np.random.default_rng(0).choice(len(training), _ROWS, replace=False)
        training, target = training[drawn], target[drawn]
    kind = HistGradientBoostingClassifier if spec.classes else HistGradientBoostingRegressor
    model = kind(max_iter=50, max_leaf_nodes=15, min_samples_leaf=10, random_state=0)
    with threadpool_limits(1):  # more threads wait for each other on a busy machine
        model.fit(training, target)
        if not spec.classes:
            return repeat(np.zeros(3), len(rows)) + model.predict(rows)[:, None]
        probabilities = np.zeros((len(rows), len(spec.classes)))
        probabilities[:, model.classes_] = model.predict_proba(rows)
    return probabilities
