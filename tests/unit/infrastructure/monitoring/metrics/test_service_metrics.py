"""The metrics of a model, from one process and from several."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from infrastructure.monitoring.metrics.service_metrics import (
    CONFIDENCE_BUCKETS,
    LATENCY_BUCKETS,
    ServiceMetrics,
)
from shared.paths import ROOT

CLASSES = ("setosa", "versicolor", "virginica")
LABELS = {"model_name": "iris", "version": "1.0.0-a"}
NAMES = {
    "ml_predictions_total": {"model_name", "version", "class"},
    "ml_prediction_duration_seconds": {"model_name", "version"},
    "ml_model_score": {"model_name", "version", "measure"},
    "ml_model_score_threshold": {"model_name", "version", "measure"},
    "ml_input_importance": {"model_name", "feature"},
    "ml_model_estimated_score": {"model_name", "version", "measure"},
    "ml_model_estimated_score_bound": {"model_name", "version", "measure", "bound"},
    "ml_model_score_bound": {"model_name", "version", "measure", "bound"},
    "ml_labelled_predictions": {"model_name", "version"},
    "ml_model_accuracy": {"model_name", "version"},
    "ml_prediction_confidence": {"model_name", "version", "class"},
    "ml_data_drift_score": {"model_name", "feature"},
    "ml_prediction_errors_total": {"model_name", "version", "error_type"},
    "ml_prediction_log_dropped_rows_total": {"model_name", "version"},
    "ml_prediction_log_spooled_rows": {"model_name", "version"},
    "ml_data_drift_p_value": {"model_name", "feature", "reference"},
    "ml_data_drift_alarm": {"model_name", "feature", "reference"},
    "ml_data_drift_rows": {"model_name"},
    "ml_retraining_failed": {"model_name"},
    "ml_inputs_outside_range_total": {"model_name", "feature"},
    "ml_synthetic_requests_total": {"model_name", "version", "source"},
}


@pytest.fixture(name="registry")
def _registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture(name="metrics")
def _metrics(registry: CollectorRegistry) -> ServiceMetrics:
    return ServiceMetrics(*LABELS.values(), CLASSES, registry, tolerant=["petal_width"])


def record(
    metrics: ServiceMetrics,
    codes: Sequence[int],
    confidences: Sequence[float],
    *latencies: float,
) -> None:
    """Count requests with these classes, as numbers."""
    metrics.record_predictions(np.array(codes), np.array(confidences), np.array(latencies))


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """The value of one of the model's series; None if there is no such series."""
    return registry.get_sample_value(name, {**LABELS, **labels})


def series(registry: CollectorRegistry) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """Name and labels of every series."""
    return {
        (sample.name, frozenset(sample.labels.items()))
        for family in registry.collect()
        for sample in family.samples
    }


def test_metrics_have_the_promised_names_and_labels(
    registry: CollectorRegistry, metrics: ServiceMetrics
) -> None:
    record(metrics, [0], [0.9], 0.001)
    metrics.record_error("invalid_input")
    metrics.record_synthetic("demo")
    metrics.set_accuracy(0.9)
    metrics.set_score("f1_macro", 0.8, None)
    metrics.set_score_threshold("f1_macro", 0.75)
    metrics.set_estimated_score("accuracy", 0.9, (0.85, 0.95))
    metrics.set_labelled(40)
    metrics.set_drift({"petal_width": 0.1})
    metrics.set_importances({"petal_width": 0.3})
    metrics.set_drift_evidence(9, {"training": {"petal_width": 0.3}}, {"training": []})
    metrics.set_retraining_failed(False)
    found: dict[str, set[str]] = {}
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = set().union(*(sample.labels for sample in family.samples)) - {"le"}
    assert found == NAMES


def test_the_score_stands_beside_the_threshold_of_the_gate_and_the_number_of_labels(
    registry: CollectorRegistry, metrics: ServiceMetrics
) -> None:
    assert value(registry, "ml_labelled_predictions") is None
    metrics.set_score_threshold("f1_macro", 0.75)
    metrics.set_estimated_score("accuracy", 0.9, (0.85, 0.95))
    metrics.set_labelled(40)
    assert value(registry, "ml_model_score_threshold", measure="f1_macro") == 0.75
    assert value(registry, "ml_model_estimated_score", measure="accuracy") == 0.9
    assert value(registry, "ml_labelled_predictions") == 40


