"""Metrics of a transcription service for Prometheus; see `service_metrics` for several workers."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from infrastructure.monitoring.metrics.requests import RequestCounters

SECONDS_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
FACTOR_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class TranscriptionMetricsCollector(RequestCounters):
    """Collects the metrics of one version of a transcriber.

    Args:
        model_name, version: labels of every metric.
        registry: where the metrics are registered; tests pass their own.
    """

    def __init__(
        self, model_name: str, version: str, registry: CollectorRegistry = REGISTRY
    ) -> None:
        super().__init__(model_name, version, registry)
        names = ("model_name", "version")
        self._transcriptions = Counter(
            "ml_transcriptions",
            "Recordings transcribed, by language.",
            (*names, "language"),
            registry=registry,
        )
        self._audio = Counter(
            "ml_audio_seconds", "Seconds of audio transcribed.", names, registry=registry
        ).labels(*self._labels)
        self._duration = Histogram(
            "ml_prediction_duration_seconds",
            "Seconds to transcribe a recording, without its time in the queue.",
            names,
            buckets=SECONDS_BUCKETS,
            registry=registry,
        ).labels(*self._labels)
        self._factor = Histogram(
            "ml_real_time_factor",
            "Seconds to transcribe one second of audio.",
            names,
            buckets=FACTOR_BUCKETS,
            registry=registry,
        ).labels(*self._labels)

    def record_transcription(
        self, language: str | None, audio_seconds: float, seconds: float
    ) -> None:
        """Count one transcribed recording.

        Args:
            language: code of the language; None if nothing was said.
            audio_seconds: length of the recording.
            seconds: time that the transcription took.
        """
        self._transcriptions.labels(*self._labels, language or "none").inc()
        self._audio.inc(audio_seconds)
        self._duration.observe(seconds)
        self._factor.observe(seconds / audio_seconds)
