"""The profile of a table: what it contains, and what `make new-model` would do with each column."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from application.scaffold.split_proposal import inspect_with_split
from application.scaffold.table_inspection import (
    Finding,
    Inspection,
    Track,
    describe_input,
    inspect_column,
    leave_out_value,
    select_inputs,
)
from domain.contract import Input, format_names
from domain.data.dataset import Dataset
from domain.data.summary import count_duplicates, summarise_columns
from domain.data.tables import as_words, check_target
from domain.errors import DataError

_REFUSED = "make new-model would refuse this table"
Role = Literal["target", "input", "left out"]


@dataclass(frozen=True)
class ColumnProfile:
    """A column.

    Attributes:
        role: what `make new-model` would do with it.
        item: the input that it is or could be; None if it cannot be one.
        reasons: why it is left out, or what to look at.
        skill: how well it predicts the target alone, from 0, like a constant, to 1; None if that is
            not known.
        missing: number of rows without a value.
        distinct: number of different values.
        examples: frequent values.
    """

    name: str
    role: Role
    item: Input | None
    reasons: tuple[str, ...]
    skill: float | None
    missing: int
    distinct: int
    examples: str

    @property
    def kind(self) -> str:
        """What new-model would make of it, as text."""
        text = describe_input(self.item) if self.item else ""
        return text if self.role == "input" else self.role


@dataclass(frozen=True)
class TableProfile:
    """A table.

    Attributes:
        frame: its rows; with an inspection, those that have a target.
        rows: number of all rows.
        duplicates: number of rows that are equal to an earlier one.
        columns: in the order of the table.
        remarks: about the whole table, such as why `make new-model` would refuse it.
        inspection: how the target was understood; None without a target, or if it is refused.
        actual: class numbers or values of the target, shape (n_rows,); None without an inspection.
    """

    frame: pd.DataFrame
    rows: int
    duplicates: int
    columns: tuple[ColumnProfile, ...]
    remarks: tuple[str, ...]
    inspection: Inspection | None = None
    actual: np.ndarray | None = None


def profile_table(
    frame: pd.DataFrame, target: str | None = None, track: Track = iter
) -> TableProfile:
    """Inspect a table as `make new-model` would, without refusing it.

    Args:
        frame: columns as `domain.data.tables.read_frame` returns them.
        target: the column to predict; None before it is chosen.
        track: shows the progress over the columns.

    Raises:
        DataError: the table has no column of this name.
    """
    if target is not None and target not in frame.columns:
        raise DataError(f"unknown column {target!r}: the columns are {format_names(frame.columns)}")
    summary, rows, duplicates = summarise_columns(frame), len(frame), count_duplicates(frame)
    empty = [name for name in frame.columns if name != target and frame[name].isna().all()]
    usable = labelled = frame.drop(columns=empty)
    inspection, actual, remarks = None, None, list[str]()
    if target is not None:
        labelled, inspection, remarks = _inspect(usable, target, track)
    if inspection:
        usable, actual = labelled, _encoded(labelled[target], inspection)
        inputs, findings = inspection.spec.inputs, inspection.findings
    else:
        inputs, findings = _without_target(usable.drop(columns=target or []), track)
    findings += tuple(
        Finding(
            name,
            "no row has a value: fix the file, or leave it out with "
            f"LEAVE_OUT={leave_out_value([name])}, without which make new-model refuses the table",
        )
        for name in empty
    )
    columns = _columns(summary, target, inputs, findings, inspection)
    return TableProfile(usable, rows, duplicates, columns, tuple(remarks), inspection, actual)


def _inspect(
    frame: pd.DataFrame, target: str, track: Track
) -> tuple[pd.DataFrame, Inspection | None, list[str]]:
    """The rows with a target, what new-model finds in them, if it can, and remarks."""
    remarks = []
    try:
        check_target(frame[target], "the table")
    except DataError as error:
        remarks.append(f"{_REFUSED}: {error}")
        frame = frame[frame[target].notna()].reset_index(drop=True)
        if frame.empty or not all(isinstance(value, Hashable) for value in frame[target]):
            return frame, None, remarks
    try:
        inspection, proposal = inspect_with_split(frame, target, "table", track=track)
    except DataError as error:
        return frame, None, [*remarks, f"{_REFUSED}: {error}"]
    if proposal:
        remarks.append(
            f"make new-model would split by {' and '.join(proposal.split)}: {proposal.reason}"
        )
    return frame, inspection, remarks


def _without_target(
    frame: pd.DataFrame, track: Track
) -> tuple[tuple[Input, ...], tuple[Finding, ...]]:
    found = [inspect_column(frame[name]) for name in track(list(frame.columns))]
    inputs = [item for item, _ in found if item]
    selected, findings = select_inputs(inputs, [finding for _, finding in found if finding])
    return tuple(selected), tuple(findings)


def _encoded(target: pd.Series, inspection: Inspection) -> np.ndarray:
    spec = inspection.spec
    values = as_words(target) if spec.classes else target
    return Dataset(spec.name, "", target.to_frame(), values).encoded_target(spec)


def _columns(
    summary: pd.DataFrame,
    target: str | None,
    inputs: tuple[Input, ...],
    findings: tuple[Finding, ...],
    inspection: Inspection | None,
) -> tuple[ColumnProfile, ...]:
    items: dict[str, Input] = {f.column: f.item for f in findings if f.item}
    items |= {item.name: item for item in inputs}
    used, skills = {item.name for item in inputs}, inspection.skills if inspection else {}
    reasons: dict[str, list[str]] = {}
    for finding in findings:
        reasons.setdefault(finding.column, []).append(finding.reason)

    def role_of(name: str) -> Role:
        if name == target:
            return "target"
        return "input" if name in used else "left out"

    return tuple(
        ColumnProfile(
            *(name, role_of(name), items.get(name), tuple(reasons.get(name, ()))),
            skill=skills.get(name),
            missing=int(row["missing"]),
            distinct=int(row["distinct"]),
            examples=str(row["examples"]),
        )
        for name, row in summary.to_dict("index").items()
    )
