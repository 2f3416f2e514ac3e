"""The tutorial's collector: its lines work as the tutorial has them."""

from __future__ import annotations

import inspect
import json
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import tracemalloc
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prometheus_client import CollectorRegistry

from domain.errors import DeploymentError, InputError
from infrastructure.monitoring.metrics import model_metrics
from infrastructure.monitoring.metrics.model_metrics import (
    ModelMetricsCollector,
    start_metrics_server,
)
from infrastructure.monitoring.metrics.service_metrics import ServiceMetrics
from shared.paths import ROOT
from tests.served import free_port

SCRIPT = "infrastructure/monitoring/metrics/model_metrics.py"
MODEL = {"model_name": "iris", "version": "1.0.0"}
ROW = np.array([[5.1, 3.5, 1.4, 0.2]])
HOUR = 3600.0
# in a process of its own, as it uses the registry of the process
TUTORIAL = """
import json
import urllib.request

import numpy as np

from infrastructure.monitoring.metrics.model_metrics import (
    ModelMetricsCollector, start_metrics_server
)

start_metrics_server(port=PORT)
collector = ModelMetricsCollector("iris_classifier", model_version="1.0.0")
collector.record_prediction(
    features=np.array([[5.1, 3.5, 1.4, 0.2]]),
    prediction="setosa",
    confidence=0.95,
    latency=0.05
)
collector.record_prediction(
    features=np.array([[6.7, 3.0, 5.2, 2.3]]),
    prediction="virginica",
    confidence=0.9,
    latency=0.05,
    ground_truth="virginica"
)
collector.record_error("validation_error", "Invalid input shape")
reference_features = np.random.default_rng(0).normal(size=(100, 4))
current_features = reference_features + np.array([0, 0, 0, 5])
feature_names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
scores = collector.detect_data_drift(current_features, reference_features, feature_names)
summary = collector.get_prediction_summary(hours=24)
collector.export_metrics("metrics.json")

urllib.request.urlretrieve("http://127.0.0.1:PORT/metrics", "metrics.txt")
print(json.dumps({"scores": scores, "summary": summary}))
"""


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(name="registry")
def _registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(name="collector")
def _collector(registry: CollectorRegistry, clock: Clock) -> ModelMetricsCollector:
    return ModelMetricsCollector("iris", registry=registry, clock=clock)


def count(registry: CollectorRegistry, name: str) -> float | None:
    """How many predictions of a class were counted; None if it has no series."""
    return registry.get_sample_value("ml_predictions_total", {**MODEL, "class": name})


def accuracy(registry: CollectorRegistry) -> float | None:
    """The live accuracy; None if it has no series."""
    return registry.get_sample_value("ml_model_accuracy", MODEL)


def record(collector: ModelMetricsCollector, *pairs: tuple[str, str | None]) -> None:
    """Record predictions with their true classes."""
    for prediction, actual in pairs:
        collector.record_prediction(ROW, prediction, 0.5, 0.25, actual)


def test_the_lines_of_the_tutorial_work_word_for_word(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TUTORIAL.replace("PORT", str(free_port()))],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    shown, text = json.loads(done.stdout), (tmp_path / "metrics.txt").read_text("utf-8")
    labels = 'model_name="iris_classifier",version="1.0.0"'
    score = shown["scores"]["petal_width"]
    for line in (
        f'ml_predictions_total{{class="setosa",{labels}}} 1.0',
        f"ml_prediction_duration_seconds_count{{{labels}}} 2.0",
        f'ml_prediction_confidence_sum{{class="setosa",{labels}}} 0.95',
        f'ml_prediction_errors_total{{error_type="validation_error",{labels}}} 1.0',
        f"ml_model_accuracy{{{labels}}} 1.0",
        f'ml_data_drift_score{{feature="petal_width",model_name="iris_classifier"}} {score}',
    ):
        assert line in text.splitlines()
    assert score > 4
    assert shown["summary"]["total_predictions"] == 2
    exported = json.loads((tmp_path / "metrics.json").read_text("utf-8"))
    assert exported["metrics_summary"] == shown["summary"]
    assert "Invalid input shape" in done.stderr
    assert "petal_width has drifted" in done.stderr


