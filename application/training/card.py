"""The model card: intended use, inputs, quality, limits, data and provenance."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from application.training.config import TrainingConfig
from domain.contract import (
    Audio,
    Category,
    Classes,
    Datetime,
    HashedText,
    Input,
    ModelSpec,
    Number,
    Output,
    Quantity,
    Tensor,
    Text,
    format_shape,
)
from domain.data.dataset import Dataset
from domain.evaluation.measures import format_score
from domain.evaluation.metrics import ClassificationReport, RegressionReport, Report
from shared.console import printable

# characters with a meaning in Markdown anywhere, except _ within a word; and at the start of a line
_MARKDOWN = re.compile(r"[\\`*~$|]|(?<![^\W_])_|_(?![^\W_])|(?<=\])[(\[]")
_MOST_CLASSES = 25  # of a table that people read
_BLOCK = re.compile(r"^(\d*)([#+=.)-])(?=\s|[-=]*$)")


def write_card(
    config: TrainingConfig,
    spec: ModelSpec,
    report: Report,
    dataset: Dataset,
    training_rows: int,
    parity: float,
    provenance: Mapping[str, Any],
    chosen: Mapping[str, Any],
) -> str:
    """The card in Markdown, with the sections that M. Mitchell et al. propose.

    Args:
        report: quality on the hold-out.
        dataset: all rows.
        training_rows: how many of them were learned from.
        parity: largest difference between the served and the native model.
        provenance: the environment, as in `provenance.json`.
        chosen: parameters that the training chose by a search, by name.

    References:
        M. Mitchell et al., "Model cards for model reporting", 2019.
    """
    return f"""# {config.model_name} {config.version}

{markdown_text(spec.description)}

## Intended use

{markdown_text(describe_output(spec.output))} It is intended for rows like those in the data below.

{inputs_table(spec)}

It is not intended for {_unsuitable_uses(spec)}.

## Quality

Measured on {report.rows} rows that the model never saw: {report}.

{_quality_table(report)}
{_class_table(report, spec)}
![Quality](figures/{'confusion_matrix' if spec.classes else 'predictions'}.png)

The served model differs from the native one by at most {parity:.1e}.{_found(chosen)}

## Limits

{_limits(spec, report)}

## Data

{markdown_text(dataset.source)}: {len(dataset)} rows, fingerprint {dataset.fingerprint}.

{training_rows} rows for training and {report.rows} for the hold-out. {_describe_split(config, spec)}

## Provenance

