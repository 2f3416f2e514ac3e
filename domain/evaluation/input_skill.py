"""How well one input, or two, predict the target without any other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import sqrt
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

_STANDARD_ERRORS = 3
_ROWS = 10_000
_FOLDS = 3
_BELOW_ALL = -1e30  # stands for a missing value, which may also give the target away
_BINS = 16


class Skill(NamedTuple):
    """How well inputs predict the target: 0 is no better than a constant, 1 is perfect.

    Attributes:
        error: standard error of the value, from the number of rows.
    """

    value: float
    error: float = 0.0

    @property
    def certain(self) -> float:
        """The skill that the inputs have for certain: three standard errors below the value."""
        return self.value - _STANDARD_ERRORS * self.error


def single_feature_skill(values: np.ndarray, target: np.ndarray, task: str) -> Skill:
    """How well one input alone predicts the target, by cross-validation of small trees.

    For a regression it is R². For classes it is the share of a constant's error that the input
    removes, where the error is the mean over the classes of the share of their rows that is wrong:
    (balanced accuracy − 1/K) / (1 − 1/K) for K classes. Plain accuracy would hide a leak of a rare
    class behind a few false alarms: with 1 % positives, 0.5 % of false alarms cost half of it, but
    0.005 of this skill. The tree weighs the classes alike.

    Args:
        values: the input, shape (n_rows,), NaN where it is missing. At most 10,000 rows are used.
        target: class numbers or values, shape (n_rows,).
        task: ``classification`` or ``regression``.

    References:
        K. Brodersen et al., "The balanced accuracy and its posterior distribution", 2010.
    """
    skill = _tree_skill(values[:, None], target, task)
    enough = len(target) >= _FOLDS and np.ptp(target) > 0
    if task == "regression" and enough and np.isfinite(values).all() and np.ptp(values) > 0:
        return max(skill, Skill(float(np.corrcoef(values, target)[0, 1]) ** 2))
    return skill


def name_skill(values: np.ndarray, target: np.ndarray, task: str) -> Skill:
    """Like `single_feature_skill`, of numbers that name rows: their ranges and last digits."""
    digits = [values % number for number in (2, 3, 7, 10, 100)]
    return _tree_skill(np.column_stack([values, *digits]), target, task)


def pair_skill(first: np.ndarray, second: np.ndarray, target: np.ndarray, task: str) -> Skill:
    """Like `single_feature_skill`, of both inputs and their difference.

    Args:
        first, second: shape (n_rows,) each.
    """
    skill = _tree_skill(np.column_stack([first, second, first - second]), target, task)
    if task == "regression":
        return max(skill, Skill(float(_linear_skills([first, second], target)[0, 1])))
    return skill


def best_pairs(
    columns: Sequence[np.ndarray], target: np.ndarray, task: str
) -> list[tuple[int, int]]:
    """Positions of every pair of columns, those that seem to predict the target best first.

    A table of 16 × 16 bins is filled with one half of the rows and judged on the other: its cells
    predict the class that is most frequent there for its size, or the mean. Pairs for a quantity
    are also judged by a linear regression. This costs a few passes over at most 10,000 rows per
    pair, where a tree would cost a hundred times more.
    """
    if len(columns) < 2 or len(target) < 2 * _FOLDS or np.ptp(target) == 0:
        return []
    rows = _sampled_rows(len(target))
    columns, target = [column[rows] for column in columns], target[rows]
    codes = [_bins(column) for column in columns]
    half = np.random.default_rng(0).permutation(len(target)) < len(target) // 2
    pairs = list(combinations(range(len(columns)), 2))
    table_skill = _quantity_table_skill if task == "regression" else _class_table_skill
    scores = {
        (first, second): table_skill(codes[first] * (_BINS + 1) + codes[second], target, half)
        for first, second in pairs
    }
    if task == "regression":
        linear = _linear_skills(columns, target)
        scores = {pair: max(score, linear[pair]) for pair, score in scores.items()}
    return sorted(pairs, key=lambda pair: -scores[pair])


def _tree_skill(columns: np.ndarray, target: np.ndarray, task: str) -> Skill:
    """Cross-validated skill of a tree, for classes of the better one of two.

    Args:
        columns: shape (n_rows, n_columns), NaN where missing.
    """
    rows = _sampled_rows(len(target))
    inputs, known = np.nan_to_num(columns[rows], nan=_BELOW_ALL), target[rows]
    if len(known) < _FOLDS or np.ptp(known) == 0:  # there is nothing to predict
        return Skill(0.0)
    if task == "regression":
        tree = DecisionTreeRegressor(max_leaf_nodes=1000, random_state=0)
        errors = np.square(known - _out_of_fold(tree, inputs, known, KFold))
        return Skill(1 - float(errors.sum() / np.square(known - known.mean()).sum()))
    # stratified folds need a row of each class in every fold
    often = np.isin(known, np.flatnonzero(np.bincount(known) >= _FOLDS))
    inputs, known = inputs[often], known[often]
    classes = len(np.unique(known))
    if classes < 2:
        return Skill(0.0)
    trees = [
        DecisionTreeClassifier(max_leaf_nodes=leaves, class_weight="balanced", random_state=0)
        for leaves in (classes + 1, 256)  # few learn no exceptions, many find every range
    ]
    return max(
        _balanced_skill(_out_of_fold(tree, inputs, known, StratifiedKFold) == known, known)
        for tree in trees
    )


def _balanced_skill(right: np.ndarray, target: np.ndarray) -> Skill:
    """The skill for classes, by which rows are right, bool of shape (n_rows,).

    For the standard error one more row of each class is wrong: a few rows that are all right do not
    make the skill certain.
    """
    _, group, counts = np.unique(target, return_inverse=True, return_counts=True)
    hits = np.bincount(group, right)
    recalls, lower = hits / counts, hits / (counts + 1)
    constant = 1 / len(counts)
    error = sqrt(float((lower * (1 - lower) / (counts + 1)).sum())) / len(counts)
    return Skill(float(recalls.mean() - constant) / (1 - constant), error / (1 - constant))


def _out_of_fold(
    tree: DecisionTreeClassifier | DecisionTreeRegressor,
    inputs: np.ndarray,
    target: np.ndarray,
    folds: type[KFold] | type[StratifiedKFold],
) -> np.ndarray:
    """Predictions of every row by trees that were fitted without it, shape (n_rows,)."""
    predictions = np.empty(target.shape, target.dtype)
    for fit, test in folds(_FOLDS, shuffle=True, random_state=0).split(inputs, target):
        predictions[test] = tree.fit(inputs[fit], target[fit]).predict(inputs[test])
    return predictions


def _bins(column: np.ndarray) -> np.ndarray:
    """The bin of every value, from 0 to 15 in ascending order, 16 if missing, shape (n_rows,)."""
    known = column[np.isfinite(column)]
    distinct = np.unique(known)
    if len(distinct) > _BINS:
        distinct = np.unique(np.quantile(known, np.arange(_BINS) / _BINS))
    codes = np.searchsorted(distinct, column, side="right") - 1
    return np.where(np.isfinite(column), codes, _BINS)


def _class_table_skill(cells: np.ndarray, target: np.ndarray, half: np.ndarray) -> float:
    """Balanced accuracy on one half of the rows of the classes that are frequent in each cell, for
    their class, in the other half."""
    classes, size = int(target.max()) + 1, (_BINS + 1) ** 2
    fit, test = (
        np.bincount(cells[part] * classes + target[part], minlength=size * classes).reshape(
            -1, classes
        )
        for part in (half, ~half)
    )
    right = np.zeros(classes)
    predicted = (fit / np.maximum(1, fit.sum(axis=0))).argmax(axis=1)
    np.add.at(right, predicted, test[np.arange(size), predicted])
    counts = test.sum(axis=0)
    return float((right[counts > 0] / counts[counts > 0]).mean())


def _quantity_table_skill(cells: np.ndarray, target: np.ndarray, half: np.ndarray) -> float:
    """R² on one half of the rows of the mean of each cell in the other half."""
    size, overall = (_BINS + 1) ** 2, float(target[half].mean())
    counts = np.bincount(cells[half], minlength=size)
    sums = np.bincount(cells[half], target[half] - overall, minlength=size)
    errors = target[~half] - overall - (sums / np.maximum(1, counts))[cells[~half]]
    return 1 - float(np.square(errors).mean() / max(np.var(target[~half]), 1e-300))


def _linear_skills(columns: Sequence[np.ndarray], target: np.ndarray) -> np.ndarray:
    """R² of a linear regression on each pair of columns, shape (n_columns, n_columns); 0 where a
    value is missing or a column is constant."""
    usable = [bool(np.isfinite(column).all() and np.ptp(column) > 0) for column in columns]
    skills = np.zeros((len(columns), len(columns)))
    if sum(usable) < 2:
        return skills
    table = np.array([column for column, fine in zip(columns, usable, strict=True) if fine])
    correlations = np.corrcoef(np.vstack([table, target]))
    with_target, between = correlations[:-1, -1], correlations[:-1, :-1]
    squares = np.square(with_target)[:, None] + np.square(with_target)
    explained = squares - 2 * np.outer(with_target, with_target) * between
    independent = 1 - np.square(between)
    found = np.where(independent > 1e-6, explained / np.maximum(independent, 1e-6), 0)
    skills[np.ix_(usable, usable)] = found
    return skills


def _sampled_rows(count: int) -> np.ndarray:
    rows = np.arange(count)
    if count > _ROWS:
        return np.random.default_rng(0).choice(rows, _ROWS, replace=False)
    return rows
