"""Metrics of the processes of a service.

prometheus_client has them for a single process only: with several workers it leaves them out.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TypeVar

import psutil
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Found = TypeVar("Found")


class ProcessCollector(Collector):
    """Collects the metrics of a process and of all that it has started, with Prometheus' names.

    CPU time and memory are sums; memory that processes share counts for each of them. CPU time
    includes processes that have ended, so that it only grows. Open files are those of the process
    that has most, as the limit is per process. The start is that of the newest process.

    Args:
        supervisor: the process that started the others.
    """

    def __init__(self, supervisor: psutil.Process) -> None:
        self._supervisor = supervisor

    def collect(self) -> Iterator[Metric]:
        """The metrics as of now."""
        family = [self._supervisor, *self._supervisor.children(recursive=True)]
        seconds = sum(_of_each(family, lambda process: sum(process.cpu_times()[:4])))
        yield CounterMetricFamily(
            "process_cpu_seconds",
            "CPU seconds of all processes of the service.",
            round(seconds, 2),  # ticks of 0.01 s; a rounding error down would look like a reset
        )
        for name, documentation, value in (
            (
                "process_resident_memory_bytes",
                "Resident memory of all processes of the service.",
                sum(_of_each(family, lambda process: process.memory_info().rss)),
            ),
            (
                "process_open_fds",
                "Open files of the process of the service that has most.",
                max(_of_each(family, psutil.Process.num_fds), default=0),
            ),
            (
                "process_max_fds",
                "Files that a process of the service may have open.",
                resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            ),
            (
                "process_start_time_seconds",
                "When the newest process of the service started, in seconds since 1970.",
                max(_of_each(family, psutil.Process.create_time), default=0),
            ),
        ):
            yield GaugeMetricFamily(name, documentation, value)


def process_metrics() -> str:
    """The metrics of the service to which this worker belongs, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(ProcessCollector(_supervisor()))
    return generate_latest(registry).decode()


def _supervisor() -> psutil.Process:
    """BentoML's process that has started this worker, or this process if it runs alone."""
    worker = psutil.Process()
    with suppress(psutil.Error):  # it has just ended
        parent = worker.parent()
        if parent and "bentoml" in " ".join(parent.cmdline()):
            return parent
    return worker


def _of_each(
    processes: Sequence[psutil.Process], measure: Callable[[psutil.Process], Found]
) -> list[Found]:
    """A measurement of each process that is still there."""
    found = []
    for process in processes:
        with suppress(psutil.Error):
            found.append(measure(process))
    return found
