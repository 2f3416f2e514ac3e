"""Leakage: inputs that give the target away, and hold-out rows that are nearly in training.

An input that predicts the target on its own was probably recorded together with it, or after it.
"""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.neighbors import KDTree
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from domain.contract import ModelSpec, Text
from domain.evaluation.robustness import spreads

LIMITS = {"classification": 0.99, "regression": 0.999}  # a skill of this or more is a leak
_ROWS = 10_000
_FOLDS = 3
_VALUES = 10_000_000  # of each side, that are searched for near-duplicates at most
_NEAR = 1e-3  # standard deviations
_BELOW_ALL = -1e30  # stands for a missing value, which may also give the target away


def single_feature_skill(values: np.ndarray, target: np.ndarray, task: str) -> float:
    """How well one input alone predicts the target: 0 is no better than a constant, 1 is perfect.

    For a regression it is R². For classes it is the share of the baseline's errors that the input
    removes; the baseline always predicts the most frequent class. Measured by cross-validation of a
    small tree on at most 10,000 rows.

    Args:
        values: the input, shape (n_rows,), NaN where it is missing.
        target: class numbers or values, shape (n_rows,).
        task: ``classification`` or ``regression``.
    """
    if len(target) < _FOLDS or np.ptp(target) == 0:  # there is nothing to predict
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
    # stratified folds need a row of each class in every fold
    often = np.isin(known, np.flatnonzero(np.bincount(known) >= _FOLDS))
    column, known = column[often], known[often]
    if len(np.unique(known)) < 2:
        return 0.0
    baseline = np.bincount(known).max() / len(known)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    tree = DecisionTreeClassifier(max_leaf_nodes=256, random_state=0)
    score = float(cross_val_score(tree, column, known, cv=folds).mean())
    return (score - baseline) / (1 - baseline)


def near_duplicates(spec: ModelSpec, holdout: np.ndarray, training: np.ndarray) -> int:
    """Number of hold-out rows that are nearly, but not exactly, equal to a training row.

    Numbers and the values of tensors differ by at most 0.001 standard deviations; categories and
    missing values are the same. Texts differ in case and whitespace only. This finds duplicates
    that were rounded or typed differently, not rows that are merely similar.

    Args:
        holdout, training: encoded rows, shape (n_rows, width). Except for texts, at most 10,000
            rows and 10 million values of each are compared, drawn with a fixed seed; with more rows
            the result is a lower bound.
    """
    if len(holdout) == 0 or len(training) == 0:
        return 0
    if isinstance(spec.inputs[0], Text):
        return _similar_texts(holdout[:, 0], training[:, 0])
    holdout, training = _sample(holdout), _sample(training)
    spread = spreads(spec, np.concatenate([holdout, training]))
    scale = np.where(spread > 0, spread, 1)  # codes of categories are 1 apart
    tree = KDTree(_comparable(training, scale), metric="chebyshev")
    queries = _comparable(holdout, scale)
    near, equal = (tree.query_radius(queries, r, count_only=True) for r in (_NEAR, 0))
    return int((near > equal).sum())


def _similar_texts(holdout: np.ndarray, training: np.ndarray) -> int:
    originals: dict[str, set[str]] = {}
    for text in training:
        originals.setdefault(_normalized(text), set()).add(text)
    return sum(bool(originals.get(_normalized(text), set()) - {text}) for text in holdout)


def _normalized(text: str) -> str:
    return " ".join(text.casefold().split())


def _sample(rows: np.ndarray) -> np.ndarray:
    most = max(1, min(_ROWS, _VALUES // rows.shape[1]))
    if len(rows) <= most:
        return rows
    return rows[np.random.default_rng(0).choice(len(rows), most, replace=False)]


def _comparable(rows: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Scaled rows, followed by one column each that marks the missing values."""
    missing = np.isnan(rows)
    return np.concatenate([np.where(missing, 0, rows / scale), missing], axis=1)
