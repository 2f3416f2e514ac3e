"""Predictions as JSON objects, one for each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat, starmap
from typing import Any

import msgspec
import numpy as np

from application.ports.recorder import PredictionResult
from domain.contract import ID, Classes, ModelSpec


class ResponseBuilder:  # pylint: disable=too-few-public-methods
    """Turns the predictions of one model into objects.

    A classifier has ``{"prediction", "prediction_id", "confidence", "probabilities": {…}, "row"}``,
    where ``confidence`` is the probability of the predicted class; a regressor has
    ``{"prediction", "lower", "upper", "row"}``. A row with an ID also has its ``id``.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._classes = spec.classes
        self._decide: Callable[[np.ndarray], np.ndarray] | None = None
        if isinstance(spec.output, Classes) and spec.output.threshold is not None:
            self._decide = spec.output.decide
        names: tuple[str, ...] = (*spec.output_columns, "row")
        if spec.classes:
            names = ("prediction", "prediction_id", "confidence", "probabilities", "row")
            self._probabilities = _struct("Probabilities", spec.classes)
        self._prediction = _struct("Prediction", names)
        self._prediction_with_id = _struct("PredictionWithId", (*names, ID))

    def predictions(self, result: PredictionResult) -> list[Any]:
        """One object for each row, in the request's order."""
        values: list[list[float]] = result.predictions.tolist()
        rows = range(len(values))
        if not self._classes:
            found = [self._prediction(*outputs, row) for outputs, row in zip(values, rows)]
            return found if result.ids is None else self._with_ids(found, result.ids)
        if self._decide is None:  # for few rows, lists are faster than NumPy
            confidences = list(map(max, values))
            codes = list(map(list.index, values, confidences))
        else:
            codes = self._decide(result.predictions).tolist()
            confidences = list(map(list.__getitem__, values, codes))
        found = list(
            map(
                self._prediction,
                map(self._classes.__getitem__, codes),
                codes,
                confidences,
                starmap(self._probabilities, values),
                rows,
            )
        )
        return found if result.ids is None else self._with_ids(found, result.ids)

    def _with_ids(self, predictions: list[Any], ids: Sequence[Any]) -> list[Any]:
        return [
            (
                self._prediction_with_id(*msgspec.structs.astuple(item), row_id)
                if row_id is not None
                else item
            )
            for item, row_id in zip(predictions, ids)
        ]


def _struct(name: str, fields: Sequence[str]) -> Callable[..., Any]:
    """Makes an object from values in the order of its fields; any text can name a field."""
    names = {f"field_{number}": field for number, field in enumerate(fields)}
    try:
        return msgspec.defstruct(name, list(zip(names, repeat(Any))), rename=names, gc=False)
    except ValueError:  # a name that JSON has to escape
        return lambda *values: dict(zip(fields, values))
