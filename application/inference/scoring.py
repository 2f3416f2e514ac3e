"""Batch scoring: each row of a table gets a prediction, or the reason why it has none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from application.ports.model import Model
from domain.contract import (
    Category,
    ModelSpec,
    Number,
    RepeatedValues,
    Text,
    Transcript,
    format_names,
)
from domain.errors import ContractError, DataError, InputError

BATCH_ROWS = 65_536
BATCH_VALUES = 2**22  # 16 MiB of encoded input
_CHARACTERS = 4  # of a text count as one value


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """One batch of n_rows rows.

    Attributes:
        kept: positions of the rows with a prediction, ascending, shape (n_kept,).
        predictions: float32 array of shape (n_kept, n_outputs), columns as in the contract's
            `output_columns`.
        reasons: what is wrong with each other row, by its position.
        unknown: number of words that count as missing since the contract does not know them, by
            input.
        outside: number of numbers that were clipped to their range, or accepted outside it, by
            input.
    """

    kept: np.ndarray
    predictions: np.ndarray
    reasons: Mapping[int, str]
    unknown: Mapping[str, int]
    outside: Mapping[str, int]


def check_columns(spec: ModelSpec, names: Collection[str]) -> None:
    """Check that a table with these columns can be scored; columns of nullable inputs are optional.

    Raises:
        ContractError: the model takes recordings.
        DataError: an input is missing, or several columns have the same name.
    """
    if isinstance(spec.output, Transcript):
        raise ContractError(
            f"{spec.name} takes recordings and cannot score a table: serve it instead"
        )
    absent = [item.name for item in spec.inputs if not item.nullable and item.name not in names]
    if absent:
        raise DataError(
            f"the input lacks {format_names(absent)}, which {spec.name} needs; it has "
            f"{format_names(names) or 'no columns'}"
        )
    if len(set(names)) < len(names):
        twice = sorted(name for name in set(names) if list(names).count(name) > 1)
        raise DataError(f"several columns of the input have the name {format_names(twice)}")


def rows_at_once(spec: ModelSpec) -> int:
    """Rows per batch: the wider a row, the fewer."""
    widths = (
        item.max_length // _CHARACTERS if isinstance(item, Text) else item.width
        for item in spec.inputs
    )
    return max(1, min(BATCH_ROWS, BATCH_VALUES // max(1, sum(widths))))


def score(spec: ModelSpec, model: Model, columns: Mapping[str, Any], rows: int) -> ScoredBatch:
    """Predict for one batch with one call of the model.

    Args:
        columns: values of the inputs by name, as `ModelSpec.encode` takes them; an input without
            a column is missing in every row.
        rows: number of rows.
    """
    missing = np.full(rows, np.nan)
    inputs = {name: columns.get(name, missing) for name in spec.input_names}
    reasons: dict[int, str] = {}
    kept = np.arange(rows)
    try:
        encoded = spec.encode(inputs)
    except InputError:
        reasons = spec.reasons(inputs)
        kept = np.delete(kept, list(reasons))
        if not kept.size:
            none = np.empty((0, len(spec.output_columns)), np.float32)
            return ScoredBatch(kept, none, reasons, {}, {})
        inputs = {name: _select(values, kept) for name, values in inputs.items()}
        encoded = spec.encode(inputs)
    unknown = {
        item.name: item.count_unknown(inputs[item.name])
        for item in spec.inputs
        if isinstance(item, Category) and item.unseen == "missing"
    }
    outside = {
        item.name: item.count_outside(inputs[item.name])
        for item in spec.inputs
        if isinstance(item, Number) and item.outside != "refuse"
    }
    return ScoredBatch(kept, model(encoded), reasons, unknown, outside)


def prediction_columns(spec: ModelSpec, existing: Collection[str]) -> list[str]:
    """Names of the columns that scoring adds: ``prediction``, and ``probability_<class>`` of each
    class, or ``lower`` and ``upper``.

    If one of them is among the `existing` columns, all of them begin with ``predicted_``.
    """
    details = [f"probability_{name}" for name in spec.classes] or list(spec.output_columns[1:])
    names = ["prediction", *details]
    while not set(names).isdisjoint(existing):
        names = [f"predicted_{name}" for name in names]
    return names


def prediction_values(spec: ModelSpec, predictions: np.ndarray) -> list[np.ndarray]:
    """The values of `prediction_columns`: class names as words, everything else as float32."""
    values = list(predictions.T)
    if spec.classes:
        values.insert(0, np.array(spec.classes, dtype=object)[spec.decide(predictions)])
    return values


def _select(values: Sequence[Any] | np.ndarray, kept: np.ndarray) -> Sequence[Any] | np.ndarray:
    if isinstance(values, np.ndarray | RepeatedValues):
        return values[kept]
    return [values[row] for row in kept]
