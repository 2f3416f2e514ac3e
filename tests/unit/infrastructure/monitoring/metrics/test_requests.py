"""Failed requests are counted by reason, synthetic ones by source."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from infrastructure.monitoring.metrics.requests import SERVER_ERRORS, RequestCounters

LABELS = {"model_name": "iris", "version": "1"}


def test_errors_and_synthetic_requests_are_counted_apart() -> None:
    registry = CollectorRegistry()
    counters = RequestCounters("iris", "1", registry)
    counters.record_error("not_audio")
    for source in ("demo", "load", "demo"):
        counters.record_synthetic(source)
    value = registry.get_sample_value
    assert value("ml_prediction_errors_total", {**LABELS, "error_type": "not_audio"}) == 1
    assert value("ml_synthetic_requests_total", {**LABELS, "source": "demo"}) == 2
    assert value("ml_synthetic_requests_total", {**LABELS, "source": "load"}) == 1


def test_errors_of_the_service_are_at_zero_from_the_start() -> None:
    registry = CollectorRegistry()
    RequestCounters("iris", "1", registry)
    for reason in SERVER_ERRORS:
        labels = {**LABELS, "error_type": reason}
        assert registry.get_sample_value("ml_prediction_errors_total", labels) == 0
