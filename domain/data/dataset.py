"""A labelled data set whose content and rows can be recognised again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Dataset:
    """Inputs and labels.

    Attributes:
        name: what the data are called.
        source: where they come from, for people.
        inputs: frame of shape (n_rows, n_features), one column per input.
        labels: series of length n_rows with the class names.
    """

    name: str
    source: str
    inputs: pd.DataFrame
    labels: pd.Series

    def __len__(self) -> int:
        return len(self.inputs)

    @cached_property
    def row_hashes(self) -> np.ndarray:
        """Array of shape (n_rows,) of 16 hex digits: identity of each row's inputs.

        The label is left out, so that a row that occurs twice is recognised whatever its label.
        """
        rows = self.inputs.itertuples(index=False, name=None)
        return np.array([_digest(repr(row), size=8) for row in rows])

    @cached_property
    def fingerprint(self) -> str:
        """Digest of column names, inputs and labels; the order of the rows does not matter."""
        rows = sorted(f"{row} {label}" for row, label in zip(self.row_hashes, self.labels))
        return _digest("\n".join([*map(str, self.inputs.columns), *rows]), size=16)

    def take(self, rows: np.ndarray) -> Dataset:
        """The rows at these positions (or where this mask is true), in this order."""
        return Dataset(self.name, self.source, self.inputs.iloc[rows], self.labels.iloc[rows])

    def codes(self, classes: tuple[str, ...]) -> np.ndarray:
        """int64 array of shape (n_rows,): position of each label in `classes`."""
        return np.asarray(pd.Index(classes).get_indexer(pd.Index(self.labels)), dtype=np.int64)


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()