def test_scores_stand_between_the_bounds_of_their_intervals(
    registry: CollectorRegistry, metrics: ServiceMetrics
) -> None:
    def bounds(kind: str) -> list[float | None]:
        name = f"ml_model_{kind}_bound"
        both = ("lower", "upper")
        return [value(registry, name, measure="f1_macro", bound=each) for each in both]

    assert bounds("score") == bounds("estimated_score") == [None, None]
    metrics.set_score("f1_macro", 0.8, (0.75, 0.85))
    metrics.set_estimated_score("f1_macro", 0.7, (0.65, 0.75))
    assert (bounds("score"), bounds("estimated_score")) == ([0.75, 0.85], [0.65, 0.75])
    metrics.set_score("f1_macro", 0.9, None)
    assert bounds("score") == pytest.approx([math.nan, math.nan], nan_ok=True)


def test_each_metric_explains_itself(registry: CollectorRegistry, metrics: ServiceMetrics) -> None:
    assert metrics
    assert all(family.documentation.endswith(".") for family in registry.collect())


def test_every_class_has_its_series_from_the_start(
    registry: CollectorRegistry, metrics: ServiceMetrics
) -> None:
    assert metrics
    for name in CLASSES:
        assert value(registry, "ml_predictions_total", **{"class": name}) == 0
        assert value(registry, "ml_prediction_confidence_count", **{"class": name}) == 0


def test_rows_are_counted_by_class_and_latency_once_for_a_request(
    registry: CollectorRegistry, metrics: ServiceMetrics
) -> None:
    record(metrics, [0, 0, 2], [0.9375, 1.0, 0.5], 0.002)
    record(metrics, [2], [0.7], 0.02)
    record(metrics, [], [])
    counts = [value(registry, "ml_predictions_total", **{"class": name}) for name in CLASSES]
    assert counts == [2, 0, 2]
    assert value(registry, "ml_prediction_duration_seconds_count") == 2
    assert value(registry, "ml_prediction_duration_seconds_sum") == pytest.approx(0.022)
    confidence = "ml_prediction_confidence"
    assert value(registry, f"{confidence}_sum", **{"class": "setosa"}) == 1.9375
    assert value(registry, f"{confidence}_bucket", **{"class": "setosa"}, le="0.95") == 1
    assert value(registry, f"{confidence}_bucket", **{"class": "setosa"}, le="1.0") == 2


def test_errors_are_counted_by_reason_and_not_as_predictions(
    registry: CollectorRegistry, metrics: ServiceMetrics
) -> None:
    for error_type in ("invalid_input", "internal", "invalid_input"):
        metrics.record_error(error_type)
    assert value(registry, "ml_prediction_errors_total", error_type="invalid_input") == 2
    assert value(registry, "ml_prediction_errors_total", error_type="internal") == 1
    assert value(registry, "ml_prediction_duration_seconds_count") == 0


def test_accuracy_has_no_series_before_the_first_label(
    registry: CollectorRegistry, metrics: ServiceMetrics
) -> None:
    record(metrics, [0], [0.9], 0.001)
    assert value(registry, "ml_model_accuracy") is None
    metrics.set_accuracy(0.75)
    assert value(registry, "ml_model_accuracy") == 0.75


def test_drift_is_shown_by_input_and_replaced_by_the_next_look(
    registry: CollectorRegistry, metrics: ServiceMetrics
) -> None:
    metrics.set_drift({"petal_width": 0.3, "petal_length": 0.1})
    metrics.set_drift({"petal_width": 0.05})
    name, model = "ml_data_drift_score", LABELS["model_name"]
    width = {"model_name": model, "feature": "petal_width"}
    length = {"model_name": model, "feature": "petal_length"}
    assert registry.get_sample_value(name, width) == 0.05
    assert registry.get_sample_value(name, length) == 0.1


def test_recording_uses_the_series_that_are_there_and_makes_none(
    registry: CollectorRegistry, metrics: ServiceMetrics
) -> None:
    before = series(registry)
    record(metrics, [0, 1, 2], [0.5, 0.6, 0.7], 0.001)
    assert series(registry) == before
    with pytest.raises(IndexError):
        record(metrics, [3], [0.5], 0.001)
    assert series(registry) == before


