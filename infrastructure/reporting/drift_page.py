"""The page of `make drift-report`: how a period differs from training, in one HTML file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from application.monitoring.drift_report import DriftReport, VariableDrift
from domain.evaluation.measures import format_score
from infrastructure.reporting.figures import (
    COLOURS,
    Plot,
    new_axes,
    plot_style,
    rows_axes,
    short_label,
    to_plot,
)
from infrastructure.reporting.page import Section, Table, render_page
from shared.files import write_atomically
from shared.wording import inflected

MOST_PLOTS = 20
_MOST_BINS = 20
_MAIN, _MUTED = COLOURS["main"], COLOURS["muted"]


def write_drift_page(report: DriftReport, heading: str, period: str, path: Path) -> None:
    """Write the page.

    Args:
        period: which predictions it is about.
    """
    sections = [_summary(report), *_plots(report)]
    write_atomically(path, render_page(heading, period, sections))


def _summary(report: DriftReport) -> Section:
    rows = [
        (
            *(each.name, "" if each.importance is None else format_score(each.importance)),
            *(f"{each.p_value:.2g}", f"{each.index:.3f}", "drifts" if each.drifts else ""),
        )
        for each in report.variables
    ]
    kinds = ["refused" if each.drifts else "" for each in report.variables]  # in red
    paragraphs = [
        f"{report.rows:,} rows against the training rows: chi-square tests over the bins of the "
        "training rows, adjusted for the number of variables (Benjamini–Hochberg), for one look "
        "at one period. The population stability index tells how large a difference is: below 0.1 "
        "it is small, above 0.25 large. The importance of an input is by how much the score on the "
        "hold-out falls when the input is shuffled; what drifts comes first, by importance."
    ]
    if report.skipped:
        paragraphs.append(
            f"{report.skipped:,} {inflected(report.skipped, 'row', 'rows')} of other versions "
            f"{inflected(report.skipped, 'is', 'are')} left out: their number of inputs differs."
        )
    head = ("variable", "importance", "p-value", "index", "")
    tables = [Table("Variables", head, rows, kinds)]
    if report.unwatched:
        tables.append(
            Table("Not compared", ("variable", "why"), [*map(list, report.unwatched.items())])
        )
    return Section("Drift", paragraphs, tables if rows or report.unwatched else ())


def _plots(report: DriftReport) -> Iterator[Section]:
    drawn = report.variables[:MOST_PLOTS]
    if not drawn:
        return
    paragraphs = []
    if len(drawn) < len(report.variables):
        paragraphs = [f"Drawn are the first {MOST_PLOTS} of {len(report.variables)} variables."]
    shares = [_draw_shares(f"shares-{n}", each) for n, each in enumerate(drawn)]
    over_time = [_draw_parts(f"time-{n}", each, report.starts) for n, each in enumerate(drawn)]
    yield Section("Distributions", paragraphs, plots=shares)
    yield Section("Over time", ["Population stability index of each part."], plots=over_time)


@plot_style()
def _draw_shares(name: str, variable: VariableDrift) -> Plot:
    change = np.abs(variable.current - variable.reference)
    order = np.sort(np.argsort(change)[::-1][:_MOST_BINS])
    figure, axes = rows_axes([short_label(variable.bins[place]) for place in order.tolist()])
    places = np.arange(len(order))
    axes.barh(places, variable.current[order], height=0.6, color=_MAIN, label="period")
    axes.plot(variable.reference[order], places, "|", color=_MUTED, markersize=14, label="training")
    axes.set_xlabel("share of the rows")
    axes.legend(loc="best")
    return to_plot(
        name,
        figure,
        f"Shares of {variable.name} in {len(order)} bins.",
        f"{short_label(variable.name)}: index {variable.index:.3f}",
    )


@plot_style()
def _draw_parts(name: str, variable: VariableDrift, starts: np.ndarray) -> Plot:
    figure, axes = new_axes(3.6, 1.9)
    times = (starts * 1e6).astype("int64").astype("datetime64[us]")
    axes.plot(times, variable.by_part, "o-", color=_MAIN)
    axes.axhline(0.25, color=_MUTED, linestyle="--", linewidth=1)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("index")
    figure.autofmt_xdate()
    known = variable.by_part[~np.isnan(variable.by_part)]
    highest = f"at most {known.max():.3f}" if len(known) else "unknown: too few rows"
    return to_plot(
        name,
        figure,
        f"Population stability index of {variable.name} over time, {highest}.",
        f"{short_label(variable.name)}: {highest}",
    )
