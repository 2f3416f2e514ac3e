"""What the FastAPI peers take and give."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Len
from pydantic import BaseModel

Row = Annotated[list[float], Len(4, 4)]


class Rows(BaseModel):
    """A request."""

    rows: list[Row]


class Prediction(BaseModel):
    """What is answered for a row."""

    prediction: str
    confidence: float
    probabilities: dict[str, float]


class Predictions(BaseModel):
    """An answer."""

    predictions: list[Prediction]
