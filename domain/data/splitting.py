"""Splitting data into rows to learn from and rows that the model never sees."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from domain.contract import ModelSpec
from domain.data.dataset import Dataset
from domain.errors import DataError

_STRATA = 5
_MANY_TWINS = 0.9  # fewer different rows than this share


def hold_out(
    dataset: Dataset, spec: ModelSpec, test_size: float, random_state: int
) -> tuple[Dataset, Dataset]:
    """Split into training and hold-out rows, stratified by class, or by fifths of a quantity.

    Rows with the same inputs stay on one side: the iris data have such a pair, and a hold-out row
    that has a twin in training has been seen.

    Args:
        test_size: share of the rows that are held out, between 0 and 1.
        random_state: seed of the shuffle.

    Returns:
        (training, hold-out)

    Raises:
        DataError: a class, or the whole, has too few rows for both sides.
    """
    _, first, group = np.unique(dataset.row_hashes, return_index=True, return_inverse=True)
    order = np.argsort(first)  # groups in the order of the rows, so that a seed means one split
    target = (
        dataset.target
        if len(order) < _MANY_TWINS * len(dataset)
        else dataset.target.iloc[first[order]]
    )
    strata = np.asarray(target if spec.classes else _fifths(target, test_size))
    try:
        if len(target) == len(order):
            _, held = train_test_split(
                order, test_size=test_size, random_state=random_state, stratify=strata
            )
            mask = np.isin(group, held)
        else:  # many equal rows: so many groups would not be so many rows
            parts = max(2, round(1 / test_size))
            folds = StratifiedGroupKFold(parts, shuffle=True, random_state=random_state)
            mask = np.zeros(len(dataset), bool)
            mask[next(folds.split(strata, strata, group))[1]] = True
    except ValueError as error:
        raise DataError(
            f"{dataset.name} cannot be split: {error} (equal rows stay together, and "
            f"{len(order)} of {len(dataset)} rows are different)"
        ) from error
    training, holdout = dataset.take(~mask), dataset.take(mask)
    for side in (training, holdout):
        lacking = set(spec.classes).difference(side.target)
        if lacking or len(side) == 0:
            raise DataError(
                f"{dataset.name} cannot be split: one side would have no row"
                + f" of the class {sorted(lacking)[0]!r}" * bool(lacking)
            )
    return training, holdout


def _fifths(target: pd.Series, test_size: float) -> np.ndarray:
    """Which fifth of the values each is in, shape (n_rows,); coarser where rows are few.

    By rank, so that many equal values, such as zeros, leave no part with too few rows.
    """
    parts = min(_STRATA, int(len(target) * min(test_size, 1 - test_size)))
    return np.asarray(target.rank(method="first") - 1) * max(parts, 1) // len(target)
