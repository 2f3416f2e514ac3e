"""Every prediction becomes one row with inputs by name, prediction and label."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from application.monitoring.export import Contracts, export_predictions
from application.ports.prediction_log import LabelledPrediction, PredictionBatch
from domain.contract import Category, Classes, HashedText, ModelSpec, Number, Quantity, Tensor
from tests.fakes import FakePredictionLog

RENT = ModelSpec(
    "rent",
    (
        Number("area", "m²", 5, 500, nullable=True),
        Category("district", ("east", "north"), nullable=True),
        Category("furnished", ("false", "true")),
        HashedText("description"),
        Tensor("photo", (2, 2), 0, 1),
        Number("row", "", 0, 9),
    ),
    Quantity("rent", "EUR"),
)
LOAN = ModelSpec("loan", (Number("age", "", 0, 99),), Classes(("no", "yes"), "default"))
NAN = float("nan")


def batch(start: float, version: str | None = "1", **more: Any) -> PredictionBatch:
    """One request of two rows for a model of one input, and one request of one row."""
    columns = {
        "request_ids": ["a", "b"],
        "rows": np.array([2, 1]),
        "at": np.array([start, start + 1]),
        "latency": np.array([0.5, 0.25], np.float32),
        "identities": np.arange(3, dtype=np.uint64),
        "inputs": np.array([[20], [30], [NAN]], np.float32),
        "predicted": np.array([0, 1, 1], np.float32),
        "confidence": np.array([0.75, 0.5, 1], np.float32),
        "version": version,
    }
    return PredictionBatch(**(columns | more))


def export(
    log: FakePredictionLog,
    contracts: Contracts,
    since: float = 0.0,
    until: float = 100.0,
    version: str | None = None,
) -> tuple[list[dict[str, Any]], Counter[str | None]]:
    """The exported rows, and how many were left out."""
    rows: list[dict[str, Any]] = []

    def write(columns: Any) -> None:
        assert set(columns) <= set(contracts.columns())
        values = [np.asarray(column).tolist() for column in columns.values()]
        rows.extend(dict(zip(columns, row)) for row in zip(*values, strict=True))

    left_out = export_predictions(log, contracts, write, since, until, version)
    return rows, left_out


def test_a_row_has_everything_on_record() -> None:
    log = FakePredictionLog()
    log.add(batch(1.5, callers=["shop", None], environment="staging", ids={1: "order 7"}))
    log.label(LabelledPrediction("a", 1, 1, 0), at=9.0)
    rows, left_out = export(log, Contracts({"1": LOAN}, LOAN))
    assert not left_out
    assert [(row["request_id"], row["row"]) for row in rows] == [("a", 0), ("a", 1), ("b", 0)]
    assert [row["age"] for row in rows] == [20, 30, pytest.approx(NAN, nan_ok=True)]
    second = rows[1]
    assert second.pop("at").isoformat() == "1970-01-01T00:00:01.500000"
    assert second.pop("labelled_at").isoformat() == "1970-01-01T00:00:09"
    assert second == {
        **{"request_id": "a", "row": 1, "id": "order 7"},
        **{"version": "1", "environment": "staging", "caller": "shop"},
        **{"age": 30, "prediction": "yes", "confidence": 0.5, "latency_seconds": 0.5},
        "actual": "no",
    }
    third = rows[2]
    assert [third[name] for name in ("id", "caller", "actual", "labelled_at")] == [None] * 4
    assert third["latency_seconds"] == 0.25


def test_inputs_have_the_values_of_their_kinds() -> None:
    log = FakePredictionLog()
    inputs = [[50, 1, 1, 4, 0.5, 0.25, 3], [NAN, NAN, 0, 0, 0, 0, 0]]
    log.add(
        batch(
            1.0,
            request_ids=["a"],
            rows=np.array([2]),
            at=np.array([1.0]),
            latency=np.array([0.5]),
            inputs=np.array(inputs, np.float32),
            predicted=np.array([700.5, 1], np.float32),
            confidence=None,
        )
    )
    log.label(LabelledPrediction("a", 0, 700.5, 710.25), at=2.0)
    contracts = Contracts({"1": RENT}, RENT)
    found = export(log, contracts)[0]
    first, second = found[0], found[1]
    names = ("area", "district", "furnished", "description", "photo_mean", "photo_spread")
    assert [first[name] for name in names] == [50, "north", True, 4, 0.5, 0.25]
    assert (first["row"], first["input_row"]) == (0, 3)
    assert (first["prediction"], first["actual"]) == (700.5, 710.25)
    assert np.isnan(first["confidence"]) and np.isnan(second["area"])
    assert (second["district"], second["furnished"]) == (None, False)
    kinds = contracts.columns()
    assert [kinds[name] for name in (*names, "input_row")] == [
        *("float32", "string", "bool", "float32", "float32", "float32", "float32")
    ]


def test_inputs_that_are_not_logged_have_no_column() -> None:
    private = replace(LOAN, inputs=(replace(LOAN.inputs[0], logged=False),))
    log = FakePredictionLog()
    log.add(batch(1.0))
    contracts = Contracts({"1": private}, private)
    (row, *_), left_out = export(log, contracts)
    assert "age" not in row and "age" not in contracts.columns() and not left_out
    assert "age" in Contracts({"1": private}, LOAN).columns()


@pytest.mark.parametrize(
    ("since", "until", "found"), [(0, 9, "aab"), (1, 2, "aa"), (1.5, 3, "b"), (2.5, 9, "")]
)
def test_only_rows_of_the_period_are_exported(since: float, until: float, found: str) -> None:
    log = FakePredictionLog()
    log.add(batch(1.0))
    rows, _ = export(log, Contracts({"1": LOAN}, LOAN), since, until)
    assert "".join(row["request_id"] for row in rows) == found


def test_each_version_is_read_by_its_own_contract() -> None:
    log = FakePredictionLog()
    older = replace(
        LOAN, inputs=(Category("age", ("young", "old"), nullable=True), Number("debt", "", 0, 9))
    )
    inputs = np.array([[1, 5], [0, 6], [NAN, 7]], np.float32)
    log.add(batch(1.0, "1", inputs=inputs), batch(3.0, "2"), batch(5.0, "2"))
    contracts = Contracts({"1": older, "2": LOAN}, LOAN)
    rows, _ = export(log, contracts)
    assert [row["age"] for row in rows[:3]] == ["old", "young", None]
    assert [row.get("debt") for row in rows] == [5, 6, 7, *[None] * 6]
    assert [row["age"] for row in rows[3:5]] == [20, 30]
    assert contracts.columns()["age"] == "string"
    assert len(export(log, contracts, version="1")[0]) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": np.zeros((3, 2), np.float32)},
        {"predicted": np.array([0, 1, 2], np.float32)},
        {"confidence": None},
    ],
    ids=["number of inputs", "unknown class", "a regression"],
)
def test_rows_that_fit_no_known_contract_are_counted(change: dict[str, Any]) -> None:
    log = FakePredictionLog()
    log.add(batch(1.0, "gone"), batch(3.0, "gone", **change), batch(5.0, None, **change))
    rows, left_out = export(log, Contracts({"1": LOAN}, LOAN))
    assert [row["prediction"] for row in rows] == ["no", "yes", "yes"]
    assert left_out == {"gone": 3, None: 3}


def test_a_code_that_is_no_category_is_counted() -> None:
    log = FakePredictionLog()
    spec = replace(LOAN, inputs=(Category("age", ("young", "old"), nullable=True),))
    log.add(batch(1.0, "gone", inputs=np.array([[0], [2], [NAN]], np.float32)))
    assert export(log, Contracts({}, spec)) == ([], {"gone": 3})


def test_a_label_of_a_class_that_the_version_lacks_is_counted() -> None:
    log = FakePredictionLog()
    log.add(batch(1.0))
    labels = [LabelledPrediction("a", row, 0, actual) for row, actual in enumerate((2, 1))]
    log.label(*labels, at=50.0)
    rows, left_out = export(log, Contracts({"1": LOAN}, LOAN))
    assert [row["actual"] for row in rows] == ["yes", None] and left_out == {"1": 1}
    log.label(LabelledPrediction("a", 1, 0, 2), LabelledPrediction("b", 0, 0, 9), at=60.0)
    assert export(log, Contracts({"1": LOAN}, LOAN)) == ([], {"1": 3})


def test_rows_are_written_some_thousand_at_once() -> None:
    log = FakePredictionLog()
    log.add(*(batch(float(number)) for number in range(5000)))
    sizes: list[int] = []
    contracts = Contracts({"1": LOAN}, LOAN)
    export_predictions(log, contracts, lambda columns: sizes.append(len(columns["row"])), 0, 1e4)
    assert sum(sizes) == 15_000 and len(sizes) == 2
