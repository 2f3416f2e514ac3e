"""Metrics of a transcription service."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from infrastructure.monitoring.metrics.transcription_metrics import TranscriptionMetricsCollector

LABELS = {"model_name": "speech", "version": "1"}


def test_transcriptions_audio_and_the_real_time_factor_are_counted() -> None:
    registry = CollectorRegistry()
    metrics = TranscriptionMetricsCollector("speech", "1", registry)
    metrics.record_transcription("en", 10.0, 2.0)
    metrics.record_transcription("en", 30.0, 3.0)
    metrics.record_transcription(None, 1.0, 0.001)
    value = registry.get_sample_value
    assert value("ml_transcriptions_total", {**LABELS, "language": "en"}) == 2
    assert value("ml_transcriptions_total", {**LABELS, "language": "none"}) == 1
    assert value("ml_audio_seconds_total", LABELS) == 41
    assert value("ml_prediction_duration_seconds_sum", LABELS) == 5.001
    assert value("ml_real_time_factor_count", LABELS) == 3
    assert value("ml_real_time_factor_bucket", {**LABELS, "le": "0.1"}) == 2


def test_errors_are_counted_by_type() -> None:
    registry = CollectorRegistry()
    metrics = TranscriptionMetricsCollector("speech", "1", registry)
    metrics.record_error("not_audio")
    labels = {**LABELS, "error_type": "not_audio"}
    assert registry.get_sample_value("ml_prediction_errors_total", labels) == 1
