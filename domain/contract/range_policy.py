"""Numbers that are clipped or accepted outside their range: counted, and clipped after encoding."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from domain.contract.features import Number
from domain.contract.spec import ModelSpec


class RangePolicy:
    """What a contract does with numbers outside their range.

    A service encodes rows by `unclipped`, so that it can count what `clip` changes.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec

    @property
    def tolerant_names(self) -> tuple[str, ...]:
        """Names of the numbers that are clipped or accepted outside their range."""
        return tuple(item.name for _, item in self._tolerant)

    @cached_property
    def unclipped(self) -> ModelSpec:
        """The contract that accepts the numbers that this one clips."""
        if not self._clips:
            return self._spec
        accepting = (
            (
                replace(item, outside="accept")
                if isinstance(item, Number) and item.outside == "clip"
                else item
            )
            for item in self._spec.inputs
        )
        return replace(self._spec, inputs=tuple(accepting))

    def clip(self, encoded: np.ndarray) -> np.ndarray:
        """Rows that `unclipped` has encoded, as the contract itself encodes them.

        Args:
            encoded: shape (n_rows, width).
        """
        return np.clip(encoded, *self._limits) if self._clips else encoded

    def count_outside(self, encoded: np.ndarray) -> dict[str, int]:
        """How many numbers of each of the `tolerant_names` are outside its range.

        Args:
            encoded: rows that `unclipped` has encoded, shape (n_rows, width).
        """
        if not self._tolerant:
            return {}
        columns, items = zip(*self._tolerant)
        low, high = np.array([[item.minimum, item.maximum] for item in items], np.float32).T
        numbers = encoded[:, columns]
        counts = ((numbers < low) | (numbers > high)).sum(axis=0)
        return dict(zip(self.tolerant_names, counts.tolist()))

    @cached_property
    def _tolerant(self) -> list[tuple[int, Number]]:
        ends = np.cumsum([item.width for item in self._spec.inputs]).tolist()
        return [
            (end - 1, item)
            for end, item in zip(ends, self._spec.inputs)
            if isinstance(item, Number) and item.outside != "refuse"
        ]

    @cached_property
    def _clips(self) -> bool:
        return any(item.outside == "clip" for _, item in self._tolerant)

    @cached_property
    def _limits(self) -> np.ndarray:
        """Smallest and largest number of each column, shape (2, width)."""
        limits = np.full((2, self._spec.width), [[-np.inf], [np.inf]], np.float32)
        for column, item in self._tolerant:
            if item.outside == "clip":
                limits[:, column] = item.minimum, item.maximum
        return limits
