"""Splitting data into training rows and hold-out rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from domain.contract import ModelSpec
from domain.data.dataset import Dataset
from domain.errors import DataError
from shared.digests import unit_interval

_TOLERANCE = 0.05  # of a stratum's share, relative to `test_size`
_FIRST_ROWS = 50  # of a table: their fifths of a quantity are the strata of all later rows
_MOST_BIAS = 0.015  # difference of class shares that a comparison may have


def hold_out(
    dataset: Dataset, spec: ModelSpec, test_size: float, random_state: int
) -> tuple[Dataset, Dataset]:
    """Split into training and hold-out rows, stratified by class, or by fifths of a quantity.

    A hash of a row's inputs and the seed decides its side, so rows with the same inputs stay on one
    side (the iris data have such a pair), and rows that are appended move no earlier row. The
    earlier rows correct the hash where a stratum's share would be off: docs/decisions/0014.

    Args:
        test_size: share of the rows that are held out, between 0 and 1.
        random_state: seed of the hash.

    Returns:
        (training, hold-out)

    Raises:
        DataError: one side would have no row, or no row of a class.
    """
    strata = dataset.target.tolist() if spec.classes else _fifths(dataset.encoded_target(spec))
    mask = stable_sides(dataset.row_hashes.tolist(), strata, test_size, random_state)
    training, holdout = dataset.take(~mask), dataset.take(mask)
    distinct = len(set(dataset.row_hashes.tolist()))
    for side in (training, holdout):
        absent = sorted(set(spec.classes).difference(side.target))
        if absent or len(side) == 0:
            of_the_class = f" of the class {absent[0]!r}" if absent else ""
            raise DataError(
                f"{dataset.name} cannot be split: one side would have no row{of_the_class} (equal "
                f"rows stay on one side, and {distinct} of {len(dataset)} rows are distinct)"
            )
    return training, holdout


def stable_sides(
    units: Sequence[str], strata: Sequence[object], test_size: float, random_state: int
) -> np.ndarray:
    """Which rows are held out, bool of shape (n_rows,); no later row changes an earlier one.

    Args:
        units: of each row, what stays on one side: rows with the same unit do.
        strata: of each row, its class. Where a stratum has several units, both sides have one.
    """
    sides: dict[str, bool] = {}
    rows: Counter[object] = Counter()
    held: Counter[object] = Counter()
    mask = np.empty(len(units), bool)
    for row, (unit, stratum) in enumerate(zip(units, strata, strict=True)):
        if unit not in sides:
            chance = unit_interval(f"{random_state} {unit}")
            sides[unit] = _is_held(chance, rows[stratum], held[stratum], test_size)
        mask[row] = sides[unit]
        rows[stratum] += 1
        held[stratum] += sides[unit]
    return mask


def _is_held(chance: float, rows: int, held: int, test_size: float) -> bool:
    """The side of a new unit, after `rows` rows of its stratum of which `held` are held out."""
    if rows and held in (0, rows):
        return held == 0
    expected = test_size * (rows + 1)
    tolerance = max(1.0, _TOLERANCE * min(test_size, 1 - test_size) * rows)
    if held + 1 - expected >= tolerance:
        return False
    return expected - held >= tolerance or chance < test_size


def _fifths(target: np.ndarray) -> list[int]:
    """The stratum of each row: 0 for the first rows, then a fifth of their values, 1 to 5."""
    edges = np.quantile(target[:_FIRST_ROWS], [0.2, 0.4, 0.6, 0.8])
    strata = np.searchsorted(edges, target) + 1
    strata[:_FIRST_ROWS] = 0
    return strata.tolist()


def with_equal_shares(chosen: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The chosen rows, without as many as it takes to have the class shares of all rows.

    Unchanged if no share differs by more than 1.5 points, or by more than one standard error, which
    is larger for few rows. Otherwise the scarcest class stays whole, and of the others rows are
    left out at even distances.

    Args:
        chosen: bool of shape (n_rows,).
        classes: class number of each row, shape (n_rows,).
    """
    everywhere = np.bincount(classes)
    here = np.bincount(classes[chosen], minlength=len(everywhere))
    shares = everywhere / len(classes)
    if not here.any():
        return chosen
    tolerance = np.maximum(_MOST_BIAS, np.sqrt(shares * (1 - shares) / here.sum()))
    if (abs(here / here.sum() - shares) <= tolerance).all():
        return chosen
    present = everywhere > 0
    scale = (here[present] / everywhere[present]).min()
    kept = np.zeros(len(chosen), bool)
    for number in np.flatnonzero(present):
        rows = np.flatnonzero(chosen & (classes == number))
        count = round(scale * everywhere[number])
        kept[rows[np.linspace(0, len(rows) - 1, count).round().astype(int)]] = True
    return kept
