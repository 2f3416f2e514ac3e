"""Write a model for a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from application.scaffold.model_file import (
    check_name,
    data_path,
    model_paths,
    render_config,
    render_module,
    to_json,
    write_files,
)
from application.scaffold.table_inspection import Inspection, Task, inspect_table
from domain.contract import Category, Classes, Input, ModelSpec, Number
from domain.data.splitting import hold_out
from domain.data.tables import check_target, read_frame, read_table
from domain.errors import DataError
from domain.evaluation.measures import default_measure
from shared.console import show_step


def write_model(
    name: str, data: str, target: str, task: Task | None, left_out: Sequence[str], root: Path
) -> None:
    """Read a table, and write the module and the configuration of a model for it.

    Args:
        data: path or URL of a CSV or Parquet file.
        target: the column to predict.
        task: None to choose by the target.
        left_out: columns to leave out.
        root: the clone to write the files into.

    Raises:
        DataError: the table cannot be read, lacks a column, or has nothing to learn from.
        ConfigError: the name cannot be used.
    """
    check_name(name, root)
    path = data_path(data, root)
    show_step("reading", path)
    location = path if "://" in path else str(root / path)
    frame = read_frame(location)
    show_step("table", f"{len(frame):,} rows × {frame.shape[1]} columns")
    absent = [column for column in left_out if column not in frame.columns]
    if absent or target in left_out:
        wrong = ", ".join(absent) or target
        raise DataError(
            f"LEAVE_OUT (--leave-out): cannot leave out {wrong}; the columns are "
            f"{', '.join(frame.columns)}"
        )
    frame = frame.drop(columns=left_out)
    if target in frame.columns:
        check_target(frame[target], path)
    inspection = inspect_table(frame, target, name, task, _track)
    del frame
    _show(inspection)
    config = render_config(inspection, path)
    _check_training_data(inspection.spec, location, config["data"])
    module_path, config_path = model_paths(name, root)
    source = path if "://" in path else Path(path).name
    write_files({config_path: to_json(config), module_path: render_module(inspection, source)})
    for written in (module_path, config_path):
        show_step("wrote", written.relative_to(root).as_posix())
    threshold = config["validation"]["threshold"]
    show_step("threshold", f"{threshold:g}, validation.threshold in the configuration")
    show_step("next", f"make quickstart MODEL={name} ENV={name} PORT=3001")


def _track(columns: list[str]) -> Iterable[str]:
    return tqdm(columns, "inspecting columns", unit="column", disable=None, leave=False)


def _check_training_data(spec: ModelSpec, path: str, data: dict[str, float]) -> None:
    """Load and split the data as training will, so that no file is written if that fails."""
    dataset = read_table(path, spec)
    dataset.encoded(spec)
    training, holdout = hold_out(dataset, spec, data["test_size"], int(data["random_state"]))
    show_step("split", f"{len(training):,} training rows, {len(holdout):,} hold-out rows")


def _show(inspection: Inspection) -> None:
    output, inputs = inspection.spec.output, inspection.spec.inputs
    if isinstance(output, Classes):
        description = f"classes of {output.name}: {', '.join(output.names)}; " + (
            f"the most frequent has {inspection.frequent:.1%} of the rows"
        )
    else:
        description = f"quantity {output.name}"
    other = "regression" if isinstance(output, Classes) else "classification"
    show_step("target", f"{description} (for {other}: TASK={other}, or --task {other})")
    if inspection.measure != default_measure(inspection.spec).name:
        show_step("measure", _why_measure(inspection))
    show_step("inputs", "a request with a value outside these ranges and words is refused")
    width = max(len(item.name) for item in inputs)
    for item in inputs:
        show_step("input", f"{item.name:<{width}}  {_describe(item)}")
    for finding in inspection.findings:
        show_step(
            "LEFT OUT" if finding.left_out else "look at", f"{finding.column}: {finding.reason}"
        )


def _why_measure(inspection: Inspection) -> str:
    output, text = inspection.spec.output, f"{inspection.measure} (validation.measure)"
    if isinstance(output, Classes) and output.positive:
        text += f", of the positive class {output.positive}"
    return f"{text}: always predicting one class has an accuracy of {inspection.frequent:.3f}"


def _describe(item: Input) -> str:
    missing = ", may be missing" if item.nullable else ""
    if isinstance(item, Number):
        return f"number, {item.minimum:g} to {item.maximum:g}{missing}"
    if isinstance(item, Category):
        words = ", ".join(item.categories[:5]) + (" …" if len(item.categories) > 5 else "")
        return f"category, {len(item.categories)}: {words}{missing}"
    return f"{item.kind}{missing}"