def test_the_version_is_1_0_0_unless_given(registry: CollectorRegistry) -> None:
    ModelMetricsCollector("iris", registry=registry).record_error("a", "b")
    ModelMetricsCollector("iris", "2", registry=registry).record_error("a", "b")
    for version in ("1.0.0", "2"):
        labels = {"model_name": "iris", "version": version, "error_type": "a"}
        assert registry.get_sample_value("ml_prediction_errors_total", labels) == 1


def test_a_class_has_its_series_from_its_first_prediction_or_label(
    registry: CollectorRegistry, collector: ModelMetricsCollector
) -> None:
    assert count(registry, "setosa") is None
    record(collector, ("setosa", None), ("setosa", "virginica"))
    assert count(registry, "setosa") == 2
    assert count(registry, "virginica") == 0


@pytest.mark.parametrize(
    ("prediction", "name"),
    [
        ("setosa", "setosa"),
        (np.str_("setosa"), "setosa"),
        (np.array(["setosa"]), "setosa"),
        (np.array(["setosa"], dtype=object), "setosa"),
        (["setosa"], "setosa"),
        (pd.Series(["setosa"]), "setosa"),
        (1, "1"),
        (np.int64(1), "1"),
        (np.array([1]), "1"),
        (1.0, "1"),
        (np.float32(1), "1"),
        (True, "true"),
        (np.bool_(False), "false"),
        ("鳶尾花", "鳶尾花"),
        ("a\nb\ud800", r"a\nb\ud800"),
    ],
)
def test_a_prediction_may_be_what_a_model_returns(
    registry: CollectorRegistry, collector: ModelMetricsCollector, prediction: Any, name: str
) -> None:
    collector.record_prediction(ROW, prediction, 0.5, 0.25, ground_truth=prediction)
    assert count(registry, name) == 1
    assert accuracy(registry) == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"features": [ROW[0], ROW[0]]}, r"features: shape \(2, 4\): expected one row, \(1, n"),
        ({"features": []}, r"features: shape \(0,\)"),
        ({"features": 5.1}, r"features: shape \(\)"),
        ({"features": [["red"]]}, "features: not an array of numbers: could not convert"),
        ({"features": [[1.0], [1.0, 2.0]]}, "features: not an array of numbers"),
        ({"prediction": ["setosa", "virginica"]}, "prediction: .* is not one class: pass its name"),
        ({"prediction": np.array(["a", "b"])}, "prediction: .* is not one class"),
        ({"prediction": ""}, "prediction: '' is not one class"),
        ({"prediction": None}, "prediction: None is not one class"),
        ({"prediction": 0.93}, "prediction: 0.93 is not one class"),
        ({"prediction": math.nan}, "prediction: nan is not one class"),
        ({"prediction": b"setosa"}, "prediction: b'setosa' is not one class"),
        ({"prediction": [[1], [1, 2]]}, "prediction: .* is not one class"),
        ({"ground_truth": math.inf}, "ground_truth: inf is not one class"),
        ({"confidence": 1.5}, "confidence: 1.5 is not a number from 0 to 1"),
        ({"confidence": math.nan}, "confidence: nan is not a number from 0 to 1"),
        ({"confidence": [0.1, 0.9]}, "confidence: .* is not a number from 0 to 1"),
        ({"confidence": "high"}, "confidence: not an array of numbers"),
        ({"latency": -0.1}, "latency: -0.1 is not a number from 0"),
        ({"latency": math.inf}, "latency: inf is not a number from 0"),
    ],
)
def test_an_invalid_argument_is_named_and_nothing_is_counted(
    registry: CollectorRegistry,
    collector: ModelMetricsCollector,
    changed: dict[str, Any],
    message: str,
) -> None:
    valid = {"features": ROW, "prediction": "setosa", "confidence": 0.5, "latency": 0.25}
    with pytest.raises(InputError, match=message):
        collector.record_prediction(**{**valid, **changed})
    assert count(registry, "setosa") is None
    assert collector.get_prediction_summary()["total_predictions"] == 0


