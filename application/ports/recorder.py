"""What happens with predictions after the response: they are counted and logged, or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import numpy as np


class PredictionResult(msgspec.Struct, gc=False):
    """The predictions for one request.

    Attributes:
        request_id: ID of the request; with the position of a row it identifies a prediction.
        at: time of the predictions, seconds since the epoch.
        rows: the encoded rows before numbers are clipped, shape (n_rows, width).
        predictions: float32 array of shape (n_rows, n_outputs), columns as in the contract's
            `output_columns`.
        latency: seconds from the rows to the predictions.
        ids: the callers' IDs of the rows as they were sent, None for a row without; None if no row
            has one.
        caller: name of the API key of the request; None without one.
    """

    request_id: str
    at: float
    rows: np.ndarray
    predictions: np.ndarray
    latency: float
    ids: Sequence[Any] | None = None
    caller: str | None = None


class Recorder(Protocol):
    """Counts and logs predictions without keeping the caller waiting."""

    def record(self, result: PredictionResult) -> None:
        """Record the predictions for one request."""
