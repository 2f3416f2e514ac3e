"""Reference profiles of inputs and predictions, against which drift is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from domain.contract import Category, Datetime, Input, ModelSpec, Number

SEASONAL = "varies_in_time"
"""Marks a profile of a variable whose distribution depends on time in training."""


@dataclass(frozen=True)
class Profile:
    """Shares of the training rows in bins of one variable.

    Attributes:
        edges: float64 array of shape (n_edges,), the inner edges, increasing.
        shares: float64 array of one share for each bin, summing to 1: n_edges + 1 bins, and one
            more for missing values if `with_missing`.
        with_missing: whether the last bin is for missing values.
        rows: number of training rows; 0 if unknown, in packages of before 0.5.
    """

    edges: np.ndarray
    shares: np.ndarray
    with_missing: bool = False
    rows: int = 0

    @classmethod
    def of(cls, values: np.ndarray, bins: int = 10, with_missing: bool = False) -> Profile:
        """Profile of values of shape (n_rows,), in at most `bins` bins of about equal share.

        Frequent values make quantiles coincide; such bins are merged.
        """
        known = values[~np.isnan(values)]
        inner = np.linspace(0, 1, bins + 1)[1:-1]
        edges = np.unique(np.quantile(known, inner)) if len(known) else np.empty(0)
        return cls._from_counts(edges, values, with_missing)

    @classmethod
    def of_codes(cls, codes: np.ndarray, n_codes: int, with_missing: bool = False) -> Profile:
        """Profile of codes of shape (n_rows,) in 0 … n_codes - 1, each in a bin of its own."""
        return cls._from_counts(np.arange(n_codes - 1) + 0.5, codes, with_missing)

    @classmethod
    def _from_counts(cls, edges: np.ndarray, values: np.ndarray, with_missing: bool) -> Profile:
        counts = cls(edges, np.empty(0), with_missing).count(values)
        return cls(edges, counts / len(values), with_missing, len(values))

    def count(self, values: np.ndarray) -> np.ndarray:
        """How many of `values` fall into each bin, int64 array of the shape of `shares`."""
        return self.sums(values)

    def sums(self, values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """The sums of the weights of the `values` in each bin, of the shape of `shares`.

        Args:
            weights: of shape (n_rows,), as `values`; None to count.
        """
        is_known, bins = ~np.isnan(values), len(self.edges) + 1
        positions = np.where(is_known, np.searchsorted(self.edges, values, side="left"), bins)
        return np.bincount(positions, weights, bins + 1)[: bins + self.with_missing]

    def to_dict(self) -> dict[str, Any]:
        """The profile as plain data, for ``profile.json``."""
        return {
            "edges": self.edges.tolist(),
            "shares": self.shares.tolist(),
            "with_missing": self.with_missing,
            "rows": self.rows,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Profile:
        """The inverse of `to_dict`."""
        edges, shares = np.asarray(data["edges"], float), np.asarray(data["shares"], float)
        return cls(edges, shares, data["with_missing"], data.get("rows", 0))


def profile_inputs(spec: ModelSpec, encoded: np.ndarray) -> dict[str, Any]:
    """Profiles of the inputs, as plain data, by the contract's `monitored_names`.

    Dates have none: a day's requests have one date where training has years, which is no drift. Nor
    have inputs that are not logged.

    Args:
        encoded: encoded rows, shape (n_rows, width).
    """
    columns = zip(
        spec.monitored_names, spec.monitored_inputs, spec.monitored(encoded).T, strict=True
    )
    return {
        name: _profile(item, values).to_dict()
        for name, item, values in columns
        if item.logged and not isinstance(item, Datetime)
    }


def profile_outputs(spec: ModelSpec, predictions: np.ndarray) -> dict[str, Any]:
    """Profile of the predictions, as plain data: shares of the classes, or of the values.

    Args:
        predictions: shape (n_rows, n_columns).
    """
    predicted = spec.decide(predictions)
    if spec.classes:
        return Profile.of_codes(predicted, len(spec.classes)).to_dict()
    return Profile.of(predicted.astype(np.float64)).to_dict()


def _profile(item: Input, values: np.ndarray) -> Profile:
    if isinstance(item, Category):
        with_missing = item.nullable or item.unseen == "missing"
        return Profile.of_codes(values, len(item.categories), with_missing)
    return Profile.of(values, with_missing=isinstance(item, Number) and item.nullable)
