"""Predictions as JSON objects, one for each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat, starmap
from typing import Any

import msgspec
import numpy as np

from application.ports.recorder import PredictionResult
from domain.contract import Classes, ModelSpec


class ResponseBuilder:  # pylint: disable=too-few-public-methods
    """Turns the predictions of one model into objects.

    A classifier has ``{"prediction", "prediction_id", "confidence", "probabilities": {…}, "row"}``,
    where ``confidence`` is the probability of the predicted class; a regressor has
    ``{"prediction", "lower", "upper", "row"}``.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._classes = spec.classes
        self._decide: Callable[[np.ndarray], np.ndarray] | None = None
        if isinstance(spec.output, Classes) and spec.output.threshold is not None:
            self._decide = spec.output.decide
        if spec.classes:
            names = ("prediction", "prediction_id", "confidence", "probabilities", "row")
            self._prediction = _struct("Prediction", names)
            self._probabilities = _struct("Probabilities", spec.classes)
        else:
            self._prediction = _struct("Prediction", (*spec.output_columns, "row"))

    def predictions(self, result: PredictionResult) -> list[Any]:
        """One object for each row, in the request's order."""
        values: list[list[float]] = result.predictions.tolist()
        rows = range(len(values))
        if not self._classes:
            return [self._prediction(*outputs, row) for outputs, row in zip(values, rows)]
        if self._decide is None:  # for few rows, lists are faster than NumPy
            confidences = list(map(max, values))
            codes = list(map(list.index, values, confidences))
        else:
            codes = self._decide(result.predictions).tolist()
            confidences = list(map(list.__getitem__, values, codes))
        return list(
            map(
                self._prediction,
                map(self._classes.__getitem__, codes),
                codes,
                confidences,
                starmap(self._probabilities, values),
                rows,
            )
        )


def _struct(name: str, fields: Sequence[str]) -> Callable[..., Any]:
    """Makes an object from values in the order of its fields; any text can name a field."""
    names = {f"field_{number}": field for number, field in enumerate(fields)}
    try:
        return msgspec.defstruct(name, list(zip(names, repeat(Any))), rename=names, gc=False)
    except ValueError:  # a name that JSON has to escape
        return lambda *values: dict(zip(fields, values))
