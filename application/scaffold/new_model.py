"""Write a model for a table."""

from __future__ import annotations

import json
import runpy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from application.ports.snapshots import Snapshots
from application.scaffold.estimators import choose_estimator
from application.scaffold.formatted_numbers import Format, read_as_numbers
from application.scaffold.model_file import (
    check_name,
    current_text,
    difference_of,
    model_paths,
    render_config,
    render_module,
    render_notebook,
    to_json,
    write_files,
)
from application.scaffold.source_table import is_ordered, open_table, track_columns
from application.scaffold.split_proposal import (
    MOST_COMPARED,
    Proposal,
    claimed_scores,
    inspect_with_split,
)
from application.scaffold.table_inspection import Inspection, Task, describe_input
from domain.contract import Classes, ModelSpec, format_names, join_names
from domain.data.addresses import is_address
from domain.data.dataset import Dataset
from domain.data.splitting import hold_out, with_keys
from domain.data.tables import check_target, read_table
from domain.errors import ConfigError, DataError
from domain.estimators.fitting import default_folds
from domain.evaluation.measures import Measure, default_measure, format_score
from shared.console import show_line, show_step
from shared.wording import inflected

_TRIED_ROWS = 10_000
_SHOWN_LINES = 60  # of a difference


@dataclass(frozen=True)
class NewModel:
    """What a new model is made from.

    Attributes:
        name: of the model.
        data: path of a CSV or Parquet file, or a source: an address, or other local files.
        target: the column to predict.
        query: path of a file with the SQL to run, for a source that is a database.
        task: None to choose by the target.
        left_out: columns to leave out.
        as_numbers: columns of text to read as numbers, such as ``$1,234.50``.
        estimator: one of `ESTIMATORS`; None to choose by the number of rows.
        drop_unlabelled: leave out rows without a target, here and in training.
        force: replace the files of a model of this name.
    """

    name: str
    data: str
    target: str
    query: str | None = None
    task: Task | None = None
    left_out: Sequence[str] = ()
    as_numbers: Sequence[str] = ()
    estimator: str | None = None
    drop_unlabelled: bool = False
    force: bool = False


def write_model(request: NewModel, snapshots: Snapshots, root: Path) -> None:
    """Read a table, and write the module and the configuration of a model for it.

    Args:
        root: the clone to write the files into.

    Raises:
        DataError: the table cannot be read, lacks a column, or has nothing to learn from.
        ConfigError: the name, the address or the estimator cannot be used, or a file that exists
            would change.
        MissingExtraError: the driver of a database or the library of the estimator is missing.
    """
    name, target = request.name, request.target
    check_name(name, root)
    table = open_table(request.data, request.query, snapshots, root)
    path, location, keys = table.path, table.location, table.keys
    if request.query and not is_ordered(Path(request.query).expanduser().read_text("utf-8")):
        show_step(
            "look at",
            f"{request.query} has no ORDER BY: rows may come in another order each time, and the "
            "hold-out depends on it; order them by a unique column",
        )
    frame, formats = _prepare(table.frame, request, path)
    del table
    if request.drop_unlabelled:
        keys["drop_unlabelled"] = True
    task = "regression" if target in formats else request.task
    inspection, proposal = inspect_with_split(frame, target, name, task, track_columns, formats)
    del frame
    _show(inspection)
    chosen = choose_estimator(inspection.spec, inspection.rows, request.estimator)
    show_step("estimator", chosen.class_of(inspection.spec))
    config = render_config(inspection, keys, chosen)
    dataset = _split_as_training(inspection.spec, location, config["data"], proposal)
    module_path, config_path, notebook_path = model_paths(name, root)
    source = path if is_address(path) else Path(path).name
    files = {
        module_path: render_module(inspection, source, chosen),
        config_path: to_json(config),
        notebook_path: render_notebook(name),
    }
    _write(files, root, request.force)
    build = runpy.run_path(str(module_path))["build"]
    if dataset.keys is not None:
        _compare_splits(build(**config["model"]), dataset, inspection, config["data"])
    _show_cost(build(**config["model"]), dataset, inspection.spec)
    threshold = config["validation"]["threshold"]
    show_step("threshold", f"{threshold:g}, validation.threshold in the configuration")
    show_step("next", f"make quickstart MODEL={name} ENV={name}")


def _prepare(
    frame: pd.DataFrame, request: NewModel, path: str
) -> tuple[pd.DataFrame, dict[str, Format]]:
    """The columns and rows to inspect, and how the numbers of columns of text are written."""
    target = request.target
    absent = [column for column in request.left_out if column not in frame.columns]
    if absent or target in request.left_out:
        wrong = format_names(absent or [target])
        raise DataError(
            f"LEAVE_OUT (--leave-out): cannot leave out {wrong}; the columns are "
            f"{format_names(frame.columns)}"
        )
    frame = frame.drop(columns=request.left_out)
    formats = _read_as_numbers(frame, request.as_numbers)
    if target in formats and request.task == "classification":
        raise DataError(
            f"READ_AS_NUMBERS (--read-as-numbers): {target!r} cannot be both classes and numbers: "
            "remove it from this list, or choose TASK=regression"
        )
    if target in frame.columns:
        if request.drop_unlabelled:
            labelled = frame[target].notna()
            missing = int((~labelled).sum())
            have = inflected(missing, "has", "have")
            show_step("left out", f"{missing:,} of {len(frame):,} rows {have} no {target}")
            frame = frame[labelled].reset_index(drop=True)
        check_target(frame[target], path)
    return frame, formats


