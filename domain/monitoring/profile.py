"""Reference profile of one input: what drift is measured against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class InputProfile:
    """Shares of the training rows between quantiles of one input.

    Attributes:
        edges: float64 array of shape (n_bins - 1,), the inner edges, increasing.
        shares: float64 array of shape (n_bins,), sums to 1.
    """

    edges: np.ndarray
    shares: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, bins: int = 10) -> InputProfile:
        """Profile of values of shape (n_rows,), in at most `bins` bins of about equal share.

        Values that occur often make quantiles coincide; such bins are merged.
        """
        edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
        profile = cls(edges, np.empty(0))
        return cls(edges, profile.count(values) / len(values))

    def count(self, values: np.ndarray) -> np.ndarray:
        """int64 array of shape (n_bins,): how many of `values` fall into each bin."""
        positions = np.searchsorted(self.edges, values, side="left")
        return np.bincount(positions, minlength=len(self.edges) + 1)

    def to_dict(self) -> dict[str, list[float]]:
        """The profile as plain data, for ``profile.json``."""
        return {"edges": self.edges.tolist(), "shares": self.shares.tolist()}

    @classmethod
    def from_dict(cls, data: dict[str, Sequence[float]]) -> InputProfile:
        """The inverse of `to_dict`."""
        return cls(np.asarray(data["edges"], float), np.asarray(data["shares"], float))


def profile_inputs(names: Sequence[str], values: np.ndarray) -> dict[str, Any]:
    """Profile of each column of `values`, shape (n_rows, n_features), as plain data."""
    columns = zip(names, np.asarray(values, float).T, strict=True)
    return {name: InputProfile.of(column).to_dict() for name, column in columns}
