"""Answers as the JSON objects that people read, one for each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat, starmap
from typing import Any

import msgspec

from application.ports.recorder import PredictionResult
from domain.contract import ModelSpec


class ResponseBuilder:  # pylint: disable=too-few-public-methods
    """Turns the answers of one model into objects.

    Of classes ``{"prediction", "prediction_id", "confidence", "probabilities": {…}, "row"}``; of a
    quantity ``{"prediction", "lower", "upper", "row"}``.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._classes = spec.classes
        if spec.classes:
            names = ("prediction", "prediction_id", "confidence", "probabilities", "row")
            self._prediction = _struct("Prediction", names)
            self._probabilities = _struct("Probabilities", spec.classes)
        else:
            self._prediction = _struct("Prediction", (*spec.output_columns, "row"))

    def predictions(self, answered: PredictionResult) -> list[Any]:
        """One object for each row, in the request's order."""
        answers: list[list[float]] = answered.answers.tolist()
        rows = range(len(answers))
        if not self._classes:
            return [self._prediction(*answer, row) for answer, row in zip(answers, rows)]
        confidences = list(map(max, answers))
        codes = list(map(list.index, answers, confidences))
        return list(
            map(
                self._prediction,
                map(self._classes.__getitem__, codes),
                codes,
                confidences,
                starmap(self._probabilities, answers),
                rows,
            )
        )


def _struct(name: str, fields: Sequence[str]) -> Callable[..., Any]:
    """Makes an object of values in the order of its fields, whose names need be no identifiers."""
    names = {f"field_{number}": field for number, field in enumerate(fields)}
    try:
        return msgspec.defstruct(name, list(zip(names, repeat(Any))), rename=names, gc=False)
    except ValueError:  # a name that JSON has to escape
        return lambda *values: dict(zip(fields, values))
