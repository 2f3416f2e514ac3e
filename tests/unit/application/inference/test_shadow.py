"""What another version would have predicted for the rows on record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from application.inference.shadow import SHADOW, Place, ShadowReport, replay
from application.monitoring.export import Contracts
from application.ports.prediction_log import LabelledPrediction, LoggedPrediction
from domain.contract import Category, Classes, ModelSpec, Number, Quantity
from domain.monitoring.profile import profile_inputs
from tests.fakes import FakePredictionLog, batch_of

LOAN = ModelSpec(
    "loan",
    (Number("age", "", 0, 99), Category("home", ("rents", "owns"))),
    Classes(("no", "yes"), "default"),
)
RENT = replace(LOAN, output=Quantity("rent"))
ROWS = np.column_stack([np.arange(100) % 50 + 20, np.arange(100) % 2]).astype(np.float32)
PERIOD = (0.0, 1000.0, None)


def log_of(spec: ModelSpec, predicted: np.ndarray, actual: np.ndarray) -> FakePredictionLog:
    """A log of `ROWS`, of which the first ones have a label."""
    log = FakePredictionLog()
    confidence = 0.9 if spec.classes else None
    rows = [
        LoggedPrediction(str(at), 0, float(at), at, row.tolist(), value, confidence, 0.01)
        for at, (row, value) in enumerate(zip(ROWS, predicted.tolist()))
    ]
    log.add(replace(batch_of(*rows), version="1"))
    labels = [
        LabelledPrediction(str(at), 0, predicted[at], value)
        for at, value in enumerate(actual.tolist())
    ]
    log.label(*labels, at=500.0)
    return log


def shadow(
    log: FakePredictionLog, spec: ModelSpec, outputs: np.ndarray, other: ModelSpec | None = None
) -> tuple[ShadowReport, list[dict[str, Any]]]:
    """The report on a model whose outputs for `ROWS` are known, and the rows that differ."""
    kept: list[dict[str, Any]] = []
    used = other or spec
    known = {row.tobytes(): output for row, output in zip(ROWS, outputs)}

    def model(rows: np.ndarray) -> np.ndarray:
        return np.array([known[row.tobytes()] for row in rows], np.float32)

    report = replay(
        log,
        Contracts({"1": spec}, spec),
        used,
        model,
        profile_inputs(used, ROWS),
        PERIOD,
        keep=lambda columns: kept.extend(
            dict(zip(columns, values)) for values in zip(*columns.values())
        ),
    )
    return report, kept


def test_classes_that_change_are_counted_and_located() -> None:
    owns = ROWS[:, 1]
    log = log_of(LOAN, np.zeros(100), np.ones(60))
    report, kept = shadow(log, LOAN, np.stack([1 - owns, owns], axis=1))
    assert (report.rows, report.total, report.difference) == (100, 50, 0.5)
    assert report.changes == {("no", "yes"): 50}
    assert report.places[0] == Place("home: owns", 50, 1.0)
    assert len(report.places) == 1  # no bin of age has 50 rows
    errors = np.concatenate(report.errors)
    assert errors.shape == (60, 2) and errors.mean(axis=0).tolist() == [1.0, 0.5]
    assert len(kept) == 50 and {row["home"] for row in kept} == {"owns"}
    assert {(row["prediction"], row[SHADOW]) for row in kept} == {("no", "yes")}


def test_labels_that_the_other_version_knows_do_not_count() -> None:
    log = log_of(LOAN, np.zeros(100), np.ones(60))
    report = replay(
        log,
        Contracts({"1": LOAN}, LOAN),
        LOAN,
        lambda rows: np.tile(np.float32([0, 1]), (len(rows), 1)),
        {},
        PERIOD,
        trained_on={(str(at), 0) for at in range(50)},
    )
    assert np.concatenate(report.errors).tolist() == [[1, 0]] * 10


def test_the_threshold_of_the_other_version_decides() -> None:
    strict = replace(LOAN, output=Classes(("no", "yes"), "default", "yes", 0.9))
    log = log_of(LOAN, np.ones(100), np.zeros(0))
    report, _ = shadow(log, LOAN, np.tile([0.2, 0.8], (100, 1)), strict)
    assert report.changes == {("yes", "no"): 100}
    assert not np.concatenate(report.errors).size


def test_values_that_differ_are_averaged() -> None:
    log = log_of(RENT, np.full(100, 10.0), np.full(20, 10.0))
    outputs = np.column_stack([10 + 4 * ROWS[:, 1], np.zeros(100), np.zeros(100)])
    report, kept = shadow(log, RENT, outputs)
    assert (report.difference, report.largest) == (2, 4) and not report.changes
    assert report.places[0] == Place("home: owns", 50, 4.0)
    assert np.concatenate(report.errors).mean(axis=0).tolist() == [0, 2]
    assert len(kept) == 50 and {row[SHADOW] for row in kept} == {14}


def test_rows_that_the_other_contract_refuses_are_counted() -> None:
    young = replace(LOAN, inputs=(Number("age", "", 0, 44), LOAN.inputs[1]))
    log = log_of(LOAN, np.zeros(100), np.zeros(0))
    report, kept = shadow(log, LOAN, np.tile([0.9, 0.1], (100, 1)), young)
    assert (report.rows, report.rejected, report.total) == (50, 50, 0) and not kept


def test_nothing_on_record_is_no_difference() -> None:
    report, kept = shadow(FakePredictionLog(), LOAN, np.zeros((100, 2)))
    assert report.rows == 0 and np.isnan(report.difference) and not kept and not report.places


def test_progress_counts_every_row() -> None:
    seen: list[int] = []
    replay(
        log_of(LOAN, np.zeros(100), np.zeros(0)),
        Contracts({"1": LOAN}, LOAN),
        LOAN,
        lambda rows: np.tile(np.float32([1, 0]), (len(rows), 1)),
        {},
        PERIOD,
        on_rows=seen.append,
    )
    assert sum(seen) == 100


@pytest.mark.parametrize("missing", [True, False])
def test_missing_values_have_a_bin_of_their_own(missing: bool) -> None:
    spec = replace(LOAN, inputs=(Number("age", "", 0, 99, nullable=True), LOAN.inputs[1]))
    rows = ROWS.copy()
    rows[:60, 0] = np.nan
    log = FakePredictionLog()
    log.add(
        batch_of(
            *(
                LoggedPrediction(str(at), 0, float(at), at, row.tolist(), 0, 0.9, 0.01)
                for at, row in enumerate(rows)
            )
        )
    )

    def model(encoded: np.ndarray) -> np.ndarray:
        yes = np.isnan(encoded[:, 0]) == missing
        return np.stack([~yes, yes], axis=1).astype(np.float32)

    report = replay(log, Contracts({}, spec), spec, model, profile_inputs(spec, rows), PERIOD)
    age = [place for place in report.places if place.what == "age: missing"]
    assert age == ([Place("age: missing", 60, 1.0)] if missing else [])