def test_requests_of_a_batch_are_counted_as_one_by_one(registry: CollectorRegistry) -> None:
    rng = np.random.default_rng(0)
    codes, confidences = rng.integers(0, 3, 500), rng.uniform(0.3, 1, 500).astype(np.float32)
    latencies = rng.uniform(0, 0.1, 500)
    ServiceMetrics(*LABELS.values(), CLASSES, registry).record_predictions(
        codes, confidences, latencies
    )
    alone = CollectorRegistry()
    metrics = ServiceMetrics(*LABELS.values(), CLASSES, alone)
    for code, confidence, latency in zip(codes, confidences, latencies):
        record(metrics, [code], [confidence], latency)
    assert series(alone) == series(registry)
    for name, labels in series(alone):
        if not name.endswith("_created"):
            expected = alone.get_sample_value(name, dict(labels))
            assert registry.get_sample_value(name, dict(labels)) == pytest.approx(expected)


@pytest.fixture(name="quantity_metrics")
def _quantity_metrics(registry: CollectorRegistry) -> ServiceMetrics:
    return ServiceMetrics(*LABELS.values(), ("rent",), registry, (100, 200, 400))


def test_values_are_counted_under_the_name_of_their_quantity(
    registry: CollectorRegistry, quantity_metrics: ServiceMetrics
) -> None:
    assert value(registry, "ml_predictions_total", **{"class": "rent"}) == 0
    quantity_metrics.record_values(np.array([150.0, 300.0, 1000.0]), np.array([0.002]))
    quantity_metrics.record_values(np.array([50.0]), np.array([0.004]))
    assert value(registry, "ml_predictions_total", **{"class": "rent"}) == 4
    assert value(registry, "ml_prediction_value_sum") == 1500
    assert value(registry, "ml_prediction_value_bucket", le="200.0") == 2
    assert value(registry, "ml_prediction_value_bucket", le="+Inf") == 4
    assert value(registry, "ml_prediction_duration_seconds_count") == 2


def test_the_error_of_a_quantity_has_no_series_before_the_first_label(
    registry: CollectorRegistry, quantity_metrics: ServiceMetrics
) -> None:
    assert value(registry, "ml_model_mean_absolute_error") is None
    quantity_metrics.set_mean_absolute_error(12.5)
    assert value(registry, "ml_model_mean_absolute_error") == 12.5


def test_a_quantity_has_no_accuracy_and_no_confidence_and_classes_have_no_value(
    registry: CollectorRegistry, quantity_metrics: ServiceMetrics
) -> None:
    quantity_metrics.record_values(np.array([150.0]), np.array([0.001]))
    names = {family.name for family in registry.collect()}
    assert not {"ml_model_accuracy", "ml_prediction_confidence"} & names
    other = CollectorRegistry()
    ServiceMetrics(*LABELS.values(), CLASSES, registry=other)
    names = {family.name for family in other.collect()}
    assert not {"ml_model_mean_absolute_error", "ml_prediction_value"} & names


