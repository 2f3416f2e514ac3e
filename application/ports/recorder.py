"""What becomes of a prediction that was returned: it is counted and logged, or not."""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np


class PredictionResult(msgspec.Struct, gc=False):
    """The predictions for one request.

    Attributes:
        request_id: identity of the request; with a row's position, that of a prediction.
        at: when they were made, seconds since the epoch.
        rows: what the model was given, shape (n_rows, width).
        answers: float32 array of shape (n_rows, n_answers), by the contract's `output_columns`.
        latency: seconds from the rows to the predictions.
    """

    request_id: str
    at: float
    rows: np.ndarray
    answers: np.ndarray
    latency: float


class Recorder(Protocol):
    """Counts and logs predictions without keeping the caller waiting."""

    def record(self, result: PredictionResult) -> None:
        """Record the predictions for one request."""
