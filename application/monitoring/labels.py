"""Labels in bulk: a table of actual classes or values, joined with the predictions on record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np

from application.monitoring.export import Contracts
from application.monitoring.feedback import label_number
from application.ports.prediction_log import (
    BulkLabelStore,
    LabelCounts,
    LabelledPrediction,
    PredictedRow,
)
from domain.contract import ROW_IDS, ModelSpec, Transcript, as_word, is_missing
from domain.errors import InputError
from shared.wording import inflected

_LABELS_PER_SEARCH = 200_000
_LABELS_PER_WRITE = 20_000  # a service that writes meanwhile waits less than a second
_LARGEST_ROW = 2**31 - 1
_SHOWN = 5

Label = TypeVar("Label")
Key = tuple[str, int] | str
"""Request ID and row, or the ID of a row that its caller chose."""


@dataclass(frozen=True)
class LabelTable:
    """The columns of a table of labels, with values as the table has them.

    Attributes:
        names: request IDs, or the callers' IDs of rows if `by_id`.
        rows: positions in the requests; None where all are 0, and with `by_id`.
        actual: classes or values; text is read as a field of a CSV file.
        column: name of the column of classes or values.
        first_row: number that the first row has for those who open the file: 2 in a spreadsheet.
    """

    names: Sequence[Any]
    rows: Sequence[Any] | None
    actual: Sequence[Any]
    by_id: bool = False
    column: str = "actual"
    first_row: int = 0


@dataclass(frozen=True)
class LabelImport:
    """What became of the rows of a table.

    Attributes:
        labels: number of rows that label a prediction.
        predictions: number of predictions that they label; a later row replaces an earlier one.
        without_value: number of rows without an actual class or value, which were skipped.
        unknown: positions of the rows whose prediction is not in the log.
        other_class: positions of the rows with a class that the version of the prediction lacks.
        counts: how many of the labels were new, corrected and unchanged.
    """

    labels: int
    predictions: int
    without_value: int
    unknown: Sequence[int]
    other_class: Sequence[int] = ()
    counts: LabelCounts = LabelCounts()


def import_labels(
    log: BulkLabelStore,
    contracts: Contracts,
    table: LabelTable,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> LabelImport:
    """Record the labels of a table; doing it again changes nothing.

    Of several rows for a prediction, the last one counts. An ID of a caller labels the latest
    prediction for it. A class gets the number that it has in the version of the prediction.

    Args:
        contracts: of the versions in the log, and the champion's for all others.
        on_progress: called with the number of predictions whose label is in the log, or which are
            unknown, and with the number of all of them.

    Raises:
        InputError: a row is invalid: then nothing was recorded.
        PredictionLogError: the log is unavailable: labels until the last call of `on_progress` are
            recorded.
    """
    numbers = _NumbersByVersion(contracts, table.column)
    keys, actual = _read(contracts.champion, table, numbers.read)
    values = {key: label for key, label in zip(keys, actual) if label is not None}
    # request IDs start with their time, so sorted ones are in few places of the log
    order = sorted(values, key=str if table.by_id else itemgetter(0))
    unknown: set[Key] = set()
    other_class: set[Key] = set()
    counts = LabelCounts()
    for start in range(0, len(order), _LABELS_PER_SEARCH):
        chosen = order[start : start + _LABELS_PER_SEARCH]
        found = find_predictions(log, set(chosen))
        unknown |= (
            {key for key in chosen if key not in found} if len(found) < len(chosen) else set()
        )
        for first in range(0, len(chosen), _LABELS_PER_WRITE):
            some = chosen[first : first + _LABELS_PER_WRITE]
            matches = [
                (key, found[key], numbers.of(values[key], found[key].version))
                for key in some
                if key in found
            ]
            other_class.update(key for key, _, number in matches if number is None)
            labelled = (_labelled(row, number) for _, row, number in matches if number is not None)
            counts = counts.plus(log.label(*labelled, at=time.time()))
            on_progress(start + first + len(some), len(order))
    rows = [row for row, label in enumerate(actual) if label is not None]
    not_found, not_valid = (
        tuple(row for row in rows if keys[row] in some) if some else ()
        for some in (unknown, other_class)
    )
    return LabelImport(
        len(rows) - len(not_found) - len(not_valid),
        len(order) - len(unknown) - len(other_class),
        len(keys) - len(rows),
        not_found,
        not_valid,
        counts,
    )


class _NumbersByVersion:
    """What a label is in the numbers of each version."""

    def __init__(self, contracts: Contracts, column: str) -> None:
        specs = [contracts.champion, *contracts.by_version.values()]
        different = {spec.classes: spec for spec in specs}
        places = {classes: place for place, classes in enumerate(different)}
        self._specs, self._column = list(different.values()), column
        self._place = {
            version: places[spec.classes] for version, spec in contracts.by_version.items()
        }
        self.read = lru_cache(1024, typed=True)(self._read)  # classes repeat

    def _read(self, value: Any) -> tuple[float | None, ...] | None:
        """The number for each list of classes, None where it lacks the class; None if the label is
        missing.

        Raises:
            InputError: no version has this class, or it is not a finite number.
        """
        numbers: list[float | None] = []
        faults: list[InputError] = []
        for spec in self._specs:
            try:
                number = _label(spec, self._column, value)
                numbers.append(None if np.isnan(number) else number)
            except InputError as error:
                numbers.append(None)
                faults.append(error)
        if len(faults) == len(numbers):
            raise faults[0]
        return None if all(number is None for number in numbers) else tuple(numbers)

    def of(self, numbers: tuple[float | None, ...], version: str | None) -> float | None:
        """The number for one version; that for the champion if its contract is unknown."""
        return numbers[self._place.get(version or "", 0)]


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
    number_of = lru_cache(1024, typed=True)(partial(_label, spec, table.column))
    keys, numbers = _read(spec, table, number_of)
    return keys, np.array(numbers, np.float64)


def _read(
    spec: ModelSpec, table: LabelTable, read: Callable[[Any], Label]
) -> tuple[list[Key], list[Label]]:
    """The keys and what is read of each label.

    Raises:
        InputError: a row is invalid.
    """
    if isinstance(spec.output, Transcript):
        raise InputError(f"{spec.name} takes recordings, whose predictions are not on record")
    keys: list[Any] = []
    labels: list[Label] = []
    faults: list[str] = []
    for position, (name, label) in enumerate(zip(table.names, table.actual, strict=True)):
        try:
            row = None if table.rows is None else table.rows[position]
            keys.append(_id_of(name) if table.by_id else (_request_id(name), _position(row)))
            labels.append(read(label))
        except InputError as error:
            faults.append(f"row {table.first_row + position}, {error}")
    if faults:
        more = f"; and {len(faults) - _SHOWN:,} more" if len(faults) > _SHOWN else ""
        are = inflected(len(faults), "is", "are")
        first = table.first_row
        counted = "the header is row 1" if first == 2 else f"the first row is {first}"
        raise InputError(
            f"nothing was recorded: {len(faults):,} of {len(table.names):,} rows {are} invalid "
            f"({counted}): {'; '.join(faults[:_SHOWN])}{more}"
        )
    return keys, labels


def _id_of(name: Any) -> str:
    text = ROW_IDS.text(name)
    if text is None:
        raise InputError("id: missing")
    return text


def _request_id(name: Any) -> str:
    if isinstance(name, str) and name.isalnum():  # nearly every one
        return name
    if is_missing(name) or name == "":
        raise InputError("request_id: missing")
    return as_word(name).strip()


def _position(row: Any) -> int:
    """The position of a row in its request; 0 if it is missing."""
    if row is None or is_missing(row):
        return 0
    word = as_word(row).strip()
    if not word.isdecimal() or int(word) > _LARGEST_ROW:
        raise InputError(f"row: {repr(row)[:100]} is not a position in a request: send 0, 1, 2, …")
    return int(word)


def _label(spec: ModelSpec, column: str, value: Any) -> float:
    """The number of a class, or the value; NaN if it is missing."""
    if isinstance(value, str):
        value = spec.output.parse(value)  # type: ignore[union-attr]  # no Transcript
    if is_missing(value):
        return np.nan
    word = as_word(value) if spec.classes else ""
    if word.isdecimal() and word not in spec.classes:
        value = int(word)  # number of a class, a float where others are missing
    return label_number(spec.classes, column, value)
