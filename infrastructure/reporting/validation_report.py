"""The report of a validation: one file of HTML that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from application.training.card import describe_output, describe_values
from application.validation.judgement import Judgement, Validation
from domain.evaluation.metrics import ClassificationReport, RegressionReport, losses
from infrastructure.reporting import validation_plots as plots
from infrastructure.reporting.validation_plots import Plot
from shared.files import write_atomically

_UNMEASURED = "Not measured: a gate refused before it could be, or it does not apply."
_MOST_LINES = 100
_LONGEST = 400


@dataclass(frozen=True)
class Table:
    """A table with a caption.

    Attributes:
        rows: the cells of each row.
        kinds: a CSS class for each row; none where it is empty.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    kinds: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it."""

    title: str
    words: Sequence[str] = ()
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()


def write_report(validation: Validation, folder: Path) -> Path:
    """Write ``report.html`` into `folder`: tables and plots, nothing is fetched, no script runs."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("validation_report.html.j2").render(
        name=validation.model_name,
        version=validation.package_version,
        description=validation.judgement.spec.description,
        judgement=validation.judgement,
        sections=list(_sections(validation)),
    )
    path = folder / "report.html"
    write_atomically(path, page)
    return path


def _sections(validation: Validation) -> Iterator[Section]:
    judgement = validation.judgement
    yield _gates(judgement)
    yield _quality(validation)
    yield _champion(validation)
    match judgement.report:
        case ClassificationReport():
            yield _confusion(judgement, judgement.report)
            yield _probabilities(judgement, judgement.report)
        case RegressionReport():
            yield _errors(judgement, judgement.report)
    if judgement.spec.task == "transcription":
        told = "Slices, importance of inputs and drift are measured of rows; recordings are none."
        yield Section("Slices, importance and drift", [told])
    else:
        yield _slices(validation)
        yield _importance(judgement)
        yield _drift(judgement)
    yield _contract(judgement)
    yield from _origin(validation)


def _gates(judgement: Judgement) -> Section:
    kinds = [verdict.word.lower() for verdict in judgement.verdicts]
    rows = [(verdict.gate, verdict.word, verdict.reason) for verdict in judgement.verdicts]
    words = [] if rows else ["No gate was asked."]
    if "skipped" in kinds:
        words = ["What is skipped by the configuration (validation.skip) refuses nothing."]
    table = Table("Every gate with its reason", ("gate", "verdict", "reason"), rows, kinds)
    return Section("Gates", words, [table] if rows else [])


def _quality(validation: Validation) -> Section:
    report = validation.judgement.report
    if report is None:
        figures = {
            name: value
            for name, value in validation.metrics.items()
            if isinstance(value, str | int | float | None)
            or name.endswith("_interval")
            and isinstance(value, list)
        }
        words = ["The figures of the package:" if figures else _UNMEASURED]
    else:
        words = [f"On the hold-out: {report}."]
        figures = dict(report.to_dict())
    if validation.cross_validation:
        words.append(
            f"The same recipe on other parts of the data: {validation.cross_validation}. "
            "That is context; no gate judges it."
        )
    rows = [(name.replace("_", " "), _plain(value)) for name, value in figures.items()]
    table = Table("Figures of quality", ("measure", "value"), rows)
    return Section("Quality", words, [table] if rows else [])


def _champion(validation: Validation) -> Section:
    judgement = validation.judgement
    title, found = "Champion and challenger", judgement.comparison
    if judgement.champion is None:
        return Section(title, ["There is no champion to compare with: this would be the first."])
    if found is None:
        told = f"Not compared with the champion, {judgement.champion}: the gates say why."
        return Section(title, [told])
    unknown = "does not apply"
    rows = [
        ("rows that neither has learned from", f"{found.rows}"),
        (f"mean loss of the champion, {judgement.champion}", _plain(found.champion)),
        ("mean loss of the challenger", _plain(found.challenger)),
        ("difference", _plain(found.difference)),
        ("90 % interval of the difference", f"{_plain(found.low)} to {_plain(found.high)}"),
        ("only the challenger is right", unknown if found.won is None else f"{found.won} rows"),
        ("only the champion is right", unknown if found.lost is None else f"{found.lost} rows"),
        ("p (exact McNemar test)", unknown if found.p is None else _plain(found.p)),
        ("every answer is the same", "yes" if found.identical else "no"),
    ]
    drawable = np.isfinite([found.champion, found.challenger, found.low, found.high]).all()
    return Section(
        title,
        [f"The challenger has {found}."],
        [Table("The comparison", ("what", "value"), rows)],
        [plots.difference(found, _setting(validation, "margin"))] if drawable else [],
    )


