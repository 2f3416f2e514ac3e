"""The tutorial's collector, for a model that runs outside a service, such as in a script.

Run this file to see it: it records 50 predictions, prints a summary, writes it as JSON and serves
the metrics. A service collects its own metrics, with `ServiceMetrics` and the prediction log.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from errno import EADDRINUSE
from pathlib import Path
from threading import Lock, Thread
from typing import Any, NamedTuple
from wsgiref.simple_server import WSGIServer

import numpy as np
from prometheus_client import REGISTRY, CollectorRegistry, start_http_server

from application.monitoring.feedback import QUALITY_HOURS
from application.monitoring.summary import quality_of_classes
from domain.contract import as_word
from domain.errors import DeploymentError, InputError, MlopsError, reason_of
from domain.evaluation.metrics import ClassificationReport
from domain.monitoring.shift import standardised_shift
from infrastructure.monitoring.metrics.service_metrics import ServiceMetrics
from shared.console import fail, prepare_streams, printable, show_line, show_step
from shared.files import write_atomically
from shared.paths import ROOT
from shared.ports import holder_of

HISTORY = 100_000  # predictions that a summary covers at most: about 25 MB
EXPORTED = 100  # predictions whose features are kept
MAX_CLASSES, MAX_ERROR_TYPES = 1_000, 100  # each has time series of its own
DRIFT_WARNING = 2.0
_LOG = logging.getLogger(__name__)


class _Prediction(NamedTuple):
    at: float
    code: int
    confidence: float
    latency: float
    actual: int | None


class ModelMetricsCollector:
    """Collects the metrics of a classifier and summarises its latest predictions. Thread-safe.

    Class names are learned as they come. Several collectors may share a registry; those of the same
    model and version add up their counts. Memory is bounded: the latest `HISTORY` predictions, and
    time series for at most `MAX_CLASSES` classes and `MAX_ERROR_TYPES` error types.

    Args:
        model_name, model_version: labels of every metric.
        registry: where the metrics are registered; tests pass their own.
        clock: returns the current time in seconds since 1970; tests pass their own.
    """

    def __init__(
        self,
        model_name: str,
        model_version: str = "1.0.0",
        *,
        registry: CollectorRegistry = REGISTRY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.model_name, self.model_version = model_name, model_version
        self._metrics = ServiceMetrics(model_name, model_version, (), registry)
        self._clock, self._lock = clock, Lock()
        self._codes: dict[str, int] = {}
        self._error_types: set[str] = set()
        self._history: deque[_Prediction] = deque(maxlen=HISTORY)
        self._latest: deque[tuple[_Prediction, np.ndarray]] = deque(maxlen=EXPORTED)
        self._recent_hits: deque[tuple[float, bool]] = deque()  # of the last `QUALITY_HOURS`
        self._hits = 0

    def record_prediction(
        self,
        features: Any,
        prediction: Any,
        confidence: float,
        latency: float,
        ground_truth: Any = None,
    ) -> None:
        """Count a prediction, and update the live accuracy if its true class is known.

        Args:
            features: numbers of shape (1, n_features) or (n_features,); NaN is a missing value.
            prediction: class name as text, whole number, boolean or an array with one of them.
            confidence: probability of the predicted class, 0 to 1.
            latency: seconds that the prediction took.
            ground_truth: true class, like `prediction`; None if it is not known.

        Raises:
            InputError: an argument has another shape or type, or there are more than `MAX_CLASSES`
                classes. Nothing is counted.
        """
        row = _numbers(features, "features")
        if row.size == 0 or row.shape not in ((row.size,), (1, row.size)):
            raise InputError(f"features: shape {row.shape}: expected one row, (1, n_features)")
        predicted = _class_name(prediction, "prediction")
        actual = None if ground_truth is None else _class_name(ground_truth, "ground_truth")
        confidence = _number(confidence, "confidence", 1)
        latency = _number(latency, "latency", sys.float_info.max)
        with self._lock:
            self._learn(predicted, actual)
            at, code = self._clock(), self._codes[predicted]
            made = _Prediction(at, code, confidence, latency, self._codes.get(actual or ""))
            self._history.append(made)
            self._latest.append((made, row.ravel()))
            self._metrics.record_predictions(
                np.array([code]), np.array([confidence]), np.array([latency])
            )
            if actual is not None:
                self._update_accuracy(at, predicted == actual)

    def record_error(self, error_type: str, error_message: str) -> None:
        """Count a failed prediction by its type, and log its message.

        After `MAX_ERROR_TYPES` types, further ones are counted as ``other``.
        """
        error_type, message = printable(str(error_type)), printable(str(error_message))
        with self._lock:
            if len(self._error_types) < MAX_ERROR_TYPES:
                self._error_types.add(error_type)
            counted = error_type if error_type in self._error_types else "other"
        self._metrics.record_error(counted)
        _LOG.error("%s: %s: %s", self.model_name, error_type, message)

    def detect_data_drift(
        self, current_features: Any, reference_features: Any, feature_names: Sequence[str]
    ) -> dict[str, float]:
        """Measure how far each feature has shifted, and log a warning above `DRIFT_WARNING`.

        Args:
            current_features: numbers of shape (n_current, n_features); NaN is a missing value.
            reference_features: numbers of shape (n_reference, n_features), such as training rows.
            feature_names: n_features names.

        Returns:
            The `standardised_shift` of each feature, by name.

        Raises:
            InputError: the shapes and names do not match, or a feature has no value or an infinite
                one. No score is set.
        """
        current = _matrix(current_features, "current_features")
        reference = _matrix(reference_features, "reference_features")
        names = [printable(str(name)) for name in feature_names]
        if not current.shape[1] == reference.shape[1] == len(set(names)) == len(names):
            raise InputError(
                f"{current.shape[1]} columns in current_features, {reference.shape[1]} in "
                f"reference_features and {len(set(names))} different names among "
                f"{len(names)} feature_names: these numbers must be equal"
            )
        scores = {}
        for name, *columns in zip(names, current.T, reference.T):
            try:
                scores[name] = standardised_shift(*columns)
            except InputError as error:
                raise InputError(f"{name}: {error}") from error
        self._metrics.set_drift(scores)
        for name, score in scores.items():
            if score > DRIFT_WARNING:
                _LOG.warning(
                    "%s: %s has drifted: score %.2f is above %g: check its source, or train again",
                    *(self.model_name, name, score, DRIFT_WARNING),
                )
        return scores

    def get_prediction_summary(self, hours: float = 24) -> dict[str, Any]:
        """Totals of the last hours, like those of a service's `/get_metrics_summary`.

        Averages are None without predictions. Precision, recall and F1 are macro averages, and are
        there only with labels. `covered_hours` is there if the history does not reach back so far.

        Raises:
            InputError: `hours` is not a positive number.
        """
        if not 0 < hours < math.inf:
            raise InputError(f"hours: {hours!r} is not a positive number")
        with self._lock:
            now, kept, names = self._clock(), list(self._history), list(self._codes)
        used = [item for item in kept if item.at > now - hours * 3600]
        codes = np.array([item.code for item in used], np.int64)
        counts = np.bincount(codes, minlength=len(names)).tolist()
        summary: dict[str, Any] = {
            "time_period_hours": hours,
            "total_predictions": len(used),
            "average_confidence": _mean([item.confidence for item in used]),
            "average_latency_seconds": _mean([item.latency for item in used]),
            "class_distribution": dict(zip(names, counts)),
            "predictions_per_hour": len(used) / hours,
        }
        if len(used) == HISTORY:
            covered = max(now - used[0].at, 1e-3) / 3600
            summary |= {"covered_hours": covered, "predictions_per_hour": HISTORY / covered}
        pairs = [(item.actual, item.code) for item in used if item.actual is not None]
        if pairs:
            actual, predicted = np.array(pairs).T
            report = ClassificationReport.of(actual, predicted, len(names))
            summary |= quality_of_classes(report)
        return summary

    def export_metrics(self, filepath: str | Path) -> None:
        """Write the summary of the last 24 hours and the latest `EXPORTED` predictions as JSON.

        Features that are not finite become null.
        """
        summary = self.get_prediction_summary()
        with self._lock:
            now, latest, names = self._clock(), list(self._latest), list(self._codes)
        document = {
            "model_name": self.model_name,
            "model_version": self.model_version,
            "export_timestamp": _iso(now),
            "metrics_summary": summary,
            "recent_predictions": [
                {
                    "timestamp": _iso(item.at),
                    "features": [x if math.isfinite(x) else None for x in row.tolist()],
                    "prediction": names[item.code],
                    "confidence": item.confidence,
                    "latency": item.latency,
                    "ground_truth": None if item.actual is None else names[item.actual],
                }
                for item, row in latest
            ],
        }
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
        write_atomically(Path(filepath), text + "\n")

    def _learn(self, *names: str | None) -> None:
        new = {name for name in names if name is not None and name not in self._codes}
        if len(self._codes) + len(new) > MAX_CLASSES:
            raise InputError(
                f"{new.pop()[:40]!r} would be class {MAX_CLASSES + 1:,}: pass the name of a class, "
                "not a value or an identifier"
            )
        for name in names:
            if name in new:
                new.remove(name)
                self._codes[name] = len(self._codes)
                self._metrics.add_class(name)

    def _update_accuracy(self, at: float, hit: bool) -> None:
        oldest = at - QUALITY_HOURS * 3600
        while self._recent_hits and (
            len(self._recent_hits) == HISTORY or self._recent_hits[0][0] <= oldest
        ):
            self._hits -= self._recent_hits.popleft()[1]
        self._recent_hits.append((at, hit))
        self._hits += hit
        self._metrics.set_accuracy(self._hits / len(self._recent_hits))


def start_metrics_server(
    port: int = 8000, registry: CollectorRegistry = REGISTRY, address: str = "127.0.0.1"
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


def _numbers(values: Any, argument: str) -> np.ndarray:
    """A float64 copy of an argument."""
    try:
        return np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{argument}: not an array of numbers: {reason_of(error)}") from error


def _matrix(values: Any, argument: str) -> np.ndarray:
    matrix = _numbers(values, argument)
    if matrix.ndim != 2:
        raise InputError(f"{argument}: shape {matrix.shape}: expected (n_rows, n_features)")
    return matrix


def _number(value: Any, argument: str, maximum: float) -> float:
    number = _numbers(value, argument)
    if number.size != 1 or not 0 <= number.item() <= maximum:
        raise InputError(f"{argument}: {repr(value)[:100]} is not a number from 0 to {maximum:g}")
    return float(number.item())


def _class_name(value: Any, argument: str) -> str:
    array = np.asarray(value, dtype=object)
    item = array.item() if array.size == 1 else value
    item = item.item() if isinstance(item, np.generic) else item
    is_whole = isinstance(item, float) and item.is_integer()
    if not (isinstance(item, str | int) or is_whole) or item == "":
        raise InputError(
            f"{argument}: {repr(value)[:100]} is not one class: pass its name or its number"
        )
    return printable(as_word(item))


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _iso(at: float) -> str:
    """Seconds since 1970 as ISO 8601, in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat()


