"""The metrics of a service never meet a full disk."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from domain.errors import DeploymentError
from infrastructure.monitoring.metrics.metrics_files import (
    FOLDER,
    MEMORY,
    SIZES,
    allocate_metrics_files,
    has_room,
)
from shared.paths import ROOT

WORKER = """
import os
from infrastructure.monitoring.metrics.metrics_files import allocate_metrics_files
allocate_metrics_files()
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
registry = CollectorRegistry()
Counter("c", "A test.", registry=registry).inc(2)
Gauge("g", "A test.", registry=registry, multiprocess_mode="mostrecent").set(3)
filler = Histogram("h" * 2000, "A test.", ["of"], registry=registry)
for number in range(30):
    filler.labels(str(number)).observe(1)  # more than the first size
allocate_metrics_files()
"""


def run_worker(folder: Path) -> None:
    """Write metrics in a process of its own, which then ends."""
    folder.mkdir(exist_ok=True)
    subprocess.run(
        [sys.executable, "-c", WORKER],
        cwd=ROOT,
        env={**os.environ, FOLDER: str(folder)},
        check=True,
        timeout=60,
    )


def allocated(folder: Path) -> dict[str, int]:
    """Allocated bytes of the files, by kind."""
    return {
        path.stem.rpartition("_")[0]: 512 * path.stat().st_blocks for path in folder.glob("*.db")
    }


def test_files_are_allocated_with_room_for_more_than_they_contain(tmp_path: Path) -> None:
    run_worker(tmp_path)
    found = allocated(tmp_path)
    assert {kind: size for kind, size in found.items() if kind != "histogram"} == {
        kind: size for kind, size in SIZES.items() if kind != "histogram"
    }
    assert found["histogram"] >= 2 * 30 * 15 * 2000


def test_metrics_are_exposed_and_files_of_ended_workers_shrink_to_what_they_contain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        run_worker(tmp_path)
    monkeypatch.setenv(FOLDER, str(tmp_path))
    allocate_metrics_files()
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path))
    values = {s.name: s.value for f in registry.collect() for s in f.samples if len(s.name) < 9}
    assert values == {"c_total": 4, "g": 3}
    sizes = [path.stat().st_size for path in tmp_path.glob("counter_*.db")]
    assert sorted(sizes)[-1] == SIZES["counter"] and sum(size < 200 for size in sizes) == 2


def test_a_worker_without_room_for_its_metrics_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, limits[1]))
    try:
        with pytest.raises(DeploymentError, match=f"no room for the metrics .* in {tmp_path} .*"):
            allocate_metrics_files()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_memory_is_used_only_where_there_is_room(tmp_path: Path) -> None:
    assert has_room(tmp_path, 1)
    assert not has_room(tmp_path, 10**9)
    assert not has_room(tmp_path / "missing", 1)
    if MEMORY.is_dir():
        assert has_room(MEMORY, 1)