def _write(files: dict[Path, str], root: Path, force: bool) -> None:
    """Show what changes in existing files; unless that needs `force`, write those that change.

    Outputs of notebooks do not count.

    Raises:
        ConfigError: without `force`, an existing file would change.
    """
    current = {path: current_text(path) for path in files if path.exists()}
    changed = {path: text for path, text in files.items() if current.get(path) != text}
    existing = {path.relative_to(root).as_posix(): path for path in changed if path in current}
    differences = [
        line
        for name, path in existing.items()
        for line in difference_of(current[path], changed[path], name)
    ]
    for line in differences[:_SHOWN_LINES]:
        show_line(line)
    if len(differences) > _SHOWN_LINES:
        show_line(f"… {len(differences) - _SHOWN_LINES} more lines")
    if existing and not force:
        raise ConfigError(
            f"the name {next(iter(files)).stem} is taken: {join_names(list(existing))} would "
            "change as shown; choose another name, or replace what is there with FORCE=1 (--force)"
        )
    write_files(changed)
    for each in files:
        show_step("wrote" if each in changed else "unchanged", each.relative_to(root).as_posix())


def _read_as_numbers(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, Format]:
    """Replace these columns of text by numbers; how each of them is written."""
    formats = {}
    for name in names:
        if name not in frame.columns:
            raise DataError(
                f"READ_AS_NUMBERS (--read-as-numbers): unknown column {name!r}; the columns are "
                f"{format_names(frame.columns)}"
            )
        frame[name], formats[name] = read_as_numbers(frame[name])
        show_step("numbers", f"{name}: {formats[name].example}")
    return formats


def _split_as_training(
    spec: ModelSpec, path: str, data: dict[str, Any], proposal: Proposal | None
) -> Dataset:
    """Load and split the data as training will, so that no file is written if that fails.

    The proposed split is added to `data`, unless the data cannot be split in this way.
    """
    dataset = read_table(path, spec, data.get("drop_unlabelled", False))
    dataset.encoded(spec)
    sides = None
    if proposal:
        keyed = with_keys(dataset, **proposal.split)
        try:
            sides = hold_out(keyed, spec, data["test_size"], data["random_state"])
        except DataError as error:
            show_step("look at", f"{proposal.reason}, but rows are split at random: {error}")
        else:
            data["split"], dataset = proposal.split, keyed
            split = json.dumps(proposal.split, ensure_ascii=False)
            show_step(
                "split",
                f'{proposal.reason}: "data": {{"split": {split}}} in the '
                "configuration; remove it for a split at random",
            )
    if sides is None:
        sides = hold_out(dataset, spec, data["test_size"], data["random_state"])
    training, holdout = sides
    show_step("split", f"{len(training):,} training rows, {len(holdout):,} hold-out rows")
    return dataset


def _compare_splits(
    estimator: Any, dataset: Dataset, inspection: Inspection, data: dict[str, Any]
) -> None:
    """Show what a random split would have claimed."""
    measure = Measure(inspection.spec, inspection.measure)
    try:
        random, followed = claimed_scores(
            estimator, dataset, measure, data["test_size"], data["random_state"]
        )
    except DataError as error:
        show_step("look at", f"the splits cannot be compared: {error}")
        return
    (kind, column), *_ = data["split"].items()
    show_step(
        "compared",
        f"{measure.name} of this estimator, by {min(len(dataset), MOST_COMPARED):,} rows: "
        f"{format_score(followed)} with the split by {kind} "
        f"({column}), {format_score(random)} with a random split; a constant prediction has "
        f"{format_score(inspection.baseline)}",
    )
    if kind == "time" and measure.spec.task == "regression" and followed < inspection.baseline:
        show_step(
            "look at",
            "trees cannot continue a trend, and the last rows are worse than a constant: try "
            "ESTIMATOR=ridge (--estimator), or predict the change since a known value",
        )


def _show_cost(estimator: Any, dataset: Dataset, spec: ModelSpec) -> None:
    """Show what training and validation will take, by a fit on some of the rows."""
    rows = len(dataset)
    step = -(-rows // _TRIED_ROWS)
    some = dataset.take(np.arange(0, rows, step))
    start = time.process_time()
    with threadpool_limits(1):  # threads that wait for each other would count
        estimator.fit(some.encoded(spec), some.encoded_target(spec))
    seconds = (time.process_time() - start) * rows / len(some)
    folds = default_folds(rows)
    show_step(
        "cost",
        f"a fit takes at most about {seconds:.1f} CPU seconds: one in training, "
        f"{folds} (validation.folds) for "
        + ("the cross-validation in validation" if spec.classes else "its intervals"),
    )


def _show(inspection: Inspection) -> None:
    output, inputs = inspection.spec.output, inspection.spec.inputs
    if isinstance(output, Classes):
        description = f"classes of {output.name}: {format_names(output.names)}; " + (
            f"the most frequent has {inspection.frequent:.1%} of the rows"
        )
    else:
        description = f"quantity {output.name}"
    other = "regression" if isinstance(output, Classes) else "classification"
    show_step("target", f"{description} (for {other}: TASK={other}, or --task {other})")
    if inspection.measure != default_measure(inspection.spec).name:
        show_step("measure", _why_measure(inspection))
    show_step(
        "inputs",
        "requests with other words, or numbers outside these ranges, are refused, except where "
        "a line below says otherwise",
    )
    width = max(len(item.name) for item in inputs)
    for item in inputs:
        show_step("input", f"{item.name:<{width}}  {describe_input(item)}")
    for finding in inspection.findings:
        show_step(
            "LEFT OUT" if finding.left_out else "look at", f"{finding.column}: {finding.reason}"
        )


def _why_measure(inspection: Inspection) -> str:
    output, text = inspection.spec.output, f"{inspection.measure} (validation.measure)"
    if isinstance(output, Classes) and output.positive:
        text += f", of the positive class {output.positive}"
    return f"{text}: always predicting one class has an accuracy of {inspection.frequent:.3f}"
