"""Whether one input alone tells the target: it was then written down with it, or after it."""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

LIMITS = {"classification": 0.99, "regression": 0.999}  # from which on an input is a leak
_ROWS = 10_000
_FOLDS = 3
_BELOW_ALL = -1e30  # stands for a missing value, which may tell the target too


def told_by(values: np.ndarray, target: np.ndarray, task: str) -> float:
    """Share of a trivial answer's error that is gone when one input is known; 1 is all of it.

    Measured by cross-validation of a small tree on that input; of at most 10,000 rows.

    Args:
        values: the input, shape (n_rows,), NaN where it is missing.
        target: class numbers or values, shape (n_rows,).
        task: ``classification`` or ``regression``.
    """
    rows = np.arange(len(values))
    if len(rows) > _ROWS:
        rows = np.random.default_rng(0).choice(rows, _ROWS, replace=False)
    column, known = np.nan_to_num(values[rows], nan=_BELOW_ALL)[:, None], target[rows]
    if task == "regression":
        tree = DecisionTreeRegressor(max_leaf_nodes=1000, random_state=0)
        folds = KFold(_FOLDS, shuffle=True, random_state=0)
        score = float(cross_val_score(tree, column, known, cv=folds, scoring="r2").mean())
        if np.ptp(column) > 0 and np.isfinite(values).all():
            score = max(score, float(np.corrcoef(column[:, 0], known)[0, 1]) ** 2)
        return score
    often = np.isin(known, np.flatnonzero(np.bincount(known) >= _FOLDS))  # others fit no fold
    column, known = column[often], known[often]
    if len(np.unique(known)) < 2:
        return 0.0
    baseline = np.bincount(known).max() / len(known)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    tree = DecisionTreeClassifier(max_leaf_nodes=256, random_state=0)
    score = float(cross_val_score(tree, column, known, cv=folds).mean())
    return (score - baseline) / (1 - baseline)
