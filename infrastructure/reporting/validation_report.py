"""The report of a validation: one self-contained HTML file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from application.training.card import class_rows, describe_output, describe_values
from application.validation.judgement import Judgement, Validation
from domain.contract import Classes
from domain.evaluation.measures import cost_matrix
from domain.evaluation.metrics import ClassificationReport, RegressionReport
from infrastructure.reporting import figures
from infrastructure.reporting.page import Section, Table, render_page
from shared.files import write_atomically

_NOT_MEASURED = "Not measured: a gate refused earlier, or this does not apply."
_NO_VALUE = "does not apply"
_MOST_ROWS = 100
_LONGEST_TEXT = 400


def write_report(validation: Validation, folder: Path) -> Path:
    """Write ``report.html`` into `folder`; it needs no network and no scripts."""
    page = render_page(
        f"{validation.model_name} {validation.package_version}",
        validation.judgement.spec.description,
        _sections(validation),
        "validation_report.html.j2",
        judgement=validation.judgement,
    )
    path = folder / "report.html"
    write_atomically(path, page)
    return path


def _sections(validation: Validation) -> Iterator[Section]:
    judgement = validation.judgement
    yield _gates_section(judgement)
    yield _quality_section(validation)
    yield _champion_section(validation)
    match judgement.report:
        case ClassificationReport():
            yield _confusion_section(judgement, judgement.report)
            yield _probabilities_section(judgement, judgement.report)
            output = judgement.spec.output
            if isinstance(output, Classes) and len(output.names) == 2:
                yield _decision_section(validation, output)
        case RegressionReport():
            yield _residuals_section(judgement, judgement.report)
    if judgement.spec.task == "transcription":
        text = "Slices, importance and drift are measured on rows of a table, not on recordings."
        yield Section("Slices, importance and drift", [text])
    else:
        yield _slices_section(validation)
        yield _importance_section(judgement)
        yield _drift_section(judgement)
    yield _contract_section(judgement)
    yield from _origin_sections(validation)


def _gates_section(judgement: Judgement) -> Section:
    kinds = [verdict.word.lower() for verdict in judgement.verdicts]
    rows = [(verdict.gate, verdict.word, verdict.reason) for verdict in judgement.verdicts]
    paragraphs = [] if rows else ["No gate was run."]
    if "skipped" in kinds:
        paragraphs = ["Gates that the configuration skips (validation.skip) cannot refuse."]
    table = Table("All gates with their reasons", ("gate", "verdict", "reason"), rows, kinds)
    return Section("Gates", paragraphs, [table] if rows else [])


def _quality_section(validation: Validation) -> Section:
    report = validation.judgement.report
    if report is None:
        metrics = {
            name: value
            for name, value in validation.metrics.items()
            if isinstance(value, str | int | float | None)
            or name.endswith("_interval")
            and isinstance(value, list)
        }
        paragraphs = ["Metrics from the package:" if metrics else _NOT_MEASURED]
    else:
        paragraphs = [f"On the hold-out: {report}."]
        metrics = dict(report.to_dict())
    if validation.cross_validation:
        paragraphs.append(
            f"Cross-validation of the same recipe: {validation.cross_validation}. This is context; "
            "no gate uses it."
        )
    if validation.looks:
        paragraphs.append(
            f"Other versions of the model that this hold-out has judged: {validation.looks}. With "
            "every choice that follows a verdict, the hold-out is a little less unseen; after "
            "many, add new rows or change data.random_state."
        )
    rows = [(name.replace("_", " "), _format(value)) for name, value in metrics.items()]
    tables = [Table("Quality metrics", ("measure", "value"), rows)] if rows else []
    if isinstance(report, ClassificationReport):
        tables.append(_class_table(report, validation.judgement.spec.classes))
    return Section("Quality", paragraphs, tables)


def _class_table(report: ClassificationReport, classes: Sequence[str]) -> Table:
    """Figures of each class; of many, those with the most rows."""
    head, *rows = class_rows(report, classes)
    shown = np.sort(np.argsort(-report.confusion.sum(axis=1), kind="stable")[:_MOST_ROWS])
    return Table("Each class", head, [rows[code] for code in shown])


def _champion_section(validation: Validation) -> Section:
    judgement = validation.judgement
    title, comparison = "Champion and challenger", judgement.comparison
    if judgement.champion is None:
        return Section(title, ["There is no champion to compare with: this would be the first."])
    if comparison is None:
        text = f"Not compared with the champion, {judgement.champion}: the gates give the reason."
        return Section(title, [text])
    low, high = comparison.low, comparison.high
    margin = judgement.figure("not_worse_than_champion", "margin")
    direction, measure = " (worse)" if comparison.difference < 0 else "", comparison.measure
    rows = [
        ("rows that neither was trained on", f"{comparison.rows}"),
        (f"{measure} of the champion, {judgement.champion}", _format(comparison.champion)),
        (f"{measure} of the challenger", _format(comparison.challenger)),
        (f"{measure} of the best constant prediction", _format(comparison.baseline)),
        ("difference", f"{_format(comparison.difference)}{direction}"),
        ("90 % interval of the difference", f"{_format(low)} to {_format(high)}"),
        ("margin", _NO_VALUE if margin is None else _format(margin)),
        ("only the challenger is right", _row_count(comparison.won)),
        ("only the champion is right", _row_count(comparison.lost)),
        ("p (exact McNemar test)", _NO_VALUE if comparison.p is None else _format(comparison.p)),
        ("all predictions are identical", "yes" if comparison.identical else "no"),
    ]
    drawable = np.isfinite([comparison.champion, comparison.challenger, low, high]).all()
    return Section(
        title,
        [f"The challenger has {comparison}."],
        [Table("The comparison", ("measure", "value"), rows)],
        [figures.difference(comparison, margin)] if drawable else [],
    )


def _row_count(rows: int | None) -> str:
    return _NO_VALUE if rows is None else f"{rows} rows"


def _confusion_section(judgement: Judgement, report: ClassificationReport) -> Section:
    classes = judgement.spec.classes
    if len(classes) <= figures.MOST_CLASSES:
        return Section("Confusion", plots=[figures.confusion(report, classes)])
    wrong = report.confusion - np.diag(np.diag(report.confusion))
    rows = []
    for place in np.argsort(-wrong, axis=None, kind="stable")[: figures.MOST_ROWS]:
        actual, predicted = divmod(int(place), len(classes))
        count = int(wrong[actual, predicted])
        if count:
            share = count / report.confusion[actual].sum()
            rows.append((classes[actual], classes[predicted], str(count), f"{share:.1%}"))
    if not rows:
        return Section("Confusion", ["Every row of the hold-out is predicted correctly."])
    text = (
        f"A matrix of {len(classes)} classes would be unreadable; these are the most frequent "
        "errors."
    )
    head = ("actual", "predicted", "rows", "share of the actual class")
    return Section("Confusion", [text], [Table("Most frequent errors", head, rows)])


def _probabilities_section(judgement: Judgement, report: ClassificationReport) -> Section:
    paragraphs, drawn = [], []
    calibration = judgement.calibration
    if calibration is None or not np.isfinite(calibration.error):
        paragraphs.append(f"Calibration: {_NOT_MEASURED}")
    else:
        paragraphs.append(
            f"Expected calibration error {calibration.error:.3f} (p = {calibration.p:.2g}: the "
            "probability of an error this large for a calibrated model)."
        )
        drawn.append(figures.reliability(calibration))
    probabilities, actual = judgement.predictions, judgement.actual
    classes = judgement.spec.classes
    not_drawn = "ROC and precision-recall curves are not drawn"
    if probabilities.shape != (len(actual), len(classes)) or not np.isfinite(probabilities).all():
        paragraphs.append(f"{not_drawn}: some predictions are not probabilities.")
        return Section("Probabilities", paragraphs, plots=drawn)
    rows = report.confusion.sum(axis=1)
    mixed = np.flatnonzero((rows > 0) & (rows < report.rows))
    wrong = (report.confusion.sum(axis=1) + report.confusion.sum(axis=0))[mixed]
    wrong -= 2 * np.diag(report.confusion)[mixed]
    if len(classes) == 2:  # the curves of both classes have the same information
        shown = mixed[-1:]
    else:
        shown = np.sort(mixed[np.argsort(-wrong, kind="stable")[: figures.MOST_CURVES]])
        if len(shown) < len(classes):
            paragraphs.append(
                f"Curves of {len(shown)} of {len(classes)} classes, each against the rest: the "
                "classes with the most errors on the hold-out."
            )
    if shown.size == 0:
        paragraphs.append(f"{not_drawn}: the hold-out has only one class.")
    else:
        chosen = {classes[number]: int(number) for number in shown}
        curves = (figures.roc, figures.precision_recall)
        drawn += [draw(probabilities, actual, chosen) for draw in curves]
    return Section("Probabilities", paragraphs, plots=drawn)


def _decision_section(validation: Validation, output: Classes) -> Section:
    """Which of two classes is predicted, and what another threshold would give."""
    rule = "The most probable class is predicted."
    if output.threshold is not None:
        positive = output.names[output.positive_code]
        rule = f"{positive} is predicted where its probability is at least {output.threshold:g}."
    paragraphs = [rule]
    training = validation.metrics.get("decision")
    if isinstance(training, Mapping):
        paragraphs.append(f"Chosen in training: {training['reason']}.")
    probabilities, actual = validation.judgement.predictions, validation.judgement.actual
    shown = probabilities.shape == (len(actual), 2) and np.isfinite(probabilities).all()
    if not shown or len(np.unique(actual)) < 2:
        return Section("Decision", [*paragraphs, "Other thresholds cannot be measured."])
    costs, source = _costs(validation.config)
    paragraphs.append(source)
    matrix = cost_matrix(output.names, costs) if costs else 1.0 - np.eye(2)
    plot = figures.thresholds(probabilities, actual, output, matrix)
    return Section("Decision", paragraphs, plots=[plot])


def _costs(config: Mapping[str, object]) -> tuple[Mapping[str, Mapping[str, float]], str]:
    """The costs by actual and predicted class, empty if there are none, and where they are from."""
    decision, validation = config.get("decision"), config.get("validation")
    measure = validation.get("measure") if isinstance(validation, Mapping) else None
    for name, block in (("decision", decision), ("validation.measure", measure)):
        costs = block.get("costs") if isinstance(block, Mapping) else None
        if costs:
            return costs, f"The costs are those of the configuration ({name}.costs)."
    return {}, "Each error costs 1: the configuration has no costs (decision.costs)."


def _residuals_section(judgement: Judgement, report: RegressionReport) -> Section:
    title, name = "Predictions and residuals", judgement.spec.output.name
    if not np.isfinite(report.predictions).all():
        return Section(title, ["Not drawn: some predictions are not finite numbers."])
    return Section(
        title, plots=[figures.predictions(report, name), figures.residuals(report, name)]
    )


def _slices_section(validation: Validation) -> Section:
    judgement, report = validation.judgement, validation.judgement.report
    if report is None or not judgement.slices:
        too_small = "No slice has enough rows (validation.slice_rows)."
        return Section("Slices", [_NOT_MEASURED if report is None else too_small])
    shown = judgement.slices[:_MOST_ROWS]
    rows = [
        (
            each.name,
            "declared" if each.declared else "automatic",
            str(each.rows),
            _format(each.score),
            f"{_format(each.low)} to {_format(each.high)}",
            _format(each.p) if np.isfinite(each.p) else "too few rows",
        )
        for each in shown
    ]
    paragraphs = [f"Slices: {len(judgement.slices)}, the most significantly worse first."]
    if len(shown) < len(judgement.slices):
        paragraphs.append(f"The table shows the first {len(shown)}.")
    head = ("slice", "kind", "rows", report.measure, "95 % interval", "p")
    drawable = [each for each in shown if np.isfinite([each.score, each.low, each.high]).all()]
    drawn = []
    if drawable and np.isfinite(report.score):
        margin = judgement.figure("worst_slice", "margin")
        drawn = [figures.slices(drawable, report.measure, report.score, margin)]
    table = Table(f"{report.measure} by slice", head, rows)
    return Section("Slices", paragraphs, [table], drawn)


def _importance_section(judgement: Judgement) -> Section:
    decreases = {name: value for name, value in judgement.importances.items() if np.isfinite(value)}
    if decreases and judgement.report:
        drawn = figures.importances(decreases, judgement.report.measure)
        return Section("Importance of inputs", plots=[drawn])
    single = "There is only one input, so there is nothing to rank."
    return Section(
        "Importance of inputs", [single if len(judgement.spec.inputs) == 1 else _NOT_MEASURED]
    )


def _drift_section(judgement: Judgement) -> Section:
    title = "Training data compared with the champion's"
    scores = {name: value for name, value in judgement.drift.items() if np.isfinite(value)}
    if scores:
        return Section(title, plots=[figures.drift(scores)])
    if judgement.champion is None:
        return Section(title, ["There is no champion to compare the training data with."])
    return Section(title, [_NOT_MEASURED])


def _contract_section(judgement: Judgement) -> Section:
    rows = [
        (item.name, item.kind, describe_values(item), item.description)
        for item in judgement.spec.inputs[:_MOST_ROWS]
    ]
    paragraphs = [_shorten(describe_output(judgement.spec.output))]
    if len(rows) < len(judgement.spec.inputs):
        paragraphs.append(f"The first {len(rows)} of {len(judgement.spec.inputs)} inputs:")
    table = Table("Inputs", ("input", "kind", "values", "meaning"), rows)
    return Section("Contract", paragraphs, [table])


def _origin_sections(validation: Validation) -> Iterator[Section]:
    """Data, configuration and provenance."""
    provenance, config = dict(validation.provenance), validation.config
    provenance.pop("config", None)
    data = _flatten({"": provenance.pop("data", {})})
    data += _flatten(
        {name: validation.metrics[name] for name in ("holdout_rows",) if name in validation.metrics}
    )
    seeds = config.get("data")
    seed = seeds.get("random_state") if isinstance(seeds, Mapping) else None
    head = ("name", "value")
    for title, rows in (
        ("Data", data),
        ("Configuration", _flatten(config, missing="default")),
        ("Provenance", [*_flatten(provenance), ("seed", _format(seed))]),
    ):
        yield Section(title, tables=[Table(title, head, rows)])


def _flatten(
    data: Mapping[str, object], prefix: str = "", missing: str = "none"
) -> list[tuple[str, str]]:
    """Every value with its dotted name; `missing` in place of None."""
    rows = []
    for name, value in data.items():
        dotted = ".".join(part for part in (prefix, str(name)) if part)
        if isinstance(value, Mapping) and value:
            rows += _flatten(value, dotted, missing)
        else:
            rows.append((dotted, missing if value is None else _format(value)))
    return rows


def _format(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool() | str():
            return _shorten(str(value))
        case float():
            return f"{value:.4g}"
        case list() | tuple() if all(isinstance(each, str | int | float) for each in value):
            return _shorten(", ".join(map(_format, value))) or "none"
    return _shorten(json.dumps(value, ensure_ascii=False, default=str))


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]} …"
