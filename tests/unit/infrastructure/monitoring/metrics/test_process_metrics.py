"""CPU time, memory, open files and start of all processes of a service."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from infrastructure.monitoring.metrics.process_metrics import ProcessCollector, process_metrics

BURN = 0.3  # seconds of CPU that a worker uses
WORKER = f"import time\nwhile time.process_time() < {BURN}: pass\nprint(flush=True)\ntime.sleep(60)"
SUPERVISOR = f"""
import subprocess, sys, time
workers = [subprocess.Popen([sys.executable, '-c', {WORKER!r}]) for _ in range(2)]
sys.stdin.readline()
workers[0].kill()
workers[0].wait()
print(flush=True)
time.sleep(60)
"""


@pytest.fixture(name="service")
def _service() -> Iterator[subprocess.Popen[str]]:
    """A supervisor whose two workers have used the CPU; it kills one for each line of input."""
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        for _ in range(2):
            process.stdout.readline()
        workers = psutil.Process(process.pid).children()
        yield process
        process.kill()
        for worker in workers:
            with suppress(psutil.NoSuchProcess):  # a test has killed it
                worker.kill()


def metrics_of(pid: int) -> dict[str, float]:
    """The metrics of a process and of what it has started."""
    registry = CollectorRegistry()
    registry.register(ProcessCollector(psutil.Process(pid)))
    return {sample.name: sample.value for family in registry.collect() for sample in family.samples}


def test_memory_and_cpu_time_are_sums_over_the_workers(service: subprocess.Popen[str]) -> None:
    family = [psutil.Process(service.pid), *psutil.Process(service.pid).children()]
    found = metrics_of(service.pid)
    assert found["process_cpu_seconds_total"] >= 2 * BURN - 0.02  # a clock tick each
    expected = sum(process.memory_info().rss for process in family)
    assert found["process_resident_memory_bytes"] == pytest.approx(expected, rel=0.05)


def test_files_and_start_are_those_of_the_process_that_has_most(
    service: subprocess.Popen[str],
) -> None:
    family = [psutil.Process(service.pid), *psutil.Process(service.pid).children()]
    found = metrics_of(service.pid)
    assert found["process_open_fds"] == max(process.num_fds() for process in family)
    assert found["process_open_fds"] < found["process_max_fds"]
    assert found["process_start_time_seconds"] == max(each.create_time() for each in family)
    assert found["process_start_time_seconds"] == pytest.approx(time.time(), abs=60)


def test_cpu_time_does_not_shrink_when_a_worker_is_killed(service: subprocess.Popen[str]) -> None:
    before = metrics_of(service.pid)["process_cpu_seconds_total"]
    assert service.stdin and service.stdout
    service.stdin.write("\n")
    service.stdin.flush()
    service.stdout.readline()
    assert len(psutil.Process(service.pid).children()) == 1
    assert metrics_of(service.pid)["process_cpu_seconds_total"] >= before


def test_a_process_without_supervisor_has_its_own_metrics() -> None:
    families = {family.name: family for family in text_string_to_metric_families(process_metrics())}
    assert families["process_cpu_seconds"].type == "counter"
    assert families["process_resident_memory_bytes"].samples[0].value > 0
    assert all(family.documentation.endswith(".") for family in families.values())
