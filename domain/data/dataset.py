"""A labelled data set whose content and rows can be recognised again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from domain.contract import ModelSpec


@dataclass(frozen=True)
class Dataset:
    """Inputs and what is to be predicted from them.

    Attributes:
        name: what the data are called.
        source: where they come from, for people.
        inputs: frame of shape (n_rows, n_inputs), one column per input; a tensor's column holds
            arrays.
        target: series of length n_rows with class names, or numbers for a regression.
        files: files that were read; training is stale when one of them changes.
    """

    name: str
    source: str
    inputs: pd.DataFrame
    target: pd.Series
    files: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.inputs)

    @cached_property
    def row_hashes(self) -> np.ndarray:
        """Array of shape (n_rows,) of 16 hex digits: identity of each row's inputs.

        The target is left out, so that a row that occurs twice is recognised whatever its target;
        and 1 is 1.0, since a column becomes one of floats when a value of it is missing.
        """
        columns = [_plain(_measured(self.inputs[name])) for name in self.inputs.columns]
        return np.array([_digest(repr(row), size=8) for row in zip(*columns)])

    @cached_property
    def fingerprint(self) -> str:
        """Digest of column names, inputs and target; the order of the rows does not matter."""
        rows = sorted(f"{row} {value}" for row, value in zip(self.row_hashes, self.target))
        return _digest("\n".join([*map(str, self.inputs.columns), *rows]), size=16)

    def rows(self) -> list[tuple[Any, ...]]:
        """Every row as requests have it: plain values, lists for tensors, None for missing."""
        columns = [_plain(self.inputs[name]) for name in self.inputs.columns]
        return list(zip(*columns))

    def take(self, rows: np.ndarray) -> Dataset:
        """The rows at these positions (or where this mask is true), in this order."""
        return Dataset(
            self.name, self.source, self.inputs.iloc[rows], self.target.iloc[rows], self.files
        )

    def encoded(self, spec: ModelSpec) -> np.ndarray:
        """The inputs as the model takes them, array of shape (n_rows, spec.width).

        Raises:
            InputError: a value breaks the contract.
        """
        return spec.encode({str(name): self.inputs[name].array for name in self.inputs.columns})

    def answers(self, spec: ModelSpec) -> np.ndarray:
        """The target as the model learns it, shape (n_rows,): int64 class numbers, else float64."""
        if spec.classes:
            return np.asarray(
                pd.Index(spec.classes).get_indexer(pd.Index(self.target)), dtype=np.int64
            )
        return self.target.to_numpy(np.float64)


def _plain(column: pd.Series) -> list[Any]:
    values = [v.tolist() if isinstance(v, np.ndarray | np.generic) else v for v in column.tolist()]
    if column.hasnans:
        return [None if not isinstance(v, list) and pd.isna(v) else v for v in values]
    return values


def _measured(column: pd.Series) -> pd.Series:
    """The column with floats for integers."""
    if pd.api.types.is_integer_dtype(column):
        return column.astype(np.float64)
    if column.dtype == object:
        return pd.Series([_as_float(value) for value in column], column.index, object)
    return column


def _as_float(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.astype(np.float64)
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return float(value) if whole else value


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()
