"""Metrics of failed and of synthetic requests, the same for every kind of model."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from infrastructure.monitoring.metrics.families import family

SERVER_ERRORS = ("internal", "busy", "deadline", "log_unavailable")
"""Reasons for which a service is to blame, not the request: status 500, 503 and 504."""


class RequestCounters:
    """Counts failed requests, and synthetic ones.

    Args:
        model_name, version: labels of every metric.
        registry: where the metrics are registered.
    """

    def __init__(self, model_name: str, version: str, registry: CollectorRegistry) -> None:
        self._labels = (model_name, version)
        names = ("model_name", "version")
        self._errors = family(
            Counter,
            "ml_prediction_errors",
            "Failed requests, by reason.",
            (*names, "error_type"),
            registry,
        )
        for error_type in SERVER_ERRORS:  # at zero from the start, or the first one would not count
            self._errors.labels(*self._labels, error_type)
        self._synthetic = family(
            Counter,
            "ml_synthetic_requests",
            "Requests marked X-Synthetic, by source; no other metric counts them.",
            (*names, "source"),
            registry,
        )

    def record_error(self, error_type: str) -> None:
        """Count a failed request, by reason."""
        self._errors.labels(*self._labels, error_type).inc()

    def record_synthetic(self, source: str) -> None:
        """Count a request that is marked as synthetic, by source."""
        self._synthetic.labels(*self._labels, source).inc()