def test_memory_does_not_grow_with_predictions(metrics: ServiceMetrics) -> None:
    def work(count: int) -> None:
        for number in range(count):
            record(metrics, [number % 3], [number / count], number / count)

    work(100)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        work(20_000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000  # less than one byte per prediction


@pytest.mark.parametrize("buckets", [LATENCY_BUCKETS, CONFIDENCE_BUCKETS])
def test_buckets_increase(buckets: tuple[float, ...]) -> None:
    assert list(buckets) == sorted(set(buckets))


WORKER = """
import json, sys
import numpy as np
from prometheus_client import CollectorRegistry
from infrastructure.monitoring.metrics.service_metrics import ServiceMetrics
work = json.loads(sys.argv[1])
tolerant = ["petal_width"]
registry = CollectorRegistry()
metrics = ServiceMetrics(*work["model"], work["classes"], registry, tolerant=tolerant)
metrics.record_outside({"petal_width": 2})
metrics.record_predictions(*map(np.array, work["predictions"]))
metrics.record_error("internal")
if "accuracy" in work:
    metrics.set_accuracy(work["accuracy"])
    metrics.set_drift({"petal_width": work["accuracy"]})
"""


def run_worker(folder: Path, predictions: list[list[float]], **more: float) -> None:
    """A worker process that writes its metrics to `folder` and ends."""
    work = {"model": [*LABELS.values()], "classes": CLASSES, "predictions": predictions, **more}
    subprocess.run(
        [sys.executable, "-c", WORKER, json.dumps(work)],
        cwd=ROOT,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        check=True,
        timeout=30,
    )


def test_several_workers_are_summed_and_the_latest_gauge_counts(tmp_path: Path) -> None:
    run_worker(tmp_path, [[0, 2], [0.9, 0.6], [0.001]], accuracy=0.9)
    run_worker(tmp_path, [[0], [0.8], [0.003]], accuracy=0.4)
    run_worker(tmp_path, [[0], [0.8], [0.003]])  # has seen no label
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path))
    assert value(registry, "ml_predictions_total", **{"class": "setosa"}) == 3
    assert value(registry, "ml_predictions_total", **{"class": "virginica"}) == 1
    assert value(registry, "ml_predictions_total", **{"class": "versicolor"}) == 0
    assert value(registry, "ml_prediction_errors_total", error_type="internal") == 3
    assert value(registry, "ml_prediction_duration_seconds_count") == 3
    assert value(registry, "ml_model_accuracy") == 0.4
    feature = {"model_name": LABELS["model_name"], "feature": "petal_width"}
    assert registry.get_sample_value("ml_data_drift_score", feature) == 0.4
    assert registry.get_sample_value("ml_inputs_outside_range_total", feature) == 6


def test_values_outside_their_range_are_counted_by_input_from_zero(
    registry: CollectorRegistry,
) -> None:
    tolerant = ("area", "price")
    metrics = ServiceMetrics(*LABELS.values(), ["rent"], registry, [1, 2], tolerant)

    def counts() -> list[float | None]:
        name = "ml_inputs_outside_range_total"
        labels = [{"model_name": "iris", "feature": feature} for feature in tolerant]
        return [registry.get_sample_value(name, item) for item in labels]

    assert counts() == [0, 0]
    metrics.record_outside({"area": 3, "price": 0})
    metrics.record_outside({"area": 1, "price": 2})
    assert counts() == [4, 2]


def test_a_class_may_be_added_and_has_the_next_number(
    registry: CollectorRegistry, metrics: ServiceMetrics
) -> None:
    metrics.add_class("other")
    assert value(registry, "ml_predictions_total", **{"class": "other"}) == 0
    record(metrics, [3, 3], [0.5, 0.25], 0.001)
    assert value(registry, "ml_predictions_total", **{"class": "other"}) == 2
    assert value(registry, "ml_prediction_confidence_sum", **{"class": "other"}) == 0.75


def test_two_collectors_of_one_model_add_up(
    registry: CollectorRegistry, metrics: ServiceMetrics
) -> None:
    second = ServiceMetrics(*LABELS.values(), CLASSES, registry)
    record(metrics, [0], [0.9], 0.001)
    record(second, [0], [0.8], 0.001)
    assert value(registry, "ml_predictions_total", **{"class": "setosa"}) == 2
    assert value(registry, "ml_prediction_duration_seconds_count") == 2


def test_evidence_of_drift_is_shown_with_its_rows_and_alarms(
    registry: CollectorRegistry, metrics: ServiceMetrics
) -> None:
    p_values = {"training": {"petal_width": 0.0001, "petal_length": 0.5}}
    metrics.set_drift_evidence(1_200, p_values, {"training": ["petal_width"]})
    model = {"model_name": LABELS["model_name"]}
    assert registry.get_sample_value("ml_data_drift_rows", model) == 1_200
    for feature, p_value, alarm in (("petal_width", 0.0001, 1), ("petal_length", 0.5, 0)):
        labels = {**model, "feature": feature, "reference": "training"}
        assert registry.get_sample_value("ml_data_drift_p_value", labels) == p_value
        assert registry.get_sample_value("ml_data_drift_alarm", labels) == alarm


def test_rows_that_wait_are_shown(registry: CollectorRegistry, metrics: ServiceMetrics) -> None:
    assert value(registry, "ml_prediction_log_spooled_rows") == 0
    metrics.set_spooled(7)
    assert value(registry, "ml_prediction_log_spooled_rows") == 7
