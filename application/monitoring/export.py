"""Every prediction of a period as the row of a table: inputs by name, prediction, label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from application.ports.prediction_log import PredictionBatch, PredictionReader
from domain.contract import Category, Input, ModelSpec

ROWS_AT_ONCE = 8192
BOOLEANS = ("false", "true")

Kind = Literal["string", "float32", "float64", "int32", "bool", "timestamp"]
Columns = Mapping[str, Sequence[Any] | np.ndarray]
"""Values by name of the column; None, NaN and NaT are missing."""


@dataclass(frozen=True)
class Contracts:
    """The contracts by which the numbers of the log are read.

    Attributes:
        by_version: those of the versions whose packages are known.
        champion: the contract for all other versions, where their rows fit it.
    """

    by_version: Mapping[str, ModelSpec]
    champion: ModelSpec

    def of(self, batch: PredictionBatch) -> ModelSpec | None:
        """The contract of a batch; None if its rows do not fit it."""
        spec = self.by_version.get(batch.version or "", self.champion)
        return spec if _fits(batch, spec, bool(self.champion.classes)) else None

    def columns(self) -> dict[str, Kind]:
        """Kinds of the exported columns, by name, in order.

        An input with the name of another column gets the prefix ``input_``. An input that is a
        number in one version and a word in another is a string.
        """
        inputs: dict[str, Kind] = {}
        for spec in (*self.by_version.values(), self.champion):
            for name, item in zip(input_columns(spec), spec.monitored_inputs):
                if not item.logged:
                    continue
                kind = _kind_of(item)
                inputs[name] = kind if inputs.get(name, kind) == kind else "string"
        return {**_BEFORE, **inputs, **_after(bool(self.champion.classes))}


_BEFORE: Mapping[str, Kind] = {
    "request_id": "string",
    "row": "int32",
    "id": "string",
    "at": "timestamp",
    "version": "string",
    "environment": "string",
    "caller": "string",
}


def _after(is_classifier: bool) -> dict[str, Kind]:
    return {
        "prediction": "string" if is_classifier else "float32",
        "confidence": "float32",
        "latency_seconds": "float32",
        "actual": "string" if is_classifier else "float64",
        "labelled_at": "timestamp",
    }


def input_columns(spec: ModelSpec) -> list[str]:
    """Names of the columns with the monitored inputs."""
    others = {*_BEFORE, *_after(True)}
    return [f"input_{name}" if name in others else name for name in spec.monitored_names]


def export_predictions(
    log: PredictionReader,
    contracts: Contracts,
    write: Callable[[Columns], None],
    since: float,
    until: float,
    version: str | None = None,
) -> Counter[str | None]:
    """Write the predictions of a period in the order of time, some thousand rows at once.

    Args:
        write: gets the columns of some rows; those of inputs that only other versions have are left
            out.
        since, until: seconds since the epoch; `until` is not part of the period.
        version: of the model's package; None for all versions.

    Returns:
        How many rows were left out, by version, since they do not fit the contract by which they
        are read, or their label does not: it may have fewer classes.
    """
    left_out: Counter[str | None] = Counter()
    for batch in _joined(log.read(since, until, version), contracts):
        chosen = np.repeat((batch.at >= since) & (batch.at < until), batch.rows)
        spec = contracts.of(batch)
        if spec is None:
            left_out[batch.version] += int(chosen.sum())
            continue
        labels = _labels_of(batch, log.labels_of(batch.request_ids))
        if spec.classes:
            known = ~(labels[0] >= len(spec.classes))
            left_out[batch.version] += int((chosen & ~known).sum())
            chosen &= known
            labels[:, ~known] = np.nan
        columns = _columns_of(batch, spec, labels)
        if not chosen.all():
            columns = {name: values[chosen] for name, values in columns.items()}
        if chosen.any():
            write(columns)
    return +left_out


def _joined(batches: Iterator[PredictionBatch], contracts: Contracts) -> Iterator[PredictionBatch]:
    """Join successive batches of one version that are read alike."""
    waiting: list[PredictionBatch] = []
    rows = 0
    form: tuple[Any, ...] = ()
    for batch in batches:
        is_readable = contracts.of(batch) is not None
        shape = (batch.inputs.shape[1], batch.confidence is None)
        own = (batch.version, batch.environment, is_readable, *shape)
        if waiting and (rows >= ROWS_AT_ONCE or own != form):
            yield PredictionBatch.join(waiting)
            waiting, rows = [], 0
        waiting.append(batch)
        rows, form = rows + len(batch.predicted), own
    if waiting:
        yield PredictionBatch.join(waiting)


def _fits(batch: PredictionBatch, spec: ModelSpec, is_classifier: bool) -> bool:
    """Whether the numbers of a batch can be values of this contract."""
    if batch.inputs.shape[1] != len(spec.monitored_names):
        return False
    if bool(spec.classes) != is_classifier or (batch.confidence is not None) != is_classifier:
        return False
    if is_classifier and batch.predicted.max() >= len(spec.classes):
        return False
    return all(
        not isinstance(item, Category) or _largest(values) < len(item.categories)
        for item, values in zip(spec.monitored_inputs, batch.inputs.T)
    )


def _largest(values: np.ndarray) -> float:
    return float(np.nan_to_num(values, nan=-1).max())


def _labels_of(
    batch: PredictionBatch, labels: Mapping[tuple[str, int], tuple[float, float]]
) -> np.ndarray:
    """The label of each row and when it arrived, NaN without one; shape (2, n_rows)."""
    found = np.full((2, len(batch.predicted)), np.nan)
    if labels:
        names, positions = _names_and_positions(batch)
        keys = zip(names.tolist(), positions.tolist())
        for row, label in enumerate(map(labels.get, keys)):
            if label:
                found[:, row] = label
    return found


def _names_and_positions(batch: PredictionBatch) -> tuple[np.ndarray, np.ndarray]:
    """Request ID and position in the request of each row."""
    names = np.repeat(np.array(batch.request_ids, object), batch.rows)
    starts = batch.rows.cumsum(dtype=np.int64) - batch.rows
    return names, np.arange(len(batch.predicted)) - np.repeat(starts, batch.rows)


def _columns_of(
    batch: PredictionBatch, spec: ModelSpec, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """Every column of a whole batch.

    Args:
        labels: as `_labels_of` returns them.
    """
    rows = len(batch.predicted)
    names, positions = _names_and_positions(batch)
    ids = np.full(rows, None, object)
    for position, text in batch.ids.items():
        ids[position] = text
    callers = np.array(batch.callers or [None] * len(batch.request_ids), object)
    inputs = {
        name: _input_values(item, values)
        for name, item, values in zip(input_columns(spec), spec.monitored_inputs, batch.inputs.T)
        if item.logged
    }
    unknown = np.full(rows, np.nan, np.float32)
    return {
        "request_id": names,
        "row": positions,
        "id": ids,
        "at": _moments(np.repeat(batch.at, batch.rows)),
        "version": np.full(rows, batch.version, object),
        "environment": np.full(rows, batch.environment, object),
        "caller": np.repeat(callers, batch.rows),
        **inputs,
        "prediction": _outputs(spec, batch.predicted),
        "confidence": unknown if batch.confidence is None else batch.confidence,
        "latency_seconds": np.repeat(batch.latency, batch.rows),
        "actual": _outputs(spec, labels[0]),
        "labelled_at": _moments(labels[1]),
    }


def _kind_of(item: Input) -> Kind:
    if not isinstance(item, Category):
        return "float32"
    return "bool" if set(item.categories) == set(BOOLEANS) else "string"


def _input_values(item: Input, values: np.ndarray) -> np.ndarray:
    """The values of a monitored input: words or booleans of a category, else numbers."""
    if not isinstance(item, Category):
        return values
    words: Sequence[Any] = item.categories
    if _kind_of(item) == "bool":
        words = [word == "true" for word in words]
    return _words(words, values)


def _outputs(spec: ModelSpec, values: np.ndarray) -> np.ndarray:
    """Names of classes, or values."""
    return _words(spec.classes, values) if spec.classes else values


def _words(words: Sequence[Any], codes: np.ndarray) -> np.ndarray:
    """The words of some codes; None where a code is NaN. A code past the end is an IndexError."""
    places = np.nan_to_num(codes, nan=-1).astype(int) + 1
    found: np.ndarray = np.array([None, *words], object)[places]
    return found


def _moments(seconds: np.ndarray) -> np.ndarray:
    """Seconds since the epoch as datetime64; NaN becomes NaT."""
    known = np.isfinite(seconds)
    moments = np.full(len(seconds), np.datetime64("NaT", "us"))
    moments[known] = (seconds[known] * 1e6).round().astype("int64").astype("datetime64[us]")
    return moments
