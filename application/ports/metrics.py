"""What a service counts and measures while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np


class PredictionMetrics(Protocol):
    """Counts answered requests, and rows that the prediction log lacks."""

    def record_predictions(
        self, codes: np.ndarray, confidences: np.ndarray, latencies: np.ndarray
    ) -> None:
        """Count answered requests.

        Args:
            codes: number of the predicted class of each row.
            confidences: its probability.
            latencies: seconds of each request.
        """

    def record_values(self, values: np.ndarray, latencies: np.ndarray) -> None:
        """Count answered requests: the value of each row, seconds of each request."""

    def record_error(self, error_type: str) -> None:
        """Count a request that was not answered."""

    def record_dropped(self, rows: int) -> None:
        """Count rows that were answered, but are not in the prediction log."""


class QualityMetrics(Protocol):
    """Shows the live quality on labelled predictions."""

    def set_accuracy(self, accuracy: float) -> None:
        """Live accuracy on labelled predictions."""

    def set_mean_absolute_error(self, error: float) -> None:
        """Live mean absolute error on labelled predictions."""


class DriftMetrics(Protocol):
    """Shows how far inputs and answers have drifted."""

    def set_drift(self, scores: Mapping[str, float]) -> None:
        """Drift score by what is watched."""
