"""Whether the data tell what they must not.

One input alone may tell the target: it was then written down with it, or after it. And a hold-out
row may be nearly one that was learned from.
"""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.neighbors import KDTree
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from domain.contract import ModelSpec, Text
from domain.evaluation.robustness import spreads

LIMITS = {"classification": 0.99, "regression": 0.999}  # from which on an input is a leak
_ROWS = 10_000
_FOLDS = 3
_VALUES = 10_000_000  # most values of a side that are searched for twins
_NEAR = 1e-3  # standard deviations
_BELOW_ALL = -1e30  # stands for a missing value, which may tell the target too


def single_feature_skill(values: np.ndarray, target: np.ndarray, task: str) -> float:
    """Share of a trivial answer's error that is gone when one input is known; 1 is all of it.

    Measured by cross-validation of a small tree on that input; of at most 10,000 rows.

    Args:
        values: the input, shape (n_rows,), NaN where it is missing.
        target: class numbers or values, shape (n_rows,).
        task: ``classification`` or ``regression``.
    """
    if len(target) < _FOLDS or np.ptp(target) == 0:  # there is nothing to tell
        return 0.0
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


def near_duplicates(spec: ModelSpec, holdout: np.ndarray, training: np.ndarray) -> int:
    """Number of hold-out rows that are nearly, but not quite, a row of training.

    Every number, and every value of a tensor, is within 0.001 standard deviations of the other's;
    categories and what is missing are the same. Texts are the same but for case and blanks. So
    rounding, another unit or another keyboard is seen through, and no more than that.

    Args:
        holdout, training: rows as the model gets them, shape (n_rows, width). Of each, other than
            texts, at most 10,000 rows, and 10 million values, drawn with a fixed seed, are looked
            at: of more rows the number is at least this.
    """
    if len(holdout) == 0 or len(training) == 0:
        return 0
    if isinstance(spec.inputs[0], Text):
        return _alike_texts(holdout[:, 0], training[:, 0])
    holdout, training = _some(holdout), _some(training)
    spread = spreads(spec, np.concatenate([holdout, training]))
    scale = np.where(spread > 0, spread, 1)  # codes of categories are 1 apart
    tree = KDTree(_comparable(training, scale), metric="chebyshev")
    asked = _comparable(holdout, scale)
    near, equal = (tree.query_radius(asked, r, count_only=True) for r in (_NEAR, 0))
    return int((near > equal).sum())


def _alike_texts(holdout: np.ndarray, training: np.ndarray) -> int:
    learned: dict[str, set[str]] = {}
    for text in training:
        learned.setdefault(_plain(text), set()).add(text)
    return sum(bool(learned.get(_plain(text), set()) - {text}) for text in holdout)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _some(rows: np.ndarray) -> np.ndarray:
    most = max(1, min(_ROWS, _VALUES // rows.shape[1]))
    if len(rows) <= most:
        return rows
    return rows[np.random.default_rng(0).choice(len(rows), most, replace=False)]


def _comparable(rows: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Rows of the same scale, and beside them which of their values are missing."""
    missing = np.isnan(rows)
    return np.concatenate([np.where(missing, 0, rows / scale), missing], axis=1)
