"""Labels in bulk: a table of actual classes or values, joined with the predictions on record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any

import numpy as np

from application.monitoring.feedback import label_number
from application.ports.prediction_log import BulkLabelStore, LabelledPrediction, PredictedRow
from domain.contract import ROW_IDS, ModelSpec, Transcript, as_word, is_missing
from domain.errors import InputError

_LABELS_PER_SEARCH = 200_000
_LABELS_PER_WRITE = 20_000  # a service that writes meanwhile waits less than a second
_LARGEST_ROW = 2**31 - 1
_SHOWN = 5

Key = tuple[str, int] | str
"""Request ID and row, or the ID of a row that its caller chose."""


@dataclass(frozen=True)
class LabelTable:
    """The columns of a table of labels, with values as the table has them.

    Attributes:
        names: request IDs, or the callers' IDs of rows if `by_id`.
        rows: positions in the requests; None where all are 0, and with `by_id`.
        actual: classes or values; text is read as a field of a CSV file.
    """

    names: Sequence[Any]
    rows: Sequence[Any] | None
    actual: Sequence[Any]
    by_id: bool = False


@dataclass(frozen=True)
class LabelImport:
    """What became of the rows of a table.

    Attributes:
        labels: number of rows that label a prediction.
        predictions: number of predictions that they label; a later row replaces an earlier one.
        without_value: number of rows without an actual class or value, which were skipped.
        unknown: positions of the rows whose prediction is not in the log.
    """

    labels: int
    predictions: int
    without_value: int
    unknown: Sequence[int]


def import_labels(
    log: BulkLabelStore,
    spec: ModelSpec,
    table: LabelTable,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> LabelImport:
    """Record the labels of a table; doing it again changes nothing.

    Of several rows for a prediction, the last one counts. An ID of a caller labels the latest
    prediction for it.

    Args:
        on_progress: called with the number of predictions whose label is in the log, or which are
            unknown, and with the number of all of them.

    Raises:
        InputError: a row is invalid: then nothing was recorded.
        PredictionLogError: the log is unavailable: labels until the last call of `on_progress` are
            recorded.
    """
    keys, actual = keys_and_labels(spec, table)
    rows, numbers = np.flatnonzero(~np.isnan(actual)).tolist(), actual.tolist()
    values = {keys[row]: numbers[row] for row in rows}
    # request IDs start with their time, so sorted ones are in few places of the log
    order = sorted(values, key=str if table.by_id else itemgetter(0))
    unknown: set[Key] = set()
    for start in range(0, len(order), _LABELS_PER_SEARCH):
        chosen = order[start : start + _LABELS_PER_SEARCH]
        found = find_predictions(log, set(chosen))
        unknown |= (
            {key for key in chosen if key not in found} if len(found) < len(chosen) else set()
        )
        for first in range(0, len(chosen), _LABELS_PER_WRITE):
            some = chosen[first : first + _LABELS_PER_WRITE]
            matches = [(found[key], values[key]) for key in some if key in found]
            log.label(*(_labelled(*match) for match in matches), at=time.time())
            on_progress(start + first + len(some), len(order))
    unlabelled = [row for row in rows if keys[row] in unknown] if unknown else []
    return LabelImport(
        len(rows) - len(unlabelled), len(order) - len(unknown), len(keys) - len(rows), unlabelled
    )


def find_predictions(log: BulkLabelStore, keys: set[Any]) -> Mapping[Any, PredictedRow]:
    """The predictions on record for some keys, which are all of one kind."""
    by_id = isinstance(next(iter(keys)), str)
    return log.find_ids(keys) if by_id else log.find_rows(keys)


def _labelled(row: PredictedRow, actual: float) -> LabelledPrediction:
    return LabelledPrediction(*row[:3], actual, *row[3:])


def keys_and_labels(spec: ModelSpec, table: LabelTable) -> tuple[list[Key], np.ndarray]:
    """The keys, and the numbers of the labels, float64 of shape (n_rows,), NaN where missing.

    Raises:
        InputError: a row is invalid.
    """
    if isinstance(spec.output, Transcript):
        raise InputError(f"{spec.name} takes recordings, whose predictions are not on record")
    keys: list[Any] = []
    number_of = lru_cache(1024, typed=True)(partial(_label, spec))  # classes repeat
    actual = np.full(len(table.names), np.nan)
    faults: list[str] = []
    for number, (name, label) in enumerate(zip(table.names, table.actual, strict=True)):
        try:
            row = None if table.rows is None else table.rows[number]
            keys.append(_id_of(name) if table.by_id else (_request_id(name), _position(row)))
            actual[number] = number_of(label)
        except InputError as error:
            faults.append(f"row {number}, {error}")
    if faults:
        more = f"; and {len(faults) - _SHOWN:,} more" if len(faults) > _SHOWN else ""
        raise InputError(
            f"nothing was recorded: {len(faults):,} of {len(actual):,} rows are invalid (the first "
            f"row is 0): {'; '.join(faults[:_SHOWN])}{more}"
        )
    return keys, actual


def _id_of(name: Any) -> str:
    text = ROW_IDS.text(name)
    if text is None:
        raise InputError("id: missing")
    return text


def _request_id(name: Any) -> str:
    if is_missing(name) or name == "":
        raise InputError("request_id: missing")
    return as_word(name).strip()


def _position(row: Any) -> int:
    """The position of a row in its request; 0 if it is missing."""
    if is_missing(row):
        return 0
    word = as_word(row).strip()
    if not word.isdecimal() or int(word) > _LARGEST_ROW:
        raise InputError(f"row: {repr(row)[:100]} is not a position in a request: send 0, 1, 2, …")
    return int(word)


def _label(spec: ModelSpec, value: Any) -> float:
    """The number of a class, or the value; NaN if it is missing."""
    if isinstance(value, str):
        value = spec.output.parse(value)  # type: ignore[union-attr]  # no Transcript
    if is_missing(value):
        return np.nan
    word = as_word(value) if spec.classes else ""
    if word.isdecimal() and word not in spec.classes:
        value = int(word)  # number of a class, a float where others are missing
    return label_number(spec, "actual", value)
