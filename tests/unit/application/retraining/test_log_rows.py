"""Labelled rows of the prediction log become training data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from application.monitoring.export import Contracts
from application.ports.prediction_log import LabelledPrediction, LoggedPrediction
from application.retraining.log_rows import (
    KEY,
    check_usable,
    labelled_rows,
    merged,
    read_rows,
)
from application.training.config import SplitConfig
from domain.contract import Category, Classes, Datetime, ModelSpec, Number, Tensor, Text
from domain.data.tables import read_table
from domain.errors import DataError
from tests.fakes import FakePredictionLog, batch_of

LOAN = ModelSpec(
    "loan",
    (Number("age", "", 0, 99, nullable=True), Category("row", ("a", "b"))),
    Classes(("no", "yes"), "default"),
)
OLDER = replace(LOAN, inputs=LOAN.inputs[:1])
CONTRACTS = Contracts({"1": LOAN, "0": OLDER}, LOAN)
NAN = float("nan")


def log_of(
    *rows: tuple[str, int, list[float], float | None], version: str = "1"
) -> FakePredictionLog:
    """A log with one row a second: request, row, inputs and label."""
    log = FakePredictionLog()
    predictions = [
        LoggedPrediction(request, row, 100.0 + at, at, inputs, 0, 0.9, 0.01)
        for at, (request, row, inputs, _) in enumerate(rows)
    ]
    log.add(replace(batch_of(*predictions), version=version))
    labels = [
        LabelledPrediction(request, row, 0, actual)
        for request, row, _, actual in rows
        if actual is not None
    ]
    log.label(*labels, at=500)
    return log


def test_labelled_rows_have_the_inputs_and_the_target_of_the_contract() -> None:
    log = log_of(("x", 0, [20, 0], 1), ("y", 0, [30, 1], None), ("z", 0, [NAN, 1], 0))
    rows, left_out = labelled_rows(log, CONTRACTS, 0, 1000)
    assert list(rows) == ["age", "row", "default", *KEY] and not left_out
    assert rows.fillna(-1).to_numpy().tolist() == [
        [20, "a", "yes", "x", 0],
        [-1, "b", "no", "z", 0],
    ]


def test_the_rows_can_be_read_as_training_data(tmp_path: object) -> None:
    rows, _ = labelled_rows(log_of(("x", 0, [20, 0], 1)), CONTRACTS, 0, 1000, "when")
    path = f"{tmp_path}/rows.parquet"
    rows.to_parquet(path, index=False)
    dataset = read_table(path, LOAN)
    assert dataset.rows() == [(20.0, "a")] and dataset.target.tolist() == ["yes"]
    assert dataset.others is not None
    assert dataset.others["when"].tolist() == ["1970-01-01T00:01:40+00:00"]


def test_rows_outside_the_period_are_left_out() -> None:
    log = log_of(*((str(at), 0, [at, 0], 1) for at in range(5)))
    rows, _ = labelled_rows(log, CONTRACTS, 101, 103)
    assert rows["age"].tolist() == [1, 2]


def test_rows_of_another_contract_are_counted_and_left_out() -> None:
    log = log_of(("x", 0, [20], 1), ("y", 0, [20], None), version="0")
    rows, left_out = labelled_rows(log, CONTRACTS, 0, 1000)
    assert rows.empty and list(rows) == ["age", "row", "default", *KEY]
    assert left_out == {"0": 1}


def test_labels_of_unknown_classes_are_left_out() -> None:
    more = replace(LOAN, output=Classes(("no", "yes", "unclear"), "default"))
    log = log_of(("x", 0, [20, 0], 2), ("y", 0, [30, 0], 1))
    rows, left_out = labelled_rows(log, Contracts({"1": more}, LOAN), 0, 1000)
    assert rows["default"].tolist() == ["yes"] and left_out == {"1": 1}


def test_a_later_label_of_the_same_prediction_replaces_the_earlier_one() -> None:
    earlier = pd.DataFrame(
        {"age": [1.0, 2.0], "default": ["no", "no"], KEY[0]: ["x", "y"], KEY[1]: 0}
    )
    later = pd.DataFrame(
        {"age": [2.0, 3.0], "default": ["yes", "no"], KEY[0]: ["y", "z"], KEY[1]: 0}
    )
    found = merged(earlier, later)
    assert found[["age", "default"]].to_numpy().tolist() == [[1, "no"], [2, "yes"], [3, "no"]]


def test_rows_of_a_table_of_ones_own_all_stay(tmp_path: Path) -> None:
    own = pd.DataFrame({"age": [1.0, 1.0], "row": ["a", "a"], "default": ["no", "yes"]})
    own.to_csv(tmp_path / "own.csv", index=False)
    rows, _ = labelled_rows(log_of(("x", 0, [20, 0], 1)), CONTRACTS, 0, 1000)
    both = merged(read_rows(str(tmp_path / "own.csv"), LOAN), rows)
    both.to_parquet(tmp_path / "both.parquet", index=False)
    assert both["default"].tolist() == ["no", "yes", "yes"]
    again = read_rows(str(tmp_path / "both.parquet"), LOAN)
    assert len(merged(again, rows)) == 3
    assert read_rows(str(tmp_path / "both.parquet"), LOAN, from_log=True)[KEY[0]].tolist() == ["x"]


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        (replace(LOAN, inputs=(*LOAN.inputs, Datetime("opened"))), "opened"),
        (ModelSpec("a", (Text("letter"),), LOAN.output), "letter"),
        (ModelSpec("a", (Number("age", "", 0, 1, logged=False),), LOAN.output), "age"),
        (ModelSpec("a", (Tensor("photo", (2, 2), 0, 1),), LOAN.output), "photo"),
    ],
    ids=["date", "text", "not logged", "tensor"],
)
def test_inputs_of_which_the_log_has_a_summary_or_nothing_are_refused(
    spec: ModelSpec, names: str
) -> None:
    with pytest.raises(DataError, match=f"does not have the values of {names}: add the labelled"):
        check_usable(spec, None)


def test_a_split_by_group_is_refused() -> None:
    check_usable(LOAN, None)
    check_usable(LOAN, SplitConfig(time="when"))
    with pytest.raises(DataError, match="has no customer, which data.split needs"):
        check_usable(LOAN, SplitConfig(group="customer"))


def test_times_are_those_of_the_predictions() -> None:
    log = log_of(("x", 0, [20, 0], 1), ("y", 0, [30, 1], 0))
    rows, _ = labelled_rows(log, CONTRACTS, 0, 1000, "when")
    times = pd.to_datetime(rows["when"], format="ISO8601", utc=True)
    assert np.diff(times.astype("int64")).tolist() == [1_000_000]
