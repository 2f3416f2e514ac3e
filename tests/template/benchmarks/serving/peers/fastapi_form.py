"""Request and response models of the FastAPI peers."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Len
from pydantic import BaseModel

Row = Annotated[list[float], Len(4, 4)]


class Rows(BaseModel):
    """A request."""

    rows: list[Row]


class Prediction(BaseModel):
    """The prediction for a row."""

    prediction: str
    confidence: float
    probabilities: dict[str, float]


class Predictions(BaseModel):
    """A response."""

    predictions: list[Prediction]
