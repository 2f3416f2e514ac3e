"""Observing many values at once equals observing each of them.

`ManyValues` writes to what prometheus_client keeps to itself: where a test here fails after an
update, look at `Histogram.observe` there and at ``histograms.py``.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

from infrastructure.monitoring.metrics.histograms import ManyValues
from infrastructure.monitoring.metrics.service_metrics import CONFIDENCE_BUCKETS, LATENCY_BUCKETS
from shared.paths import ROOT

BOUNDS = [*CONFIDENCE_BUCKETS, *LATENCY_BUCKETS, 100.0]
VALUES = st.one_of(
    st.sampled_from(BOUNDS),
    st.sampled_from([math.nextafter(bound, math.inf) for bound in BOUNDS]),
    st.sampled_from([0.0, -0.0, -1.0, math.inf, 1e300]),
    st.floats(-1e6, 1e6),
)
BUCKETS = st.sampled_from([CONFIDENCE_BUCKETS, LATENCY_BUCKETS, (100.0,), (-1.0, 0.0, math.inf)])
NOT_A_NUMBER = [math.nan, 0.5]


def samples(histogram: Histogram) -> dict[tuple[str, ...], float]:
    """Every sample except creation times."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in histogram.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def both_ways(
    buckets: tuple[float, ...], batches: list[np.ndarray]
) -> tuple[dict[tuple[str, ...], float], dict[tuple[str, ...], float]]:
    """The samples after observing the same values one by one, and at once."""
    found: list[dict[tuple[str, ...], float]] = []
    for at_once in (False, True):
        histogram = Histogram("h", "A test.", ["of"], buckets=buckets, registry=None)
        child = histogram.labels("it")
        many = ManyValues(child)
        for batch in batches:
            if at_once:
                many.observe(batch)
            else:
                for value in batch.tolist():
                    child.observe(value)
        found.append(samples(histogram))
    return found[0], found[1]


@given(BUCKETS, st.lists(st.lists(VALUES, max_size=30).map(np.array), max_size=3))
@example(CONFIDENCE_BUCKETS, [])
@example(CONFIDENCE_BUCKETS, [np.array([])])
@example(CONFIDENCE_BUCKETS, [np.array([math.inf, math.inf])])
@example(CONFIDENCE_BUCKETS, [np.array(CONFIDENCE_BUCKETS)])
def test_values_at_once_are_observed_as_one_by_one(
    buckets: tuple[float, ...], batches: list[np.ndarray]
) -> None:
    alone, at_once = both_ways(buckets, batches)
    assert at_once == pytest.approx(alone, nan_ok=True)


@given(st.lists(st.floats(0, 1, width=32), min_size=1).map(np.array))
@example(np.array(CONFIDENCE_BUCKETS))
def test_single_precision_is_observed_as_the_numbers_that_it_holds(values: np.ndarray) -> None:
    alone, at_once = both_ways(CONFIDENCE_BUCKETS, [values.astype(np.float32)])
    assert at_once == pytest.approx(alone)


def test_nan_does_not_prevent_other_values_from_being_counted() -> None:
    alone, at_once = both_ways(CONFIDENCE_BUCKETS, [np.array(NOT_A_NUMBER)])
    assert at_once == pytest.approx(alone, nan_ok=True)


def test_the_sum_of_many_small_values_keeps_its_precision() -> None:
    histogram = Histogram("h", "A test.", registry=None)
    ManyValues(histogram).observe(np.full(100_000, 0.1, np.float32))
    assert samples(histogram)["h_sum",] == pytest.approx(100_000 * float(np.float32(0.1)), rel=1e-9)


def test_it_stands_on_what_prometheus_client_has() -> None:
    child = Histogram("h", "A test.", ["of"], buckets=(1.0, 2.0), registry=None).labels("it")
    changed = "prometheus_client has changed: see infrastructure/monitoring/metrics/histograms.py"
    for name in ("_sum", "_buckets", "_upper_bounds"):
        assert hasattr(child, name), changed
    private = vars(child)
    assert private["_upper_bounds"] == [1.0, 2.0, math.inf], changed
    assert len(private["_buckets"]) == 3, changed
    assert all(hasattr(value, "inc") for value in (private["_sum"], *private["_buckets"])), changed


WRITER = """
import json, sys
import numpy as np
from prometheus_client import CollectorRegistry, Histogram
from infrastructure.monitoring.metrics.histograms import ManyValues
at_once, values = json.loads(sys.argv[1])
child = Histogram("h", "A test.", ["of"], buckets=(0.5, 1.0), registry=CollectorRegistry()).labels("it")
if at_once:
    ManyValues(child).observe(np.array(values))
else:
    for value in values:
        child.observe(value)
"""


def test_values_at_once_of_several_processes_are_summed_as_one_by_one(tmp_path: Path) -> None:
    found = []
    for at_once in (False, True):
        folder = tmp_path / str(at_once)
        folder.mkdir()
        for values in ([0.25, 0.5, 0.75], [1.0, 2.0], []):
            subprocess.run(
                [sys.executable, "-c", WRITER, json.dumps([at_once, values])],
                cwd=ROOT,
                env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
                check=True,
                timeout=30,
            )
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(folder))
        (family,) = registry.collect()
        found.append({(s.name, s.labels.get("le")): s.value for s in family.samples})
    assert found[0] == found[1]
    assert found[0]["h_bucket", "0.5"] == 2 and found[0]["h_count", None] == 5
