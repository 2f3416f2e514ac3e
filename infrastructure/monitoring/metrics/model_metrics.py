"""Metrics of a served model for Prometheus.

With several workers, prometheus_client adds up what each has written to PROMETHEUS_MULTIPROC_DIR.
That variable must be set before prometheus_client is imported; BentoML does so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from errno import EADDRINUSE
from threading import Thread
from wsgiref.simple_server import WSGIServer

import numpy as np
from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    start_http_server,
)

from domain.errors import DeploymentError
from infrastructure.monitoring.metrics.histograms import ManyValues
from infrastructure.monitoring.metrics.requests import RequestCounters
from shared.ports import holder_of

LATENCY_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)
CONFIDENCE_BUCKETS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


class ModelMetricsCollector(RequestCounters):
    """Collects the metrics of one version of a model.

    Memory does not grow with the number of predictions: there is one child per class and monitored
    variable.

    Args:
        model_name, version: labels of every metric.
        classes: names of the classes, or of the one predicted quantity; each has a time series from
            the start, at zero.
        registry: where the metrics are registered; tests pass their own.
        value_buckets: upper bounds of the buckets of a predicted quantity; None for classes.
        tolerant: names of the inputs that are accepted or clipped outside their range; each has a
            time series from the start, too.
    """

    def __init__(
        self,
        model_name: str,
        version: str,
        classes: Sequence[str],
        registry: CollectorRegistry = REGISTRY,
        value_buckets: Sequence[float] | None = None,
        tolerant: Sequence[str] = (),
    ) -> None:
        super().__init__(model_name, version, registry)
        self._registry = registry
        names = ("model_name", "version")
        predictions = Counter(
            "ml_predictions", "Rows predicted, by class.", (*names, "class"), registry=registry
        )
        self._predictions = [predictions.labels(*self._labels, name) for name in classes]
        self._duration = ManyValues(
            self._histogram(
                "ml_prediction_duration_seconds",
                "Seconds from the rows of a request to its predictions.",
                LATENCY_BUCKETS,
            ).labels(*self._labels)
        )
        self._drift = self._gauge(
            "ml_data_drift_score",
            "Population stability index of the latest 1,000 rows against the training data, "
            "by input.",
            ("model_name", "feature"),
        )
        outside = Counter(
            "ml_inputs_outside_range",
            "Values outside the range in the contract that were accepted or clipped, by input.",
            ("model_name", "feature"),
            registry=registry,
        )
        self._outside = {name: outside.labels(model_name, name) for name in tolerant}
        self._dropped = Counter(
            "ml_prediction_log_dropped_rows",
            "Predicted rows that were not written to the prediction log.",
            names,
            registry=registry,
        ).labels(*self._labels)
        self._spooled = self._gauge(
            "ml_prediction_log_spooled_rows",
            "Predicted rows that wait in files until the prediction log can be written.",
            names,
        ).labels(*self._labels)
        self._score = self._gauge(
            "ml_model_score",
            "Score of the chosen measure, higher is better, of the latest predictions that were "
            "labelled in the last 24 hours.",
            (*names, "measure"),
        )
        # a gauge's child is created when it is first set: earlier, it would show 0
        if value_buckets is None:
            confidence = self._histogram(
                "ml_prediction_confidence",
                "Probability of the predicted class.",
                CONFIDENCE_BUCKETS,
                "class",
            )
            self._confidence = [
                ManyValues(confidence.labels(*self._labels, name)) for name in classes
            ]
            self._quality = self._gauge(
                "ml_model_accuracy",
                "Accuracy of the predictions that were labelled in the last 24 hours.",
                names,
            )
        else:
            self._value = ManyValues(
                self._histogram(
                    "ml_prediction_value", "Predicted value, in its own unit.", value_buckets
                ).labels(*self._labels)
            )
            self._quality = self._gauge(
                "ml_model_mean_absolute_error",
                "Mean absolute error of the predictions that were labelled in the last 24 hours.",
                names,
            )

    def _histogram(
        self, name: str, documentation: str, buckets: Sequence[float], *extra_labels: str
    ) -> Histogram:
        labels = ("model_name", "version", *extra_labels)
        return Histogram(name, documentation, labels, buckets=buckets, registry=self._registry)

    def _gauge(self, name: str, documentation: str, labels: Sequence[str]) -> Gauge:
        """A gauge that shows the value set last by any worker."""
        return Gauge(
            name, documentation, labels, multiprocess_mode="mostrecent", registry=self._registry
        )

    def record_predictions(
        self, codes: np.ndarray, confidences: np.ndarray, latencies: np.ndarray
    ) -> None:
        """Count the predictions of a classifier.

        Args:
            codes: number of the predicted class of each row, shape (n_rows,).
            confidences: probability of that class, shape (n_rows,).
            latencies: seconds per request, shape (n_requests,).
        """
        self._duration.observe(latencies)
        for code in np.unique(codes):
            of_class = confidences[codes == code]
            self._predictions[code].inc(len(of_class))
            self._confidence[code].observe(of_class)

    def record_values(self, values: np.ndarray, latencies: np.ndarray) -> None:
        """Count the predictions of a regression.

        Args:
            values: predicted value of each row, shape (n_rows,).
            latencies: seconds per request, shape (n_requests,).
        """
        self._duration.observe(latencies)
        (counter,) = self._predictions  # a regression predicts one quantity
        counter.inc(len(values))
        self._value.observe(values)

    def record_outside(self, counts: Mapping[str, int]) -> None:
        """Count accepted or clipped numbers outside their range, by name of the input."""
        for name, count in counts.items():
            self._outside[name].inc(count)

    def record_dropped(self, rows: int) -> None:
        """Count predicted rows that were not written to the prediction log."""
        self._dropped.inc(rows)

    def set_spooled(self, rows: int) -> None:
        """Set how many predicted rows of all workers wait in files for the prediction log."""
        self._spooled.set(rows)

    def set_accuracy(self, accuracy: float) -> None:
        """Set the live accuracy on labelled predictions, 0 to 1."""
        self._quality.labels(*self._labels).set(accuracy)

    def set_mean_absolute_error(self, error: float) -> None:
        """Set the live mean absolute error on labelled predictions, in the quantity's unit."""
        self._quality.labels(*self._labels).set(error)

    def set_score(self, measure: str, score: float) -> None:
        """Set the live score of the chosen measure on labelled predictions; higher is better."""
        self._score.labels(*self._labels, measure).set(score)

    def set_drift(self, scores: Mapping[str, float]) -> None:
        """Set drift scores by monitored variable."""
        for feature, score in scores.items():
            self._drift.labels(self._labels[0], feature).set(score)


def start_metrics_server(
    port: int = 8001, registry: CollectorRegistry = REGISTRY, address: str = "127.0.0.1"
) -> tuple[WSGIServer, Thread]:
    """Serve the metrics of this process at ``/metrics``.

    Args:
        port: 0 chooses a free one.
        address: address to listen on; 0.0.0.0 lets other machines connect.

    Returns:
        The server, whose `shutdown` ends it, and its thread.

    Raises:
        DeploymentError: the port is in use.
    """
    try:
        return start_http_server(port, address, registry)
    except OSError as error:
        if error.errno != EADDRINUSE:
            raise
        raise DeploymentError(
            f"metrics cannot be served: port {port} is in use by {holder_of(port)}: stop that "
            "process, or choose another port"
        ) from error