def _confusion(judgement: Judgement, report: ClassificationReport) -> Section:
    classes = judgement.spec.classes
    if len(classes) <= plots.MOST_CLASSES:
        return Section("Confusion", plots=[plots.confusion(report, classes)])
    wrong = report.confusion - np.diag(np.diag(report.confusion))
    rows = []
    for place in np.argsort(-wrong, axis=None, kind="stable")[: plots.MOST_ROWS]:
        actual, predicted = divmod(int(place), len(classes))
        count = int(wrong[actual, predicted])
        if count:
            share = count / report.confusion[actual].sum()
            rows.append((classes[actual], classes[predicted], str(count), f"{share:.1%}"))
    told = f"A matrix of {len(classes)} classes cannot be read; these are the worst pairs."
    if not rows:
        return Section("Confusion", ["No row of the hold-out is predicted wrong."])
    head = ("actual", "predicted", "rows", "share of the actual")
    return Section("Confusion", [told], [Table("What is taken for what", head, rows)])


def _probabilities(judgement: Judgement, report: ClassificationReport) -> Section:
    words, drawn = [], []
    found = judgement.calibration
    if found is None or not np.isfinite(found.error):
        words.append(f"Calibration: {_UNMEASURED}")
    else:
        words.append(
            f"Expected calibration error {found.error:.3f}; were the model calibrated, so large "
            f"an error would have a probability of {found.p:.2g}."
        )
        drawn.append(plots.reliability(found))
    answers, actual, classes = judgement.predictions, judgement.actual, judgement.spec.classes
    if answers.shape != (len(actual), len(classes)) or not np.isfinite(answers).all():
        words.append("ROC and precision-recall curves: the answers are not all probabilities.")
        return Section("Probabilities", words, plots=drawn)
    rows = report.confusion.sum(axis=1)
    mixed = np.flatnonzero((rows > 0) & (rows < report.rows))
    wrong = (report.confusion.sum(axis=1) + report.confusion.sum(axis=0))[mixed]
    wrong -= 2 * np.diag(report.confusion)[mixed]
    if len(classes) == 2:  # the curves of the two say the same
        shown = mixed[-1:]
    else:
        shown = np.sort(mixed[np.argsort(-wrong, kind="stable")[: plots.MOST_CURVES]])
        if len(shown) < len(classes):
            words.append(
                f"Curves of {len(shown)} of {len(classes)} classes, each against the rest: those "
                "of the hold-out with the most errors."
            )
    if shown.size == 0:
        words.append("ROC and precision-recall curves: the hold-out has one class only.")
    else:
        chosen = {classes[number]: int(number) for number in shown}
        drawn += [draw(answers, actual, chosen) for draw in (plots.roc, plots.precision_recall)]
    return Section("Probabilities", words, plots=drawn)


def _errors(judgement: Judgement, report: RegressionReport) -> Section:
    title, name = "Predictions and residuals", judgement.spec.output.name
    if not np.isfinite(report.predictions).all():
        return Section(title, ["Not drawn: answers are not finite numbers."])
    return Section(title, plots=[plots.predictions(report, name), plots.residuals(report, name)])


