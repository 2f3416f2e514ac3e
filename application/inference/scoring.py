"""Scoring: a table's rows in batches become answers, or reasons why there is none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from application.ports.model import Model
from domain.contract import ModelSpec, Text, Transcript
from domain.errors import ContractError, DataError, InputError

BATCH_ROWS = 65_536
BATCH_VALUES = 2**22  # 16 MiB of what the model gets
_CHARACTERS = 4  # of a text count as one value


@dataclass(frozen=True, slots=True)
class Scored:
    """One batch of n_rows rows.

    Attributes:
        kept: positions of the rows that have an answer, ascending, shape (n_kept,).
        answers: float32 array of shape (n_kept, n_answers), by the contract's `output_columns`.
        reasons: what is wrong with each of the others, by its position.
    """

    kept: np.ndarray
    answers: np.ndarray
    reasons: Mapping[int, str]


def check_columns(spec: ModelSpec, names: Collection[str]) -> None:
    """See whether a table with these columns can be scored; what may be missing may be left out.

    Raises:
        ContractError: the model takes recordings.
        DataError: an input is not there, or several columns have one name.
    """
    if isinstance(spec.output, Transcript):
        raise ContractError(f"{spec.name} takes recordings, which no table holds: serve it")
    absent = [item.name for item in spec.inputs if not item.nullable and item.name not in names]
    if absent:
        raise DataError(
            f"the input lacks {', '.join(absent)}, which {spec.name} needs; it has "
            f"{', '.join(names) or 'no columns'}"
        )
    if len(set(names)) < len(names):
        twice = sorted(name for name in set(names) if list(names).count(name) > 1)
        raise DataError(f"several columns of the input have the name {', '.join(twice)}")


def rows_at_once(spec: ModelSpec) -> int:
    """How many rows make a batch: fewer of a model that takes more of a row."""
    widths = (
        item.max_length // _CHARACTERS if isinstance(item, Text) else item.width
        for item in spec.inputs
    )
    return max(1, min(BATCH_ROWS, BATCH_VALUES // max(1, sum(widths))))


def score(spec: ModelSpec, model: Model, columns: Mapping[str, Any], rows: int) -> Scored:
    """Answer one batch with one call of the model.

    Args:
        columns: values of each input by name, as `ModelSpec.encode` takes them; without those that
            are left out.
        rows: how many there are.
    """
    nothing = np.full(rows, np.nan)
    given = {name: columns.get(name, nothing) for name in spec.input_names}
    reasons: dict[int, str] = {}
    kept = np.arange(rows)
    try:
        encoded = spec.encode(given)
    except InputError:
        reasons = spec.reasons(given)
        kept = np.delete(kept, list(reasons))
        if not kept.size:
            return Scored(kept, np.empty((0, len(spec.output_columns)), np.float32), reasons)
        encoded = spec.encode({name: _at(kept, values) for name, values in given.items()})
    return Scored(kept, model(encoded), reasons)


def prediction_columns(spec: ModelSpec, taken: Collection[str]) -> list[str]:
    """Names of the columns that an answer adds: ``prediction``, and ``probability_<class>`` of each
    class, or ``lower`` and ``upper``.

    Where the table has one of these already, all of them begin with ``predicted_``.
    """
    background = [f"probability_{name}" for name in spec.classes] or list(spec.output_columns[1:])
    names = ["prediction", *background]
    while not set(names).isdisjoint(taken):
        names = [f"predicted_{name}" for name in names]
    return names


def prediction_values(spec: ModelSpec, answers: np.ndarray) -> list[np.ndarray]:
    """The values of `answer_columns`: words for classes, float32 for all others."""
    values = list(answers.T)
    if spec.classes:
        values.insert(0, np.array(spec.classes, dtype=object)[answers.argmax(axis=1)])
    return values


def _at(kept: np.ndarray, values: Sequence[Any] | np.ndarray) -> Sequence[Any] | np.ndarray:
    return values[kept] if isinstance(values, np.ndarray) else [values[row] for row in kept]
