"""Labelled rows of the prediction log as further training data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pandas as pd

from application.monitoring.export import Columns, Contracts, export_predictions, input_columns
from application.ports.prediction_log import PredictionReader
from application.training.config import SplitConfig
from domain.contract import Category, ModelSpec, Number
from domain.data.tables import read_table
from domain.errors import DataError

KEY = ["log_request_id", "log_row"]  # of a row, so that a later label replaces an earlier one


def check_usable(
    spec: ModelSpec,
    split: SplitConfig | None,
    advice: str = "add the labelled rows to your own data, and run make train",
) -> None:
    """Check that the log has what a model learns from.

    Args:
        advice: what to do if it does not.

    Raises:
        DataError: it has only summaries of an input, or no column that the split follows.
    """
    absent = [
        item.name
        for item in spec.inputs
        if not isinstance(item, Number | Category) or not item.logged
    ]
    if absent:
        raise DataError(
            f"the prediction log does not have the values of {', '.join(absent)}: {advice} (it "
            "keeps those of numbers and categories, unless they have logged=False)"
        )
    if split and split.group:
        raise DataError(
            f"the prediction log has no {split.group}, which data.split needs: {advice}"
        )


def labelled_rows(
    log: PredictionReader,
    contracts: Contracts,
    since: float,
    until: float,
    time: str | None = None,
) -> tuple[pd.DataFrame, Counter[str | None]]:
    """The labelled rows of a period.

    Args:
        contracts: of the versions in the log; the champion's says which columns are needed.
        since, until: seconds since the epoch; `until` is not part of the period.
        time: column of the split, which gets the times of the predictions unless it is an input.

    Returns:
        One row for each label: the inputs and the target of the champion's contract, and `KEY`.
        And how many rows were left out, by version, since their contract is another one.
    """
    spec = contracts.champion
    source = dict(zip(spec.input_names, input_columns(spec)))
    left_out: Counter[str | None] = Counter()
    parts: list[pd.DataFrame] = []

    def keep(columns: Columns) -> None:
        actual, version = np.asarray(columns["actual"]), np.asarray(columns["version"])[0]
        labelled = np.array(pd.notna(actual))
        known = labelled & (np.isin(actual.astype(str), spec.classes) if spec.classes else True)
        if not columns.keys() >= set(source.values()):
            known[:] = False
        left_out[version] += int((labelled & ~known).sum())
        if known.any():
            parts.append(_frame(columns, source, spec, time)[known])

    left_out.update(export_predictions(log, contracts, keep, since, until))
    columns = [*spec.input_names, spec.output.name, *KEY]
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return frame, +left_out


def _frame(
    columns: Columns, source: Mapping[str, str], spec: ModelSpec, time: str | None
) -> pd.DataFrame:
    frame = pd.DataFrame({name: columns[column] for name, column in source.items()})
    frame[spec.output.name] = columns["actual"]
    frame[KEY[0]], frame[KEY[1]] = columns["request_id"], columns["row"]
    if time is not None and time not in frame:
        frame[time] = pd.Series(columns["at"]).map(lambda at: f"{at.isoformat()}+00:00")
    return frame


def read_rows(path: str, spec: ModelSpec, from_log: bool = False) -> pd.DataFrame:
    """A table of labelled rows: the inputs and the target of a contract, and its other columns.

    Args:
        from_log: only those that came from a prediction log.

    Raises:
        DataError: the table cannot be read, or lacks a column.
    """
    table = read_table(path, spec)
    parts = [table.inputs, table.target, *([] if table.others is None else [table.others])]
    frame = pd.concat(parts, axis=1)
    frame = frame.reindex(columns=[*frame.columns, *(key for key in KEY if key not in frame)])
    return frame[frame[KEY[0]].notna()] if from_log else frame


def merged(*tables: pd.DataFrame) -> pd.DataFrame:
    """The rows of all tables, of which later ones replace rows of the same prediction. Rows that
    came from no prediction log all stay."""
    found = pd.concat(tables, ignore_index=True)
    is_older = found.duplicated(KEY, keep="last") & found[KEY[0]].notna()
    return found[~is_older].reset_index(drop=True)