def test_confidence_and_latency_may_be_what_numpy_returns(
    registry: CollectorRegistry, collector: ModelMetricsCollector
) -> None:
    probabilities = np.array([[0.25, 0.75]], dtype=np.float32)
    collector.record_prediction(ROW[0].tolist(), 1, probabilities.max(axis=1), np.float64(0.5))
    labels = {**MODEL, "class": "1"}
    assert registry.get_sample_value("ml_prediction_confidence_sum", labels) == 0.75
    assert registry.get_sample_value("ml_prediction_duration_seconds_sum", MODEL) == 0.5


def test_values_passed_as_class_names_are_refused_before_memory_grows(
    registry: CollectorRegistry, collector: ModelMetricsCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_metrics, "MAX_CLASSES", 3)
    record(collector, ("a", None), ("b", "c"))
    with pytest.raises(InputError, match="'d' would be class 4: pass the name of a class, not a"):
        record(collector, ("d", "a"))
    record(collector, ("c", "a"))
    assert count(registry, "c") == 1
    assert count(registry, "d") is None


def test_accuracy_has_no_series_before_the_first_label_and_follows_each(
    registry: CollectorRegistry, collector: ModelMetricsCollector
) -> None:
    record(collector, ("a", None))
    assert accuracy(registry) is None
    record(collector, ("a", "a"), ("a", "b"), ("b", None), ("b", "b"))
    assert accuracy(registry) == pytest.approx(2 / 3)


def test_accuracy_is_that_of_the_last_24_hours(
    registry: CollectorRegistry, collector: ModelMetricsCollector, clock: Clock
) -> None:
    record(collector, ("a", "b"), ("a", "b"))
    clock.now += 23 * HOUR
    record(collector, ("a", "a"))
    assert accuracy(registry) == pytest.approx(1 / 3)
    clock.now += HOUR
    record(collector, ("a", "a"))
    assert accuracy(registry) == 1


