"""Splitting data into training rows and hold-out rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from domain.contract import ModelSpec
from domain.data.dataset import Dataset
from domain.errors import DataError

_STRATA = 5
_MANY_DUPLICATES = 0.9  # if the share of distinct rows is below


def hold_out(
    dataset: Dataset, spec: ModelSpec, test_size: float, random_state: int
) -> tuple[Dataset, Dataset]:
    """Split into training and hold-out rows, stratified by class, or by fifths of a quantity.

    Rows with the same inputs stay on one side (the iris data have such a pair): a hold-out row with
    a duplicate in training would not be unseen.

    Args:
        test_size: share of the rows that are held out, between 0 and 1.
        random_state: seed of the shuffle.

    Returns:
        (training, hold-out)

    Raises:
        DataError: the data, or one class, have too few distinct rows for both sides.
    """
    _, first, group = np.unique(dataset.row_hashes, return_index=True, return_inverse=True)
    order = np.argsort(first)  # groups in row order, so that a seed always gives the same split
    target = (
        dataset.target
        if len(order) < _MANY_DUPLICATES * len(dataset)
        else dataset.target.iloc[first[order]]
    )
    strata = np.asarray(target if spec.classes else _fifths(target, test_size))
    try:
        if len(target) == len(order):
            _, held = train_test_split(
                order, test_size=test_size, random_state=random_state, stratify=strata
            )
            mask = np.isin(group, held)
        else:  # groups differ in size, so a share of the groups is not that share of the rows
            parts = max(2, round(1 / test_size))
            folds = StratifiedGroupKFold(parts, shuffle=True, random_state=random_state)
            mask = np.zeros(len(dataset), bool)
            mask[next(folds.split(strata, strata, group))[1]] = True
    except ValueError as error:
        raise DataError(
            f"{dataset.name} cannot be split: {error} (equal rows stay on one side, and "
            f"{len(order)} of {len(dataset)} rows are distinct)"
        ) from error
    training, holdout = dataset.take(~mask), dataset.take(mask)
    for side in (training, holdout):
        absent = set(spec.classes).difference(side.target)
        if absent or len(side) == 0:
            raise DataError(
                f"{dataset.name} cannot be split: one side would have no row"
                + f" of the class {sorted(absent)[0]!r}" * bool(absent)
            )
    return training, holdout


def _fifths(target: pd.Series, test_size: float) -> np.ndarray:
    """The fifth of the values that each belongs to, shape (n_rows,); fewer parts for few rows.

    Values are ranked, so that many equal ones, such as zeros, leave no part with too few rows.
    """
    parts = min(_STRATA, int(len(target) * min(test_size, 1 - test_size)))
    return np.asarray(target.rank(method="first") - 1) * max(parts, 1) // len(target)
