"""Performance targets of serving, and whether they are met."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.template.benchmarks.measure import Measured
from tests.template.benchmarks.serving.contestants import (
    BASE,
    BOUND,
    OURS,
    TUTORIAL,
    TWO_WORKERS,
    TYPED,
    UNMONITORED,
)
from tests.template.benchmarks.serving.turns import Record, Scenario

SINGLE = Scenario(rows=1, connections=16)
HUNDRED = Scenario(rows=100, connections=16)
MAIN = (SINGLE, HUNDRED)
_BUSY = 0.9  # share of the machine's cores; above it, another worker has no core left

Records = Mapping[str, Record]


@dataclass(frozen=True)
class Verdict:
    """A target and its measurement.

    Attributes:
        met: None if it was not measured.
    """

    target: str
    measured: str
    met: bool | None

    @property
    def row(self) -> str:
        """Its row of the table."""
        word = {None: "not measured", True: "met", False: "**not met**"}[self.met]
        return f"| {self.target} | {self.measured} | {word} |"


def verdicts(records: Records) -> list[Verdict]:
    """Every target."""
    typed = "FastAPI + ONNX with a response model"
    complete = {name: record for name, record in records.items() if record.complete}
    return [
        _at_least("single rows: ≥ 2 × FastAPI + ONNX", 2, complete, BASE, SINGLE),
        _at_least(f"single rows: ≥ 2 × {typed}", 2, complete, TYPED, SINGLE),
        _at_least("single rows: ≥ 0.6 × raw ASGI + ONNX", 0.6, complete, BOUND, SINGLE),
        _at_least("single rows: ≥ 100 × the tutorial's", 100, complete, TUTORIAL, SINGLE),
        _at_least("100 rows: ≥ 4 × FastAPI + ONNX", 4, complete, BASE, HUNDRED),
        _at_least(f"100 rows: ≥ 4 × {typed}", 4, complete, TYPED, HUNDRED),
        _tail(complete),
        _monitoring(complete),
        _two_workers(complete, os.cpu_count() or 1),
        _at_most("resident memory of a worker: ≤ 120 MB", 120, complete, _megabytes, "MB"),
        _at_most("ready after: ≤ 3 s", 3, complete, _ready, "s"),
    ]


def _at_least(target: str, needed: float, records: Records, base: str, kind: Scenario) -> Verdict:
    if OURS not in records or base not in records:
        return Verdict(target, "—", None)
    ours, other = records[OURS].throughput(kind), records[base].throughput(kind)
    return Verdict(target, f"{ours.ratio(other)} ×", ours.times(other).median >= needed)


def _tail(records: Records) -> Verdict:
    target = "p99 of single rows: ≤ 2 × raw ASGI + ONNX"
    if OURS not in records or BOUND not in records:
        return Verdict(target, "—", None)
    ours, bound = records[OURS].p99(SINGLE), records[BOUND].p99(SINGLE)
    return Verdict(target, f"{ours.ratio(bound)} ×", ours.times(bound).median <= 2)


def _monitoring(records: Records) -> Verdict:
    target = "monitoring costs ≤ 15 % of throughput"
    if OURS not in records or UNMONITORED not in records:
        return Verdict(target, "—", None)
    kept = [
        records[OURS].throughput(kind).times(records[UNMONITORED].throughput(kind)).median
        for kind in MAIN
    ]
    costs = [100 * (1 - each) for each in kept]
    measured = f"single rows {costs[0]:.0f} %, 100 rows {costs[1]:.0f} %"
    return Verdict(target, measured, max(costs) <= 15)


def _two_workers(records: Records, cores: int) -> Verdict:
    """If the workers and wrk use all cores, the CPU time per request decides: an estimate of the
    throughput of two workers with a core each."""
    target = "2 workers: ≥ 1.6 × one"
    if OURS not in records or TWO_WORKERS not in records:
        return Verdict(target, "—", None)
    two, one = records[TWO_WORKERS], records[OURS]
    ratio = two.throughput(SINGLE).times(one.throughput(SINGLE)).median
    measured = f"{two.throughput(SINGLE).ratio(one.throughput(SINGLE))} ×"
    if ratio < 1.6 and two.cores(SINGLE).median >= _BUSY * cores:
        ratio = 2 * one.server_cpu(SINGLE).times(two.server_cpu(SINGLE)).median
        measured += (
            f"; all {cores} cores are busy, of which wrk uses {two.generator(SINGLE).median:.2f}: "
            f"estimated with one core per worker, by CPU seconds for a request, {ratio:.2f} ×"
        )
    return Verdict(target, measured, ratio >= 1.6)


def _at_most(
    target: str, limit: float, records: Records, figure: Callable[[Record], Measured], unit: str
) -> Verdict:
    if OURS not in records:
        return Verdict(target, "—", None)
    middle = figure(records[OURS]).median
    return Verdict(target, f"{middle:.3g} {unit}", middle <= limit)


def _megabytes(record: Record) -> Measured:
    return Measured([turn.worker_bytes / 1e6 for turn in record.turns])


def _ready(record: Record) -> Measured:
    return Measured([turn.ready_seconds for turn in record.turns])
