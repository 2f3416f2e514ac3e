"""Two versions that served side by side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from application.monitoring.ab_report import (
    Pair,
    choose_pair,
    compare_labels,
    compare_values,
)
from application.monitoring.labels import LabelTable
from application.ports.prediction_log import (
    LabelledPrediction,
    LoggedPrediction,
    VersionTraffic,
)
from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.errors import InputError, PredictionLogError
from tests.fakes import FakePredictionLog, batch_of

LOAN = ModelSpec("loan", (Number("age", "", 0, 99),), Classes(("no", "yes"), "default"))
A = VersionTraffic("a", 900, 0, 10, 90)
B = VersionTraffic("b", 100, 0, 50, 120)
C = VersionTraffic("c", 500, 0, 1, 5)
PAIR = Pair("a", "b", 0, 1000)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, None, ("a", "b")),
        ("a", None, ("a", "b")),
        (None, "a", ("b", "a")),
        ("b", "a", ("b", "a")),
    ],
)
def test_the_version_that_began_last_is_compared_with_the_other_one(
    old: str | None, new: str | None, expected: tuple[str, str]
) -> None:
    unknown = replace(A, version=None)
    pair = choose_pair([unknown, C, A, B], old, new, 200)
    assert (pair.old, pair.new) == expected
    assert (pair.since, pair.until) == (50, np.nextafter(90, np.inf))
    assert choose_pair([A, B], None, None, 60).until == 60


@pytest.mark.parametrize(
    ("made", "old", "new", "message"),
    [
        ([A], None, None, "only 1 version has predictions in this period"),
        ([], None, None, "only 0 version"),
        ([A, B], "z", None, "no prediction of z in this period"),
        ([A, C], None, None, "c and a did not serve at the same time"),
    ],
)
def test_without_two_versions_at_the_same_time_there_is_nothing_to_compare(
    made: list[VersionTraffic], old: str | None, new: str | None, message: str
) -> None:
    with pytest.raises(PredictionLogError, match=message):
        choose_pair(made, old, new, 200)


def test_a_canary_without_predictions_is_compared_with_nothing() -> None:
    for made in ([A], [A, C]):
        with pytest.raises(PredictionLogError, match="the canary b has no predictions"):
            choose_pair(made, None, None, 200, "b")
    assert choose_pair([A, B], None, None, 200, "b").new == "b"
    assert choose_pair([A, B], None, "a", 200, "c").new == "a"


def log_of(predicted: dict[str, list[float]], confidence: float | None = 0.9) -> FakePredictionLog:
    """A log of versions, whose requests are named by version and number."""
    log = FakePredictionLog()
    for version, values in predicted.items():
        rows = [
            LoggedPrediction(f"{version}{at}", 0, 100.0 + at, at, [20], value, confidence, 0.01)
            for at, value in enumerate(values)
        ]
        log.add(replace(batch_of(*rows), version=version))
    return log


def label_all(log: FakePredictionLog, predicted: dict[str, list[float]], actual: float) -> None:
    """Give every prediction the same label."""
    for version, values in predicted.items():
        labels = [
            LabelledPrediction(f"{version}{at}", 0, value, actual, 0.9, version, 100.0 + at)
            for at, value in enumerate(values)
        ]
        log.label(*labels, at=500.0)


def test_labels_compare_how_often_each_version_is_right() -> None:
    predicted = {"a": [1.0] * 300 + [0.0] * 100, "b": [1.0] * 390 + [0.0] * 10}
    log = log_of(predicted)
    label_all(log, predicted, 1.0)
    found = compare_labels(log, LOAN, PAIR)
    assert (found.old, found.new) == (0.75, 0.975)
    assert (found.old_rows, found.new_rows) == (400, 400)
    assert found.is_certain and found.difference > 0


def test_labels_of_a_regression_compare_errors() -> None:
    predicted = {"a": [3.0] * 100, "b": [2.0] * 100}
    log = log_of(predicted, None)
    label_all(log, predicted, 1.0)
    found = compare_labels(log, replace(LOAN, output=Quantity("rent")), PAIR)
    assert (found.old, found.new) == (-2, -1)


def test_values_of_the_business_are_joined_by_request() -> None:
    predicted = {"a": [0.0] * 200, "b": [1.0] * 200, "c": [1.0] * 5}
    log, rng = log_of(predicted), np.random.default_rng(0)
    names = [f"{version}{at}" for version, values in predicted.items() for at in range(len(values))]
    values = [*rng.normal(5, 1, 200), *rng.normal(6, 1, 200), *[99.0] * 5, 1.0, float("nan")]
    table = LabelTable([*names, "unknown", "a0"], None, values)
    spec = replace(LOAN, output=Quantity("revenue"))
    found, unknown = compare_values(log, spec, table, PAIR)
    assert unknown == 1
    assert found.old == pytest.approx(np.mean(values[:200]))
    assert found.new == pytest.approx(np.mean(values[200:400])) and found.is_certain
    assert compare_values(log, spec, table, replace(PAIR, until=150))[0].old_rows == 50
    assert compare_values(log, spec, LabelTable([], None, []), PAIR)[0].old_rows == 0


def test_a_value_that_is_not_a_number_is_refused() -> None:
    spec = replace(LOAN, output=Quantity("revenue"))
    with pytest.raises(InputError, match="row 0"):
        compare_values(log_of({}), spec, LabelTable(["a0"], None, ["much"]), PAIR)
