"""Metrics of a running service."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

import numpy as np

Interval = tuple[float, float]


class PredictionMetrics(Protocol):
    """Counts requests, predictions, unusual inputs, and rows missing in the prediction log."""

    def record_predictions(
        self, codes: np.ndarray, confidences: np.ndarray, latencies: np.ndarray
    ) -> None:
        """Count the predictions of a classifier.

        Args:
            codes: number of the predicted class of each row.
            confidences: probability of the predicted class of each row.
            latencies: seconds of each request.
        """

    def record_values(self, values: np.ndarray, latencies: np.ndarray) -> None:
        """Count the predictions of a regressor: value of each row, seconds of each request."""

    def record_outside(self, counts: Mapping[str, int]) -> None:
        """Count accepted or clipped numbers outside their range, by name of the input."""

    def record_error(self, error_type: str) -> None:
        """Count an error: a refused request, or a failure to log predictions."""

    def record_dropped(self, rows: int) -> None:
        """Count predicted rows that are missing in the prediction log."""

    def set_spooled(self, rows: int) -> None:
        """Set how many predicted rows of all workers wait in files for the prediction log."""


class QualityMetrics(Protocol):
    """Exposes the live quality on labelled predictions."""

    def set_accuracy(self, accuracy: float) -> None:
        """Set the live accuracy on labelled predictions."""

    def set_mean_absolute_error(self, error: float) -> None:
        """Set the live mean absolute error on labelled predictions."""

    def set_score(self, measure: str, score: float, interval: Interval | None) -> None:
        """Set the live score of the chosen measure on labelled predictions, with its 95 % interval;
        None if there are too few."""

    def set_estimated_score(self, measure: str, score: float, interval: Interval | None) -> None:
        """Set the score of a measure that was estimated without labels, with its 95 % interval."""

    def set_labelled(self, rows: int) -> None:
        """Set how many predictions the live quality is based on."""


class DriftMetrics(Protocol):
    """Exposes how far inputs and predictions have drifted."""

    def set_drift(self, scores: Mapping[str, float]) -> None:
        """Set drift scores, by name of the monitored input or ``prediction``."""

    def set_importances(self, importances: Mapping[str, float]) -> None:
        """Set how important the inputs are, by name of the monitored variable."""

    def set_drift_evidence(
        self,
        rows: int,
        p_values: Mapping[str, Mapping[str, float]],
        drifting: Mapping[str, Collection[str]],
    ) -> None:
        """Set what is known of drift since the model was deployed.

        Args:
            rows: number of rows that were compared.
            p_values: by what they were compared with, and by variable.
            drifting: the variables with an alarm, by what they were compared with.
        """

    def set_retraining_failed(self, failed: bool) -> None:
        """Set whether the last retraining ended without an accepted version."""