def test_errors_are_counted_by_type_and_their_message_is_logged_on_one_line(
    registry: CollectorRegistry, collector: ModelMetricsCollector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.record_error("timeout", "no response\nin 5 s")
    collector.record_error("timeout", str(TimeoutError("again")))
    labels = {**MODEL, "error_type": "timeout"}
    assert registry.get_sample_value("ml_prediction_errors_total", labels) == 2
    assert caplog.messages == [r"iris: timeout: no response\nin 5 s", "iris: timeout: again"]
    assert {item.levelno for item in caplog.records} == {logging.ERROR}


def test_messages_passed_as_error_types_are_counted_as_other(
    registry: CollectorRegistry, collector: ModelMetricsCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_metrics, "MAX_ERROR_TYPES", 2)
    for error_type in ("a", "b", "c", "d", "a"):
        collector.record_error(error_type, "message")
    counts = [
        registry.get_sample_value("ml_prediction_errors_total", {**MODEL, "error_type": name})
        for name in ("a", "b", "c", "other")
    ]
    assert counts == [2, 1, None, 2]


def test_drift_is_scored_shown_and_logged_above_2(
    registry: CollectorRegistry, collector: ModelMetricsCollector, caplog: pytest.LogCaptureFixture
) -> None:
    reference = np.array([[-1.0, -1.0, 5.0], [1.0, 1.0, 5.0]])  # standard deviations 1, 1, 0
    current = np.array([[1.0, -3.5, 5.0], [3.0, 3.5, 5.0]])
    scores = collector.detect_data_drift(current, reference, ["moved", "wider", "constant"])
    assert scores == {"moved": 2.0, "wider": 2.5, "constant": 0.0}
    for name, score in scores.items():
        labels = {"model_name": "iris", "feature": name}
        assert registry.get_sample_value("ml_data_drift_score", labels) == score
    (warning,) = caplog.records  # a score of 2 is not above 2
    assert warning.levelno == logging.WARNING
    assert warning.getMessage() == (
        "iris: wider has drifted: score 2.50 is above 2: check its source, or train again"
    )


def test_a_constant_that_changes_has_an_infinite_score_that_prometheus_reads(
    registry: CollectorRegistry, collector: ModelMetricsCollector, caplog: pytest.LogCaptureFixture
) -> None:
    scores = collector.detect_data_drift([[0.2], [0.2]], [[0.1], [0.1]], ["constant"])
    assert scores == {"constant": math.inf}
    labels = {"model_name": "iris", "feature": "constant"}
    assert registry.get_sample_value("ml_data_drift_score", labels) == math.inf
    assert "score inf is above 2" in caplog.text


def test_drift_takes_tables_of_pandas(collector: ModelMetricsCollector) -> None:
    table = pd.DataFrame({"a": [1.0, 2.0, None], "b": [0, 1, 2]})
    assert collector.detect_data_drift(table, table, table.columns) == {"a": 0, "b": 0}


@pytest.mark.parametrize(
    ("current", "names", "message"),
    [
        ([[1.0, 2.0, 3.0]], ["a", "b"], "3 columns in current_features, 2 in reference_features"),
        ([[1.0, 2.0]], ["a"], "1 different names among 1 feature_names: these numbers must be eq"),
        ([[1.0, 2.0]], ["a", "a"], "1 different names among 2 feature_names"),
        ([1.0, 2.0], ["a", "b"], r"current_features: shape \(2,\): expected \(n_rows, n_features"),
        ([["x", 2.0]], ["a", "b"], "current_features: not an array of numbers"),
        ([[1.0, math.inf]], ["a", "b"], "b: the current rows have an infinite value"),
        ([[1.0, math.nan]], ["a", "b"], "b: the current rows have no value"),
        (np.empty((0, 2)), ["a", "b"], "a: the current rows have no value"),
    ],
)
def test_invalid_rows_are_named_and_no_drift_is_set(
    registry: CollectorRegistry,
    collector: ModelMetricsCollector,
    current: Any,
    names: list[str],
    message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        collector.detect_data_drift(current, [[1.0, 2.0], [3.0, 4.0]], names)
    labels = {"model_name": "iris", "feature": "a"}
    assert registry.get_sample_value("ml_data_drift_score", labels) is None


def test_a_summary_has_the_totals_of_its_hours(
    collector: ModelMetricsCollector, clock: Clock
) -> None:
    collector.record_prediction(ROW, "old", 1.0, 9.0)
    clock.now += 3 * HOUR
    collector.record_prediction(ROW, "a", 0.5, 0.25)
    collector.record_prediction(ROW, "b", 0.75, 0.75)
    collector.record_prediction(ROW, "b", 1.0, 0.5)
    assert collector.get_prediction_summary(hours=2) == {
        "time_period_hours": 2,
        "total_predictions": 3,
        "average_confidence": 0.75,
        "average_latency_seconds": 0.5,
        "class_distribution": {"old": 0, "a": 1, "b": 2},
        "predictions_per_hour": 1.5,
    }
    assert collector.get_prediction_summary()["total_predictions"] == 4


def test_a_summary_has_the_quality_of_labelled_predictions(
    collector: ModelMetricsCollector,
) -> None:
    record(collector, ("a", "a"), ("a", "a"), ("a", "b"), ("b", "b"), ("b", None))
    summary = collector.get_prediction_summary()
    assert summary["labeled_predictions"] == 4
    assert summary["accuracy"] == 0.75
    assert summary["precision"] == pytest.approx((2 / 3 + 1) / 2)
    assert summary["recall"] == pytest.approx((1 + 1 / 2) / 2)
    assert summary["f1_score"] == pytest.approx((4 / 5 + 2 / 3) / 2)


def test_a_summary_without_predictions_has_no_averages(collector: ModelMetricsCollector) -> None:
    assert collector.get_prediction_summary(hours=1) == {
        "time_period_hours": 1,
        "total_predictions": 0,
        "average_confidence": None,
        "average_latency_seconds": None,
        "class_distribution": {},
        "predictions_per_hour": 0,
    }


@pytest.mark.parametrize("hours", [0, -1, math.nan, math.inf])
def test_a_period_must_be_positive(collector: ModelMetricsCollector, hours: float) -> None:
    with pytest.raises(InputError, match=f"hours: {hours} is not a positive number"):
        collector.get_prediction_summary(hours)


def test_a_full_history_says_how_far_back_it_reaches(
    registry: CollectorRegistry, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_metrics, "HISTORY", 4)
    collector = ModelMetricsCollector("iris", registry=registry, clock=clock)
    record(collector, ("a", "b"))
    for _ in range(4):
        clock.now += HOUR / 2
        record(collector, ("a", "a"))
    clock.now += HOUR / 2
    summary = collector.get_prediction_summary()
    assert (summary["total_predictions"], summary["covered_hours"]) == (4, 2)
    assert summary["predictions_per_hour"] == 2
    assert "covered_hours" not in collector.get_prediction_summary(hours=1)
    assert accuracy(registry) == 1  # the first label is no longer known
    assert count(registry, "a") == 5  # counters forget nothing


def test_the_export_has_the_latest_100_predictions(
    collector: ModelMetricsCollector, clock: Clock, tmp_path: Path
) -> None:
    features = np.array([[1.0, np.nan, np.inf]])
    for number in range(103):
        features[0, 0] = number  # the collector keeps a copy
        collector.record_prediction(features, "a", 0.5, 0.25, "b" if number == 102 else None)
    path = tmp_path / "new" / "metrics.json"
    collector.export_metrics(path)
    exported = json.loads(path.read_text("utf-8"))
    assert list(exported) == [
        *("model_name", "model_version", "export_timestamp"),
        *("metrics_summary", "recent_predictions"),
    ]
    assert (exported["model_name"], exported["model_version"]) == ("iris", "1.0.0")
    now = datetime.fromtimestamp(clock.now, UTC)
    assert datetime.fromisoformat(exported["export_timestamp"]) == now
    assert exported["metrics_summary"] == collector.get_prediction_summary()
    recent = exported["recent_predictions"]
    assert [item["features"][0] for item in recent] == list(range(3, 103))
    assert recent[-1] == {
        "timestamp": now.isoformat(),
        "features": [102, None, None],
        "prediction": "a",
        "confidence": 0.5,
        "latency": 0.25,
        "ground_truth": "b",
    }
    assert recent[0]["ground_truth"] is None


def test_collectors_in_one_process_share_the_metrics(registry: CollectorRegistry) -> None:
    for name in ("iris", "iris", "wine"):
        record(ModelMetricsCollector(name, registry=registry), ("a", "a"))
    ServiceMetrics("served", "1", ("a",), registry)
    assert count(registry, "a") == 2
    other = {"model_name": "wine", "version": "1.0.0", "class": "a"}
    assert registry.get_sample_value("ml_predictions_total", other) == 1
    service = {"model_name": "served", "version": "1", "class": "a"}
    assert registry.get_sample_value("ml_predictions_total", service) == 0


def test_threads_lose_no_prediction(
    registry: CollectorRegistry, collector: ModelMetricsCollector
) -> None:
    def work(thread: int) -> None:
        for number in range(250):
            name = f"class {(thread + number) % 10}"
            collector.record_prediction(ROW, name, 0.5, 0.25, name)
            collector.record_error(f"type {number % 3}", "message")

    logging.disable(logging.ERROR)
    try:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, range(8)))
    finally:
        logging.disable(logging.NOTSET)
    assert [count(registry, f"class {number}") for number in range(10)] == [200] * 10
    summary = collector.get_prediction_summary()
    assert summary["total_predictions"] == summary["labeled_predictions"] == 2000
    assert sum(summary["class_distribution"].values()) == 2000
    assert summary["accuracy"] == accuracy(registry) == 1