def _slices(validation: Validation) -> Section:
    judgement = validation.judgement
    if not judgement.slices:
        few = "No group of rows is large enough to be looked at (validation.slice_rows)."
        return Section("Slices", [_UNMEASURED if judgement.report is None else few])
    shown = judgement.slices[:_MOST_LINES]
    rows = [
        (
            each.name,
            "declared" if each.declared else "automatic",
            str(each.rows),
            _plain(each.loss),
            f"{_plain(each.low)} to {_plain(each.high)}",
            _plain(each.p) if np.isfinite(each.p) else "too few rows",
        )
        for each in shown
    ]
    unit = (
        "The loss is 1 for a wrong class."
        if judgement.spec.classes
        else "The loss is the absolute error in standard deviations of the true values."
    )
    words = [f"Slices: {len(judgement.slices)}, the worst first. {unit}"]
    if len(shown) < len(judgement.slices):
        words.append(f"The table has the first {len(shown)}.")
    head = ("slice", "kind", "rows", "mean loss", "95 % interval", "p")
    drawable = [each for each in shown if np.isfinite([each.loss, each.low, each.high]).all()]
    margin = _setting(validation, "slice_margin")
    drawn = [plots.slices(drawable, _overall(judgement), margin)] if drawable else []
    return Section("Slices", words, [Table("Mean loss by slice", head, rows)], drawn)


def _overall(judgement: Judgement) -> float | None:
    """Mean loss of the hold-out; None where it is no number."""
    if judgement.actual.size == 0:
        return None
    mean = float(losses(judgement.spec, judgement.predictions, judgement.actual).mean())
    return mean if np.isfinite(mean) else None


def _importance(judgement: Judgement) -> Section:
    grown = {name: value for name, value in judgement.importances.items() if np.isfinite(value)}
    if grown:
        return Section("Importance of inputs", plots=[plots.importances(grown)])
    alone = "There is one input only: without it there is nothing to tell."
    return Section(
        "Importance of inputs", [alone if len(judgement.spec.inputs) == 1 else _UNMEASURED]
    )


def _drift(judgement: Judgement) -> Section:
    title = "Training data against the champion's"
    scores = {name: value for name, value in judgement.drift.items() if np.isfinite(value)}
    if scores:
        return Section(title, plots=[plots.drift(scores)])
    if judgement.champion is None:
        return Section(title, ["There is no champion whose training data these could differ from."])
    return Section(title, [_UNMEASURED])


def _contract(judgement: Judgement) -> Section:
    rows = [
        (item.name, item.kind, describe_values(item), item.description)
        for item in judgement.spec.inputs[:_MOST_LINES]
    ]
    words = [_cut(describe_output(judgement.spec.output))]
    if len(rows) < len(judgement.spec.inputs):
        words.append(f"The first {len(rows)} of {len(judgement.spec.inputs)} inputs:")
    table = Table("Inputs", ("input", "kind", "values", "meaning"), rows)
    return Section("Contract", words, [table])


def _origin(validation: Validation) -> Iterator[Section]:
    provenance, config = dict(validation.provenance), validation.config
    provenance.pop("config", None)
    data = _flat({"": provenance.pop("data", {})})
    data += _flat(
        {name: validation.metrics[name] for name in ("holdout_rows",) if name in validation.metrics}
    )
    seeds = config.get("data")
    seed = seeds.get("random_state") if isinstance(seeds, Mapping) else None
    head = ("what", "value")
    for title, rows in (
        ("Data", data),
        ("Configuration", _flat(config)),
        ("Provenance", [*_flat(provenance), ("seed", _plain(seed))]),
    ):
        yield Section(title, tables=[Table(title, head, rows)])


def _setting(validation: Validation, name: str) -> float | None:
    """A number of the block ``validation`` of the configuration."""
    block = validation.config.get("validation")
    value = block.get(name) if isinstance(block, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def _flat(data: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """Every value with a dotted name."""
    rows = []
    for name, value in data.items():
        dotted = ".".join(part for part in (prefix, str(name)) if part)
        if isinstance(value, Mapping) and value:
            rows += _flat(value, dotted)
        else:
            rows.append((dotted, _plain(value)))
    return rows


def _plain(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool() | str():
            return _cut(str(value))
        case float():
            return f"{value:.4g}"
        case list() | tuple() if all(isinstance(each, str | int | float) for each in value):
            return _cut(", ".join(map(_plain, value))) or "none"
    return _cut(json.dumps(value, ensure_ascii=False, default=str))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
