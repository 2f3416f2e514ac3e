"""Metric families are shared by the collectors of a registry."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from infrastructure.monitoring.metrics.families import Definition, definitions, family

LABELS = ("model_name",)


def test_the_same_definition_is_one_metric_of_a_registry() -> None:
    registry, other = CollectorRegistry(), CollectorRegistry()
    rows = family(Counter, "rows", "Rows.", LABELS, registry)
    assert family(Counter, "rows", "Rows.", list(LABELS), registry) is rows
    assert family(Counter, "rows", "Rows.", LABELS, other) is not rows
    rows.labels("iris").inc()
    assert registry.get_sample_value("rows_total", {"model_name": "iris"}) == 1
    assert other.get_sample_value("rows_total", {"model_name": "iris"}) is None


def test_another_definition_of_the_same_name_is_refused() -> None:
    registry = CollectorRegistry()
    family(Histogram, "seconds", "Seconds.", LABELS, registry, buckets=(1, 2))
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        family(Histogram, "seconds", "Seconds.", LABELS, registry, buckets=(1, 3))
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        family(Gauge, "seconds", "Seconds.", LABELS, registry)


def test_threads_get_one_metric() -> None:
    registry = CollectorRegistry()

    def create(_: int) -> Counter:
        return family(Counter, "rows", "Rows.", LABELS, registry)

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(create, range(64)))) == 1


def test_a_registry_that_is_no_longer_used_is_freed() -> None:
    registry = CollectorRegistry()
    family(Counter, "rows", "Rows.", LABELS, registry)
    alive = weakref.ref(registry)
    del registry
    gc.collect()
    assert alive() is None


def test_definitions_list_the_metrics_as_prometheus_shows_them() -> None:
    registry = CollectorRegistry()
    family(Gauge, "weight", "Weight.", (), registry)
    family(Counter, "rows", "Rows.", LABELS, registry)
    family(Histogram, "seconds", "Seconds.", LABELS, registry, buckets=(1, 2))
    assert definitions(registry) == [
        Definition("rows_total", "counter", LABELS, "Rows."),
        Definition("seconds", "histogram", LABELS, "Seconds."),
        Definition("weight", "gauge", (), "Weight."),
    ]
    assert definitions(CollectorRegistry()) == []