def test_memory_is_bounded(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_metrics, "HISTORY", 500)
    collector = ModelMetricsCollector("iris", registry=registry)
    pairs = [("a", "a"), ("b", "a")] * 300
    record(collector, *pairs)
    tracemalloc.start()
    try:
        record(collector, *pairs)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(5):
            record(collector, *pairs)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000  # less than 7 bytes per prediction


@contextmanager
def served(registry: CollectorRegistry) -> Iterator[str]:
    """The address of a metrics server."""
    server, thread = start_metrics_server(0, registry)
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
    assert not thread.is_alive()


def fetch(url: str) -> str:
    """The text of a page."""
    with urllib.request.urlopen(url, timeout=5) as response:
        text: str = response.read().decode()
    return text


def test_the_metrics_server_serves_what_was_recorded(
    registry: CollectorRegistry, collector: ModelMetricsCollector
) -> None:
    record(collector, ("setosa", None))
    with served(registry) as url:
        text = fetch(url)
    line = 'ml_predictions_total{class="setosa",model_name="iris",version="1.0.0"} 1.0'
    assert line in text.splitlines()


def test_the_metrics_server_listens_on_port_8000_unless_told_otherwise() -> None:
    assert inspect.signature(start_metrics_server).parameters["port"].default == 8000


def test_a_port_in_use_is_reported_with_its_holder(registry: CollectorRegistry) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(DeploymentError, match=f"port {port} is in use by .*pid {os.getpid()}"):
            start_metrics_server(port, registry)


