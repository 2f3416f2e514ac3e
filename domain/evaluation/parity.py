"""Whether the exported model answers as the native one does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Parity:
    """Difference between two sets of answers to the same rows.

    Attributes:
        rows: number of rows compared.
        largest_difference: largest absolute difference of a probability.
        different_classes: rows whose most probable class differs.
    """

    rows: int
    largest_difference: float
    different_classes: int

    @classmethod
    def of(cls, native: np.ndarray, exported: np.ndarray) -> Parity:
        """Compare probabilities of shape (n_rows, n_classes)."""
        different = native.argmax(axis=1) != exported.argmax(axis=1)
        return cls(len(native), float(np.abs(native - exported).max()), int(different.sum()))