def record_demonstration(collector: ModelMetricsCollector, predictions: int = 50) -> None:
    """Record simulated predictions, an error and the drift of one feature."""
    rng, deviation = np.random.default_rng(0), 0.5
    classes, features = ("small", "medium", "large"), ("length", "width", "height", "weight")
    centres = np.array([[1.0] * 4, [2.0] * 4, [3.0] * 4])
    actual = rng.integers(len(classes), size=predictions)
    rows = centres[actual] + rng.normal(0, deviation, (predictions, len(features)))
    for row, truth in zip(rows, actual):
        start = time.perf_counter()
        likelihood = np.exp(-((row - centres) ** 2).sum(axis=1) / (2 * deviation**2))
        confidence = likelihood.max() / likelihood.sum()
        prediction = classes[likelihood.argmax()]
        latency = time.perf_counter() - start
        collector.record_prediction(row[None], prediction, confidence, latency, classes[truth])
    collector.record_error("invalid_input", "width: 'wide' is not a number")
    collector.detect_data_drift(rows + [0, 0, 0, 3], rows, features)


def main() -> int:
    """Run the demonstration and return its exit code."""
    parser = argparse.ArgumentParser(description="Record 50 predictions and serve their metrics.")
    parser.add_argument("--port", type=int, default=8000, help="of /metrics (%(default)s)")
    parser.add_argument("--seconds", type=float, help="how long to serve (until Ctrl-C)")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "build/metrics_export.json", help="(%(default)s)"
    )
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also as a shell's background job
    prepare_streams()
    collector = ModelMetricsCollector("demonstration")
    record_demonstration(collector)
    for name, value in collector.get_prediction_summary().items():
        show_line(f"{name:<24} {value}")
    try:
        collector.export_metrics(args.output)
        show_step("export", str(args.output))
        server, thread = start_metrics_server(args.port)
    except (MlopsError, OSError) as error:
        return fail(error)
    with suppress(KeyboardInterrupt):
        until = "until Ctrl-C" if args.seconds is None else f"for {args.seconds:g} s"
        show_step("metrics", f"http://127.0.0.1:{server.server_port}/metrics, {until}")
        thread.join(args.seconds)
    server.shutdown()
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
