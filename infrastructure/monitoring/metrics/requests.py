"""Metrics of requests that are no answered traffic, the same for every kind of model."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class RequestCounters:
    """Counts requests that were not answered, and synthetic ones.

    Args:
        model_name, version: labels of every metric.
        registry: where the metrics are registered.
    """

    def __init__(self, model_name: str, version: str, registry: CollectorRegistry) -> None:
        self._labels = (model_name, version)
        names = ("model_name", "version")
        self._errors = Counter(
            "ml_prediction_errors",
            "Requests that were not answered, by reason.",
            (*names, "error_type"),
            registry=registry,
        )
        self._synthetic = Counter(
            "ml_synthetic_requests",
            "Requests marked X-Synthetic, which count nowhere else, by source.",
            (*names, "source"),
            registry=registry,
        )

    def record_error(self, error_type: str) -> None:
        """Count a request that was not answered."""
        self._errors.labels(*self._labels, error_type).inc()

    def record_synthetic(self, source: str) -> None:
        """Count a request that is marked as synthetic, by its source."""
        self._synthetic.labels(*self._labels, source).inc()