@contextmanager
def demonstration(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The script of the tutorial as a process."""
    with subprocess.Popen(
        [sys.executable, SCRIPT, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_script_records_50_predictions_and_serves_them_until_it_is_interrupted(
    tmp_path: Path,
) -> None:
    output = tmp_path / "metrics.json"
    with demonstration("--port", "0", "--output", str(output)) as process:
        assert process.stdout
        lines = [""]
        while "http://" not in lines[-1]:
            lines.append(next(process.stdout))
        text = fetch(lines[-1].split()[1].rstrip(","))
        process.send_signal(signal.SIGINT)
        _, logged = process.communicate(timeout=20)
    counted = [line for line in text.splitlines() if line.startswith("ml_predictions_total{")]
    assert sum(float(line.split()[-1]) for line in counted) == 50
    assert any(line.split() == ["total_predictions", "50"] for line in lines)
    assert len(json.loads(output.read_text())["recent_predictions"]) == 50
    assert "weight has drifted" in logged
    assert "Traceback" not in logged
    assert process.returncode == 0


def test_the_script_ends_after_the_given_seconds(tmp_path: Path) -> None:
    output = str(tmp_path / "metrics.json")
    with demonstration("--port", "0", "--seconds", "0", "--output", output) as process:
        shown, _ = process.communicate(timeout=20)
    assert "/metrics, for 0 s\n" in shown
    assert process.returncode == 0


def test_the_script_reports_a_port_in_use_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port, output = str(holder.getsockname()[1]), str(tmp_path / "metrics.json")
        with demonstration("--port", port, "--output", output) as process:
            _, logged = process.communicate(timeout=20)
    assert logged.splitlines()[-1].startswith(f"error: metrics cannot be served: port {port} is in")
    assert process.returncode == 1
