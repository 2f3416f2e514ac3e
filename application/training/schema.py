"""Checks training data against the model's contract before anything is recorded."""

from __future__ import annotations

import numpy as np

from domain.contract import ModelSpec, format_names
from domain.data.dataset import Dataset
from domain.errors import DataError, InputError

_SHOWN = 3


def check_data(dataset: Dataset, spec: ModelSpec) -> np.ndarray:
    """Check the columns, every value, and the target.

    Returns:
        The encoded inputs, shape (n_rows, spec.width).

    Raises:
        DataError: the data break the contract; the message names rows and columns.
    """
    columns = tuple(map(str, dataset.inputs.columns))
    if columns != spec.input_names:
        raise DataError(
            f"{dataset.name} has the columns {format_names(columns)}; "
            f"the contract of {spec.name} has {format_names(spec.input_names)}"
        )
    if len(dataset) == 0:
        raise DataError(f"{dataset.name} has no rows")
    problems = _target_problems(dataset, spec)
    rows = np.empty((0, spec.width), np.float32)
    try:
        rows = dataset.encoded(spec)
    except InputError as error:
        problems.insert(0, str(error))
    if problems:
        shown = "; ".join(problems[:_SHOWN])
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DataError(
            f"{dataset.name} breaks the contract of {spec.name}: {shown}{more} (rows count from 0; "
            f"fix the data, or SPEC in domain/models/{spec.name}.py)"
        )
    return rows


def _target_problems(dataset: Dataset, spec: ModelSpec) -> list[str]:
    name, target = spec.output.name, dataset.target.tolist()
    if spec.classes:
        wrong = [row for row, label in enumerate(target) if not _is_one_of(label, spec.classes)]
        problem = "is not one of the classes"
    else:
        numeric = dataset.target.dtype in (np.float64, np.int64)
        finite = np.isfinite(dataset.target) if numeric else map(_is_finite, target)
        wrong = [row for row, value in enumerate(finite) if not value]
        problem = "is not a finite number"
    problems = [f"row {row}, {name}: {target[row]!r} {problem}" for row in wrong]
    empty = set(spec.classes).difference(target) if not wrong else set()
    return problems + [f"no row has the class {label!r}" for label in sorted(empty)]


def _is_finite(value: object) -> bool:
    try:
        return isinstance(value, int | float | np.number) and bool(np.isfinite(float(value)))
    except OverflowError:  # an integer beyond the float range
        return False


def _is_one_of(label: object, classes: tuple[str, ...]) -> bool:
    return isinstance(label, str) and label in classes
