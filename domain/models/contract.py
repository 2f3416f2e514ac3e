"""The contract of a model: what goes in and what comes out.

Input checks, the MLflow signature, the service's schema and the drift monitors are derived from it.
It needs numpy only, since it travels into the serving image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from domain.errors import InputError


@dataclass(frozen=True, slots=True)
class Feature:
    """One numeric input.

    Attributes:
        name: the name it has in data and requests.
        unit: the unit of its values, such as ``cm``.
        minimum: smallest value that can be true; a smaller one is an error, not an outlier.
        maximum: largest value that can be true.
        description: what it measures, for people.
    """

    name: str
    unit: str
    minimum: float
    maximum: float
    description: str = ""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Inputs and outputs of a classifier.

    Attributes:
        name: the model's name in the catalog.
        features: its inputs, in the order in which the model takes them.
        classes: names of the classes; a class's number is its position.
        description: what it predicts, for people.
        task: the kind of model.
    """

    name: str
    features: tuple[Feature, ...]
    classes: tuple[str, ...]
    description: str = ""
    task: str = "classification"

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the inputs, in the model's order."""
        return tuple(feature.name for feature in self.features)

    @property
    def bounds(self) -> np.ndarray:
        """float64 array of shape (2, n_features): smallest and largest value of each input."""
        return np.array([[f.minimum for f in self.features], [f.maximum for f in self.features]])

    def check_rows(self, rows: Sequence[Sequence[float]]) -> np.ndarray:
        """Rows of numbers as the model takes them.

        Args:
            rows: n_rows sequences of n_features numbers, in the contract's order.

        Returns:
            C-ordered float32 array of shape (n_rows, n_features).

        Raises:
            InputError: no rows, a row of another width, a value that is not finite or out of range.
        """
        if len(rows) == 0:
            raise InputError("there are no rows: send at least one")
        width = len(self.features)
        for index, row in enumerate(rows):
            if len(row) != width:
                names = ", ".join(self.feature_names)
                raise InputError(f"row {index} has {len(row)} values, expected {width}: {names}")
        return self.check_values(np.asarray(rows, dtype=np.float64))

    def check_values(self, values: np.ndarray) -> np.ndarray:
        """Check an array of shape (n_rows, n_features) against the ranges; float32, C-ordered.

        Raises:
            InputError: a value that is not finite or out of range, with its row and input.
        """
        low, high = self.bounds
        bad = ~((values >= low) & (values <= high))  # NaN compares false, so it is bad too
        if bad.any():
            row, column = (int(i) for i in np.argwhere(bad)[0])
            feature, value = self.features[column], values[row, column]
            if not np.isfinite(value):
                raise InputError(f"row {row}, {feature.name}: {value} is not a finite number")
            raise InputError(
                f"row {row}, {feature.name}: {value:g} is out of range "
                f"[{feature.minimum:g}, {feature.maximum:g}] {feature.unit}"
            )
        return np.ascontiguousarray(values, dtype=np.float32)

    def to_dict(self) -> dict[str, Any]:
        """The contract as plain data, for ``contract.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ModelSpec:
        """The inverse of `to_dict`."""
        features = tuple(Feature(**feature) for feature in data["features"])
        return cls(**{**data, "features": features, "classes": tuple(data["classes"])})