{_provenance_table(provenance, config.data.share_and_seed[1])}
"""


def markdown_text(text: str) -> str:
    """Text in one line, escaped so that Markdown shows it as it is: no HTML, links, mathematics,
    tables or control characters."""
    line = printable(" ".join(text.split()))
    escaped = _MARKDOWN.sub(r"\\\g<0>", html.escape(line, quote=False))
    return _BLOCK.sub(r"\1\\\2", escaped)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with escaped cells."""
    lines = [f"| {' | '.join(map(markdown_text, cells))} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def inputs_table(spec: ModelSpec) -> str:
    """The inputs as a Markdown table."""
    rows = ((i.name, i.kind, describe_values(i), i.description) for i in spec.inputs)
    return markdown_table(("input", "kind", "values", "meaning"), rows)


def describe_values(item: Input) -> str:
    """The values that an input may have, in a few words."""
    match item:
        case Number():
            words = f"{item.minimum:g} to {item.maximum:g} {item.unit}".strip()
            words += {"refuse": "", "clip": ", others clipped", "accept": ", others accepted"}[
                item.outside
            ]
        case Category():
            unseen = ", others count as missing" if item.unseen == "missing" else ""
            words = ", ".join(item.categories) + unseen
        case Datetime():
            words = item.describe()
        case Tensor():
            shape = format_shape(item.shape)
            words = f"{shape} of {item.minimum:g} to {item.maximum:g} {item.unit}".strip()
        case Text() | HashedText():
            words = f"at most {item.max_length} characters"
        case Audio():
            words = f"at most {item.max_seconds:g} s"
    words += ", or missing" if item.nullable else ""
    return words if item.logged or isinstance(item, Audio) else f"{words}; not logged"


def describe_output(output: Output) -> str:
    """The output in one sentence."""
    match output:
        case Classes():
            return f"Predicts {output.description}, with probabilities."
        case Quantity():
            unit = f" in {output.unit}" if output.unit else ""
            return (
                f"Predicts {output.name}{unit}, with an interval that should cover "
                f"{output.coverage:.0%} of the true values."
            )
        case _:
            return "Transcribes recordings: text, language, and segments with times."


def _describe_split(config: TrainingConfig, spec: ModelSpec) -> str:
    """How training and hold-out were divided, in a sentence or two."""
    (share, seed), split = config.data.share_and_seed, config.data.split
    if split is None:
        strata = "class" if spec.classes else "fifths of the values"
        return (
            f"They were divided at random (share {share:g}, seed {seed}), stratified by {strata}; "
            "equal rows are on the same side."
        )
    time, group = (markdown_text(column or "") for column in (split.time, split.group))
    gap = f", after a gap of {split.gap:g}" if split.gap else ""
    last = f"share {share:g}" if split.start is None else f"from {markdown_text(str(split.start))}"
    if split.time is None:
        return f"No {group} is on both sides (share {share:g}, seed {seed})."
    later = f"The hold-out is later by {time} ({last}{gap})"
    if split.group is None:
        return f"{later}."
    return f"{later}, and no {group} is on both sides (share {share:g}, seed {seed})."


def _unsuitable_uses(spec: ModelSpec) -> str:
    """What the model is not intended for, as an enumeration."""
    uses = []
    if any(
        getattr(item, "outside", "") == "refuse" or isinstance(item, Tensor) for item in spec.inputs
    ):
        uses.append("values out of these ranges (refused)")
    if any(getattr(item, "outside", "refuse") != "refuse" for item in spec.inputs):
        uses.append("values out of these ranges (clipped or accepted, unlike those of training)")
    if any(isinstance(item, Datetime) and (item.earliest or item.latest) for item in spec.inputs):
        uses.append("dates out of these ranges (refused)")
    if any(isinstance(item, Category) and item.unseen == "refuse" for item in spec.inputs):
        uses.append("unlisted words (refused)")
    if any(isinstance(item, Category) and item.unseen == "missing" for item in spec.inputs):
        uses.append("unlisted words (unknown to the model)")
    if any(isinstance(item, Text | HashedText) for item in spec.inputs):
        uses.append("longer texts (refused), texts in another language")
    return ", ".join([*uses, "or decisions without human review"])


def _quality_table(report: Report) -> str:
    """Metrics on the hold-out, with 95 % intervals if they are computed."""
    intervals = {report.measure: report.interval}
    if isinstance(report, RegressionReport):
        intervals["interval_coverage"] = report.covered_interval
    rows = []
    for name, value in report.to_dict().items():
        low_high = intervals.get(name)
        interval = (
            f"{format_score(low_high[0])} to {format_score(low_high[1])}"
            if low_high
            else "not computed"
        )
        rows.append((name.replace("_", " "), f"{value:.4g}", interval))
    return markdown_table(("measure", "value", "95 % interval"), rows)


def _class_table(report: Report, spec: ModelSpec) -> str:
    """Figures of each class on the hold-out; empty for a regression and for many classes."""
    if isinstance(report, RegressionReport) or len(spec.classes) > _MOST_CLASSES:
        return ""
    head, *rows = class_rows(report, spec.classes)
    return "\n" + markdown_table(head, rows) + "\n"


def class_rows(report: ClassificationReport, classes: Sequence[str]) -> list[tuple[str, ...]]:
    """Figures of each class as cells of a table, the head first."""
    actual, figures = report.confusion.sum(axis=1), report.of_each_class
    rows = [
        (name, str(actual[code]), *(f"{each[code]:.3f}" for each in figures.values()))
        for code, name in enumerate(classes)
    ]
    return [("class", "rows", *figures), *rows]


def _found(chosen: Mapping[str, Any]) -> str:
    if not chosen:
        return ""
    values = ", ".join(f"{name} {value}" for name, value in chosen.items())
    return f"\n\nParameters found by a search: {markdown_text(values)}."


def _limits(spec: ModelSpec, report: Report) -> str:
    low, high = report.interval
    limits = [
        f"The hold-out has {report.rows} rows, so {report.measure} is only known to be between "
        f"{format_score(low)} and {format_score(high)} (95 % interval).",
        "Quality on later data, or on data that were collected elsewhere or in another way, was "
        "not measured.",
        "Fairness was not measured: quality may differ between groups of people. Slices can be "
        "declared in `validation.slices`; validation measures them.",
    ]
    if not spec.classes:
        limits.append(
            "The intervals cover their share of all rows; for some kinds of rows they may cover "
            "less."
        )
    return "\n".join(f"- {limit}" for limit in limits)


def _provenance_table(provenance: Mapping[str, Any], seed: int) -> str:
    libraries = provenance.get("libraries", {})
    rows = [
        ("commit", provenance.get("git_commit")),
        ("SHA-256 of poetry.lock", provenance.get("lock_sha256")),
        ("seed", seed),
        ("Python", provenance.get("python")),
        ("libraries", ", ".join(f"{name} {number}" for name, number in libraries.items())),
        ("created", provenance.get("created")),
    ]
    cells = ((name, "unknown" if value in (None, "") else str(value)) for name, value in rows)
    return markdown_table(("item", "value"), cells)
