"""The page of `make profile`: a table before there is a model, in one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan
from pathlib import Path

from application.scaffold.table_inspection import Track
from application.scaffold.table_profile import TableProfile
from domain.contract import Classes
from infrastructure.reporting.data_figures import Target, draw_input, draw_target
from infrastructure.reporting.figures import short_label
from infrastructure.reporting.page import Section, Table, render_page
from shared.files import write_atomically

MOST_PLOTS = 100  # each takes about a tenth of a CPU second
_LONGEST = 80  # characters of an example


def write_table_page(profile: TableProfile, source: str, path: Path, track: Track = iter) -> None:
    """Write the page.

    Args:
        source: path or address of the table, without secrets.
        track: shows the progress over the columns that are drawn.
    """
    sections = [_table_section(profile), _columns_section(profile), _plots_section(profile, track)]
    description = f"What make new-model would make of {source}."
    write_atomically(path, render_page(Path(source).name or source, description, sections))


def _table_section(profile: TableProfile) -> Section:
    cells = profile.rows * len(profile.columns)
    missing = sum(column.missing for column in profile.columns)
    rows = [
        ("rows", f"{profile.rows:,}"),
        ("columns", f"{len(profile.columns):,}"),
        ("rows that are equal to an earlier one", _share(profile.duplicates, profile.rows)),
        ("values that are missing", _share(missing, cells)),
        *_target_rows(profile),
    ]
    return Section("Table", profile.remarks, [Table("The table", ("", "value"), rows)])


def _target_rows(profile: TableProfile) -> Iterator[tuple[str, str]]:
    inspection = profile.inspection
    if inspection is None:
        return
    output = inspection.spec.output
    target = f"target {output.name}"
    if not isinstance(output, Classes):
        yield target, "a quantity"
        return
    yield target, f"{len(output.names)} classes; the most frequent has {inspection.frequent:.1%}"
    yield f"{inspection.measure} of the best constant prediction", f"{inspection.baseline:.3f}"


def _columns_section(profile: TableProfile) -> Section:
    head = ["column", "make new-model", "missing", "distinct", "examples", "look at"]
    rows = [
        [
            column.name,
            column.kind,
            _share(column.missing, profile.rows),
            f"{column.distinct:,}",
            short_label(column.examples, _LONGEST),
            "; ".join(column.reasons),
        ]
        for column in profile.columns
    ]
    paragraphs = []
    if profile.inspection:
        paragraphs.append(
            "Skill alone: how well a small tree predicts the target from this column only, in "
            "cross-validation: 0 is no better than a constant, 1 is perfect (of classes by "
            "balanced accuracy, of a quantity R²)."
        )
        head.insert(5, "skill alone")
        for row, column in zip(rows, profile.columns):
            row.insert(5, _skill(column.skill))
    kinds = ["skipped" if column.role == "left out" else "" for column in profile.columns]
    return Section("Columns", paragraphs, [Table("The columns", head, rows, kinds)])


def _plots_section(profile: TableProfile, track: Track) -> Section:
    target, plots = None, []
    if profile.inspection and profile.actual is not None:
        target = Target(profile.inspection.spec.output, profile.actual)
        plots.append(draw_target(target))
    drawable = [column for column in profile.columns if column.item]
    ranked = sorted(drawable, key=lambda each: (each.role == "left out", -(each.skill or 0)))
    chosen = {column.name: column.item for column in ranked[:MOST_PLOTS]}
    paragraphs = []
    if len(chosen) < len(drawable):
        which = "those that predict the target best alone" if target else "the first ones"
        paragraphs = [f"Drawn are {MOST_PLOTS} of {len(drawable)} columns: {which}."]
    for number, name in enumerate(track([each.name for each in drawable if each.name in chosen])):
        if item := chosen[name]:
            plots.append(draw_input(f"column-{number}", item, profile.frame[name], target))
    return Section("Distributions", paragraphs, plots=plots)


def _share(count: int, total: int) -> str:
    return f"{count:,} ({count / total:.1%})" if count else "0"


def _skill(skill: float | None) -> str:
    return "" if skill is None or isnan(skill) else f"{max(0.0, skill):.2f}"
