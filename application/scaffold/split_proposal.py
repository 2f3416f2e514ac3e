"""Proposes a split by time or group for a table, and measures what a random one would claim."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from application.scaffold.dates import ISO_DAY
from application.scaffold.formatted_numbers import Format
from application.scaffold.table_inspection import (
    Finding,
    Inspection,
    Task,
    Track,
    inspect_table,
    words_of,
)
from domain.data.dataset import Dataset
from domain.data.splitting import hold_out
from domain.evaluation.measures import Measure, repeat

_FEWEST_VALUES = 20  # of a time or a group, so that both sides have some
_NEARLY_ALL = 0.99
_ROWS_PER_GROUP = 1.5
_ROWS_PER_SERIES = 5  # so that dates are hardly in order by chance in each of them
MOST_COMPARED = 5000  # rows that are fitted to compare splits, which takes some seconds
_NOT_TIMES = {"birth", "birthday", "birthdate", "born", "dob"}
_GROUPS = set(
    "id ids uid uuid guid key account borrower client company customer device driver employee "
    "household machine member owner patient person player session student subject "
    "user vehicle visitor".split()
)


@dataclass(frozen=True)
class Proposal:
    """A split that a table suggests.

    Attributes:
        split: the block ``data.split``: a column of time or of groups.
        reason: what was found, as text.
    """

    split: dict[str, Any]
    reason: str

    @property
    def group(self) -> str | None:
        """The column of groups."""
        return self.split.get("group")


def propose_split(frame: pd.DataFrame, target: str) -> Proposal | None:
    """By time where dates span the rows, else by group where an identifier repeats; else None.

    Dates span the rows if they are nearly unique, or in order, if only within each value of another
    column. An identifier is a column of words or whole numbers that is named like one, with several
    rows for each value. Where both are found, the reason says so: which is right depends on whether
    the model will predict for new identifiers.
    """
    columns = [column for column in frame.columns if column != target]
    group = _repeated_identifier(frame[columns])
    repeated = ""
    if group:
        rows = len(frame) / frame[group].nunique()
        repeated = f"each {group} has {rows:.1f} rows on average"
    for column in columns:
        if _NOT_TIMES.isdisjoint(words_of(column)) and (order := _time_order(frame, column)):
            reason = f"{column} has dates that are {order}"
            if group:
                reason += (
                    f'; {repeated}: add "group": "{group}" if the model will predict for new ones'
                )
            return Proposal({"time": column}, reason)
    return Proposal({"group": group}, repeated) if group else None


def inspect_with_split(
    frame: pd.DataFrame,
    target: str,
    name: str,
    task: Task | None = None,
    track: Track = iter,
    formats: Mapping[str, Format] | None = None,
) -> tuple[Inspection, Proposal | None]:
    """What `inspect_table` finds, without the column of groups that `propose_split` finds.

    Raises:
        DataError: as `inspect_table`.
    """
    proposal = propose_split(frame, target)
    if proposal is None or proposal.group is None:
        return inspect_table(frame, target, name, task, track, formats), proposal
    others = frame.drop(columns=proposal.group)
    inspection = inspect_table(others, target, name, task, track, formats)
    finding = Finding(proposal.group, "it tells groups apart, which the split follows")
    return replace(inspection, findings=(*inspection.findings, finding)), proposal


def _repeated_identifier(frame: pd.DataFrame) -> str | None:
    for column in frame.columns:
        if _GROUPS.intersection(words_of(column)) and _identifies(frame[column]):
            return str(column)
    return None


def claimed_scores(
    estimator: Any, dataset: Dataset, measure: Measure, test_size: float, seed: int
) -> tuple[float, float]:
    """Score of an estimator on the hold-out of a random split, and on that of the proposed split.

    Fitted on the last 5,000 rows at most.

    Args:
        dataset: with keys.

    Raises:
        DataError: these rows cannot be split.
    """
    dataset = dataset.take(np.arange(len(dataset))[-MOST_COMPARED:])
    plain = Dataset(dataset.name, dataset.source, dataset.inputs, dataset.target)
    spec, scores = measure.spec, []
    for each in (plain, dataset):
        training, holdout = hold_out(each, spec, test_size, seed)
        fitted = clone(estimator).fit(training.encoded(spec), training.encoded_target(spec))
        rows = holdout.encoded(spec)
        if spec.classes:
            predictions = fitted.predict_proba(rows)
        else:
            predictions = repeat(np.zeros(3), len(rows)) + fitted.predict(rows)[:, None]
        scores.append(measure.score(holdout.encoded_target(spec), predictions))
    return scores[0], scores[1]


def _time_order(frame: pd.DataFrame, name: str) -> str:
    """How dates span the rows; empty if they do not, or if these are not dates."""
    column = _as_times(frame[name])
    if column is None or column.hasnans or column.nunique() < _FEWEST_VALUES:
        return ""
    if column.is_monotonic_increasing or column.is_monotonic_decreasing:
        return "in order"
    if column.nunique() >= _NEARLY_ALL * len(column):
        return "nearly unique"
    for other in frame.columns.drop(name):
        values = frame[other]
        if 2 <= values.nunique() <= len(frame) / _ROWS_PER_SERIES and not values.hasnans:
            series = column.groupby(values)
            if series.is_monotonic_increasing.all() or series.is_monotonic_decreasing.all():
                return f"in order for each {other}"
    return ""


def _as_times(column: pd.Series) -> pd.Series | None:
    """Dates as times; None if these are not dates."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return column
    words = column.map(lambda value: isinstance(value, str)).all()
    if not words or not column.str.match(ISO_DAY).all():
        return None
    with suppress(ValueError):
        return pd.to_datetime(column, format="ISO8601", utc=True)
    return None


def _identifies(column: pd.Series) -> bool:
    """Whether values repeat, and are words or whole numbers."""
    distinct = column.nunique()
    if column.hasnans or not _FEWEST_VALUES <= distinct <= len(column) / _ROWS_PER_GROUP:
        return False
    if pd.api.types.is_bool_dtype(column):
        return False
    if pd.api.types.is_numeric_dtype(column):
        return bool((column % 1 == 0).all())
    return bool(column.map(lambda value: isinstance(value, str | int)).all())
