"""Splitting data into training rows and hold-out rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from domain.contract import ModelSpec, as_word, format_names
from domain.data.dataset import Dataset
from domain.data.split_keys import SplitKeys, stable_sides
from domain.errors import DataError, reason_of
from shared.wording import inflected

_FIRST_ROWS = 50  # of a table: their fifths of a quantity are the strata of all later rows
_MOST_BIAS = 0.015  # difference of class shares that a comparison may have


def with_keys(
    dataset: Dataset,
    time: str | None = None,
    group: str | None = None,
    gap: float = 0.0,
    start: str | float | None = None,
) -> Dataset:
    """The data set, whose split follows these columns; they need not be inputs.

    Args:
        time: column of dates such as 2026-01-31, with or without a time of day, or of numbers.
        group: column of what must not be on both sides, such as a customer.
        gap: in days for dates, else in the unit of the column.
        start: date or number from which rows are held out, in place of the last share.

    Raises:
        DataError: a column is missing, or a row has no value in it, or no valid date.
    """
    times = starts = groups = None
    if time is not None:
        column = _column(dataset, time)
        times = _times(column, dataset.name)
        if start is not None:
            starts = _times(pd.Series([start], name="data.split.start"), dataset.name)[0]
            if pd.api.types.is_numeric_dtype(column) != isinstance(start, int | float):
                raise DataError(
                    f"data.split.start is {start!r}, and {time} has values such as "
                    f"{column.iloc[0]}: write it in the same way"
                )
    if group is not None:
        groups = np.array([as_word(value) for value in _column(dataset, group).tolist()], object)
    return replace(dataset, keys=SplitKeys(times, groups, gap, starts))


def _column(dataset: Dataset, name: str) -> pd.Series:
    frames = [frame for frame in (dataset.others, dataset.inputs) if frame is not None]
    for frame in frames:
        if name in frame.columns:
            missing = int(frame[name].isna().sum())
            if missing:
                raise DataError(
                    f"{dataset.name}: {missing} of {len(dataset)} rows "
                    f"{inflected(missing, 'has', 'have')} no {name}, which data.split needs: fill "
                    "them, or remove these rows"
                )
            return frame[name]
    columns = format_names(str(column) for frame in frames for column in frame.columns)
    raise DataError(
        f"{dataset.name} has no column {name!r}, which data.split names; it has {columns} (`load` "
        "hands over columns that are not inputs as `others` of the Dataset; read_table does)"
    )


def _times(column: pd.Series, source: str) -> np.ndarray:
    """Numbers as they are, dates as days since 1970; float64 of shape (n_rows,)."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.to_numpy(np.float64)
    try:
        dates = pd.to_datetime(column, format="ISO8601", utc=True)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{source}: {column.name} must have dates such as 2026-01-31, or numbers: "
            f"{reason_of(error)}"
        ) from error
    days = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)
    return days.to_numpy(np.float64)


def hold_out(
    dataset: Dataset, spec: ModelSpec, test_size: float, random_state: int
) -> tuple[Dataset, Dataset]:
    """The data set's training and hold-out rows, as `hold_out_masks` splits them."""
    learned, held = hold_out_masks(dataset, spec, test_size, random_state)
    return dataset.take(learned), dataset.take(held)


def hold_out_masks(
    dataset: Dataset, spec: ModelSpec, test_size: float, random_state: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split into training and hold-out rows; appended rows move no earlier row.

    At random, stratified by class, or by fifths of a quantity: a hash of a row's inputs and the
    seed decides its side, and the rows before it correct the hash where a stratum's share would be
    off (docs/decisions/0014). Rows with the same inputs stay on one side; the iris data have such a
    pair.

    A data set with keys is split by time, by group, or by both; see `SplitKeys.sides`. By group, a
    row with the inputs of an earlier row on the other side is on neither side. By time, rows of
    different times are different rows, even if their inputs are equal.

    Args:
        test_size: share of the rows, or of the groups, that are held out, between 0 and 1.
        random_state: seed of the hash.

    Returns:
        Which rows are for training, and which are held out: bool of shape (n_rows,) each.

    Raises:
        DataError: one side would have no row, or no row of a class.
    """
    strata = dataset.target.tolist() if spec.classes else _fifths(dataset.encoded_target(spec))
    hashes, keys = dataset.row_hashes.tolist(), dataset.keys
    if keys is None:
        held = stable_sides(hashes, strata, test_size, random_state)
        learned = ~held
        rule = (
            f"equal rows stay on one side, and {len(set(hashes))} of {len(dataset)} rows "
            f"{inflected(len(set(hashes)), 'is', 'are')} distinct"
        )
    else:
        learned, held = keys.sides(strata, test_size, random_state, keys.start)
        rule = "it is split by data.split"
        if keys.time is None:
            first: dict[str, bool] = {}
            same = np.array([first.setdefault(*each) == each[1] for each in zip(hashes, held)])
            learned, held = learned & same, held & same
    for side, mask in (("training", learned), ("the hold-out", held)):
        absent = sorted(set(spec.classes).difference(dataset.target[mask]))
        if absent or not mask.any():
            of_the_class = f" of the class {absent[0]!r}" if absent else ""
            raise DataError(
                f"{dataset.name} cannot be split: {side} would have no row{of_the_class} ({rule})"
            )
    return learned, held


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
