"""The figure of the report: throughput of all contestants, and ours under other loads."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tests.template.benchmarks.serving.contestants import BOUND, OURS
from tests.template.benchmarks.serving.report import BATCHES, CURVE
from tests.template.benchmarks.serving.targets import SINGLE, Records

_COLOURS = {True: "#1f6fb4", False: "#9aa5b1"}


def draw(records: Records, curves: Records, path: Path) -> None:
    """Write the figure: relative throughput, latency by throughput, rows a second by batch."""
    figure = Figure(figsize=(15, 5), layout="constrained")
    FigureCanvasAgg(figure)
    bars, curve, sweep = figure.subplots(1, 3, width_ratios=(1.5, 1, 1))
    _draw_bars(bars, records)
    for name, colour in ((OURS, _COLOURS[True]), (BOUND, "#5a6570")):
        record = curves[name]
        title = record.contestant.title.partition(",")[0]
        rate = [record.throughput(kind).median for kind in CURVE]
        for percentile, style in (("p50", "-"), ("p99", "--")):
            late = [1e3 * getattr(record, percentile)(kind).median for kind in CURVE]
            curve.plot(rate, late, style, marker="o", color=colour, label=f"{title}, {percentile}")
        for x, y, kind in zip(rate, late, CURVE):  # next to the p99, which is last
            curve.annotate(
                str(kind.connections), (x, y), (4, 4), textcoords="offset points", fontsize=8
            )
        rows = [kind.rows for kind in BATCHES]
        rows_per_second = [kind.rows * record.throughput(kind).median for kind in BATCHES]
        sweep.plot(rows, rows_per_second, marker="o", color=colour, label=title)
    curve.set(
        title="Single rows, by number of connections",
        xlabel="requests/s",
        ylabel="latency, ms",
        yscale="log",
    )
    sweep.set(
        title="Rows in a request, 16 connections",
        xlabel="rows in a request",
        ylabel="rows/s",
        xscale="log",
        yscale="log",
    )
    for axes in (curve, sweep):
        axes.grid(alpha=0.3)
        axes.legend(
            fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, handlelength=4
        )
    figure.savefig(path, dpi=90)


def _draw_bars(axes, records: Records) -> None:  # type: ignore[no-untyped-def]
    complete = [record for record in records.values() if record.complete]
    complete.sort(key=lambda record: record.throughput(SINGLE).median)
    ours = records[OURS].throughput(SINGLE)
    shares = [record.throughput(SINGLE).times(ours).median for record in complete]
    titles = [record.contestant.title.replace("`", "") for record in complete]
    colours = [_COLOURS[record.contestant.is_ours] for record in complete]
    drawn = axes.barh(titles, shares, color=colours)
    axes.bar_label(drawn, [f"{share:.3g}" for share in shares], padding=3, fontsize=8)
    axes.set(
        title="Single rows, 16 connections: requests/s relative to ours",
        xscale="log",
        xlim=(min(shares) / 2, max(shares) * 2.5),
    )
    axes.tick_params(axis="y", labelsize=8)
