"""The report of serving: tables in Markdown."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Sequence

from tests.template.benchmarks.measure import Measured
from tests.template.benchmarks.serving.contestants import BOUND, OURS
from tests.template.benchmarks.serving.environments import pinned
from tests.template.benchmarks.serving.model import TREES
from tests.template.benchmarks.serving.targets import HUNDRED, MAIN, SINGLE, Records, verdicts
from tests.template.benchmarks.serving.turns import Record, Scenario

BATCHES = tuple(Scenario(rows, 16) for rows in (1, 10, 100, 1_000, 10_000))
CURVE = tuple(Scenario(1, connections) for connections in (1, 2, 4, 8, 16, 32, 64))

_BUSY = 0.25  # cores used by other processes; above it, the measurements are unreliable


def render(records: Records, curves: Records, rounds: int, seconds: int) -> str:
    """The serving part of docs/benchmarks/README.md.

    Args:
        curves: records of `BATCHES` and `CURVE`; empty if these were not measured.
    """
    parts = [
        "## Serving",
        f"Each server has the same forest of {TREES} trees on iris, on {os.cpu_count()} cores and "
        f"Python {platform.python_version()}. In each of {rounds} rounds, every server is "
        "started alone, checked with rows of known class, warmed up, and put under load by wrk for "
        f"{seconds} s with 16 connections: single rows first, then 100 rows per request. A status "
        "other than 200 excludes it. wrk runs on the same cores, with one thread. Figures are "
        "medians over the rounds; *ours is* is the median ratio of requests per second, with the "
        "interquartile range in brackets. Ours has validation, metrics, prediction log and "
        "request ids switched on.",
        _main_table(records),
        "CPU is the time of the server per request with one row, including deferred work. Memory "
        "is resident after the loads: *worker* is one worker, *all* the sum of all processes, "
        "which share pages. *ready* is the time from the start to the first 200 of the readiness "
        "path. FastAPI + ONNX is measured twice: without a response model, FastAPI finds out how "
        "to encode each response; with one, Pydantic encodes it.",
        *_notes(records),
        "### Targets",
        "| target | measured | |\n|---|---|---|\n"
        + "\n".join(verdict.row for verdict in verdicts(records)),
    ]
    if not all(_has(curves.get(name)) for name in (OURS, BOUND)):
        return "\n\n".join(parts) + "\n"
    pair = (curves[OURS], curves[BOUND])
    parts += [
        "### Rows in a request",
        "16 connections.",
        _sweep(pair),
        "### Connections",
        "Single rows.",
        _curve(pair),
        "![Relative throughput, latency by throughput, and rows a second](serving.png)",
    ]
    return "\n\n".join(parts) + "\n"


def _has(record: Record | None) -> bool:
    return record is not None and record.complete


def _main_table(records: Records) -> str:
    lines = [
        "| | single rows, requests/s | ours is | p50, ms | p99, ms | 100 rows, requests/s "
        "| ours is | CPU, µs | worker, MB | all, MB | ready, s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    ours = records.get(OURS)
    for record in _fastest_last(records):
        single, hundred = (record.throughput(kind) for kind in MAIN)
        cells = [
            record.contestant.title,
            f"{single.median:,.0f}",
            _ratio(ours, single, SINGLE),
            _milliseconds(record.p50(SINGLE)),
            _milliseconds(record.p99(SINGLE)),
            f"{hundred.median:,.0f}",
            _ratio(ours, hundred, HUNDRED) if record.contestant.codes else "—",
            f"{1e6 * record.server_cpu(SINGLE).median:,.0f}",
            f"{_middle(record, lambda turn: turn.worker_bytes / 1e6):.0f}",
            f"{_middle(record, lambda turn: turn.all_bytes / 1e6):.0f}",
            f"{_middle(record, lambda turn: turn.ready_seconds):.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _fastest_last(records: Records) -> list[Record]:
    complete = [record for record in records.values() if record.complete]
    return sorted(complete, key=lambda record: record.throughput(SINGLE).median)


def _ratio(ours: Record | None, other: Measured, kind: Scenario) -> str:
    return f"{ours.throughput(kind).ratio(other)} ×" if ours and ours.complete else "—"


def _notes(records: Records) -> list[str]:
    """Caveats of the table."""
    complete = [record for record in records.values() if record.complete]
    notes = []
    installed = [
        f"- {record.contestant.title}: {', '.join(pinned(record.contestant.requirements))}"
        for record in complete
        if record.contestant.requirements and not record.contestant.installed_as
    ]
    if installed:
        notes.append(
            "Each peer has its own environment, with the versions of this project where both use a "
            "package:\n\n" + "\n".join(installed)
        )
    samples = [
        each for record in complete for turn in record.turns for each in turn.samples.values()
    ]
    if samples:
        others = [each.others for each in samples]
        share = [each.load.generator / each.load.seconds for each in samples]
        notes.append(
            f"wrk used {statistics.median(share):.2f} cores (median; at most {max(share):.2f}), "
            f"other processes of the machine {statistics.median(others):.2f} "
            f"(at most {max(others):.2f})."
        )
        if statistics.median(others) > _BUSY:
            notes.append("**The machine was busy: these figures are unreliable.**")
    notes += [_log_note(record) for record in complete if record.turns[0].logged is not None]
    failed = [
        f"- {record.contestant.title}: {' '.join(record.failure.split())}"
        for record in records.values()
        if record.failure
    ]
    if failed:
        notes.append("Not measured:\n\n" + "\n".join(failed))
    return notes


def _log_note(record: Record) -> str:
    n_rows = sum(turn.n_rows for turn in record.turns)
    logged = sum(turn.logged or 0 for turn in record.turns)
    overflows = sum(turn.overflows for turn in record.turns)
    return (
        f"Prediction log of {record.contestant.title}: {100 * min(1.0, logged / n_rows):.1f} % "
        f"of {n_rows:,} predicted rows; log_overflow was counted {overflows:,} times."
    )


def _sweep(pair: Sequence[Record]) -> str:
    lines = [
        f"| rows | {' | '.join(f'{each.contestant.title}, rows/s' for each in pair)} | ratio |",
        "|---:|---:|---:|---:|",
    ]
    for kind in BATCHES:
        ours, bound = (each.throughput(kind) for each in pair)
        lines.append(
            f"| {kind.rows:,} | {kind.rows * ours.median:,.0f} | {kind.rows * bound.median:,.0f} "
            f"| {ours.ratio(bound)} |"
        )
    return "\n".join(lines)


def _curve(pair: Sequence[Record]) -> str:
    named = [f"{each.contestant.title}, requests/s | p50, ms | p99, ms" for each in pair]
    lines = [f"| connections | {' | '.join(named)} |", "|---:|" + "---:|" * 3 * len(pair)]
    for kind in CURVE:
        cells = [
            f"{each.throughput(kind).median:,.0f} | {_milliseconds(each.p50(kind))} "
            f"| {_milliseconds(each.p99(kind))}"
            for each in pair
        ]
        lines.append(f"| {kind.connections} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _milliseconds(seconds: Measured) -> str:
    return f"{1e3 * seconds.median:.3g}"


def _middle(record: Record, figure: Callable[..., float]) -> float:
    return statistics.median(figure(turn) for turn in record.turns)
