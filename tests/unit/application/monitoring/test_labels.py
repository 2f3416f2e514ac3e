"""Labels in bulk; what they record is compared with pandas in tests/unit/test_labels_join.py."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from application.monitoring import labels
from application.monitoring.export import Contracts
from application.monitoring.labels import LabelImport, LabelTable, import_labels
from application.ports.prediction_log import LabelCounts
from domain.contract import Classes, ModelSpec, Number, Quantity, Transcript
from domain.errors import InputError, PredictionLogError
from tests import petals
from tests.fakes import SETOSA, VIRGINICA, FakePredictionLog, batch_of, logged_prediction

RENT = ModelSpec("rent", (Number("area", "m²", 0, 500),), Quantity("rent", "EUR", decimal=","))
CHURN = ModelSpec("churn", (Number("age", "", 0, 120),), Classes(("no", "yes"), "churned"))
NUMBERED = ModelSpec("grades", (Number("age", "", 0, 120),), Classes(("1", "2", "true"), "grade"))


@pytest.fixture(name="log")
def _log() -> FakePredictionLog:
    """A request of two rows, whose IDs are o1 and 7, and a later request for o1."""
    log = FakePredictionLog()
    rows = [logged_prediction("r1", SETOSA, row=row, at=100.0) for row in (0, 1)]
    log.add(batch_of(*rows, ids={0: "o1", 1: "7"}))
    log.add(batch_of(logged_prediction("r2", VIRGINICA, at=200.0), ids={0: "o1"}))
    return log


def actual(log: FakePredictionLog) -> dict[tuple[str, int], float]:
    """The labels on record."""
    return {key: label.actual for key, (_, label) in log.labels.items()}


def test_labels_are_joined_by_request_id_and_row(log: FakePredictionLog) -> None:
    table = LabelTable(["r1", "r2", "r1"], [1, 0.0, None], ["virginica", "setosa", "versicolor"])
    assert import_labels(log, Contracts({}, petals.SPEC), table) == LabelImport(
        3, 3, 0, (), counts=LabelCounts(new=3)
    )
    assert actual(log) == {("r1", 0): 1, ("r1", 1): 2, ("r2", 0): 0}
    _, label = log.labels["r2", 0]
    assert (label.predicted, label.made) == (2, 200.0)


def test_without_a_column_of_rows_each_label_is_of_the_first_row(log: FakePredictionLog) -> None:
    import_labels(
        log, Contracts({}, petals.SPEC), LabelTable(["r1", "r2"], None, ["setosa", "setosa"])
    )
    assert actual(log) == {("r1", 0): 0, ("r2", 0): 0}


def test_an_id_labels_the_latest_prediction_for_it(log: FakePredictionLog) -> None:
    table = LabelTable(["o1", 7, "7 "], None, ["setosa", "versicolor", "setosa"], by_id=True)
    assert import_labels(log, Contracts({}, petals.SPEC), table) == LabelImport(
        2, 2, 0, (2,), counts=LabelCounts(new=2)
    )
    assert actual(log) == {("r2", 0): 0, ("r1", 1): 1}


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_the_last_of_several_labels_for_a_prediction_counts(
    log: FakePredictionLog, monkeypatch: pytest.MonkeyPatch, by_id: bool, most: int
) -> None:
    monkeypatch.setattr(labels, "_LABELS_PER_SEARCH", most)
    monkeypatch.setattr(labels, "_LABELS_PER_WRITE", max(1, most // 2))
    names = ["7", "x", "7", "o1", "x", "7"] if by_id else ["r1", "x", "r1", "r2", "x", "r1"]
    values = ["setosa", "setosa", "virginica", "setosa", "setosa", "versicolor"]
    done: list[tuple[int, int]] = []
    table = LabelTable(names, None, values, by_id)
    imported = import_labels(
        log, Contracts({}, petals.SPEC), table, lambda *counts: done.append(counts)
    )
    assert imported == LabelImport(4, 2, 0, (1, 4), counts=LabelCounts(new=2))
    assert sorted(actual(log).values()) == [0, 1]
    assert done[-1] == (3, 3)
    assert done == sorted(set(done))


def test_rows_without_a_value_are_counted_and_skipped(log: FakePredictionLog) -> None:
    values = [None, "", " NA", float("nan"), "setosa"]
    table = LabelTable(["r1"] * 5, None, values)
    assert import_labels(log, Contracts({}, petals.SPEC), table) == LabelImport(
        1, 1, 4, (), counts=LabelCounts(new=1)
    )
    assert actual(log) == {("r1", 0): 0}


def test_new_corrected_and_unchanged_labels_are_counted(log: FakePredictionLog) -> None:
    for words, counts in (
        (["setosa", "setosa"], LabelCounts(new=2)),
        (["setosa", "setosa"], LabelCounts(unchanged=2)),
        (["setosa", "virginica"], LabelCounts(corrected=1, unchanged=1)),
    ):
        table = LabelTable(["r1", "r2"], None, words)
        assert import_labels(log, Contracts({}, petals.SPEC), table).counts == counts


def test_an_empty_table_has_no_labels(log: FakePredictionLog) -> None:
    assert import_labels(log, Contracts({}, petals.SPEC), LabelTable([], None, [])) == LabelImport(
        0, 0, 0, ()
    )


@pytest.mark.parametrize(
    ("spec", "value", "number"),
    [
        (petals.SPEC, "virginica", 2),
        (petals.SPEC, 2, 2),
        (petals.SPEC, 2.0, 2),  # pandas' integers next to a missing value
        (petals.SPEC, "2", 2),
        (CHURN, " yes ", 1),
        (NUMBERED, 1.0, 0),
        (NUMBERED, "2", 1),
        (NUMBERED, True, 2),
        (RENT, 12.5, 12.5),
        (RENT, "1.234,50 €", 1234.5),
    ],
)
def test_values_are_read_as_classes_or_numbers(
    log: FakePredictionLog, spec: ModelSpec, value: Any, number: float
) -> None:
    import_labels(log, Contracts({}, spec), LabelTable(["r1"], None, [value]))
    assert actual(log) == {("r1", 0): number}


@pytest.mark.parametrize(
    ("spec", "table", "message"),
    [
        (petals.SPEC, (["r1"], None, ["rose"]), "row 1, actual: 'rose' is not one of setosa"),
        (petals.SPEC, (["r1"], None, [3]), "actual: 3 is not one of"),
        (petals.SPEC, (["r1"], None, [True]), "actual: true is not one of"),
        (NUMBERED, (["r1"], None, ["3"]), "actual: 3 is not one of 1, 2, true"),
        (RENT, (["r1"], None, ["much"]), "actual: 'much' is not a finite number"),
        (RENT, (["r1"], None, [float("inf")]), "actual: inf is not a finite number"),
        (petals.SPEC, (["r1"], [-1], ["setosa"]), "row: -1 is not a position in a request"),
        (petals.SPEC, (["r1"], [0.5], ["setosa"]), "row: 0.5 is not a position"),
        (petals.SPEC, (["r1"], ["x"], ["setosa"]), "row: 'x' is not a position"),
        (petals.SPEC, ([None], None, ["setosa"]), "request_id: missing"),
        (petals.SPEC, ([None], None, ["setosa"], True), "id: missing"),
        (petals.SPEC, ([1.5], None, ["setosa"], True), "id: 1.5 is not an ID"),
    ],
)
def test_an_invalid_row_is_named_and_nothing_is_recorded(
    log: FakePredictionLog, spec: ModelSpec, table: tuple[Any, ...], message: str
) -> None:
    names, rows, values, *by_id = table
    valid = {"petals": "setosa", "grades": "1", "rent": 1}[spec.name]
    with pytest.raises(InputError, match=re.escape(message)) as found:
        import_labels(
            log,
            Contracts({}, spec),
            LabelTable(["r1", *names], rows and [0, *rows], [valid, *values], *by_id),
        )
    assert "nothing was recorded: 1 of 2 rows is invalid (the first row is 0): row 1, " in str(
        found.value
    )
    assert not log.labels


@pytest.mark.parametrize(("first", "counted"), [(2, "the header is row 1"), (1, "first row is 1")])
def test_an_invalid_row_is_named_as_in_its_file(
    log: FakePredictionLog, first: int, counted: str
) -> None:
    table = LabelTable(["r1", "r2"], None, ["setosa", "rose"], column="species", first_row=first)
    with pytest.raises(InputError, match=f"{counted}.: row {first + 1}, species: 'rose' is not"):
        import_labels(log, Contracts({}, petals.SPEC), table)


def test_many_invalid_rows_are_counted(log: FakePredictionLog) -> None:
    with pytest.raises(InputError, match="7 of 7 rows are invalid.*row 4, .*; and 2 more$"):
        import_labels(log, Contracts({}, petals.SPEC), LabelTable(["r1"] * 7, None, ["rose"] * 7))


@pytest.mark.parametrize("version", ["gone", None])
def test_a_class_has_the_number_of_the_version_that_made_the_prediction(
    version: str | None,
) -> None:
    old = replace(CHURN, output=Classes(("cat", "dog"), "animal"))
    new = replace(CHURN, output=Classes(("bird", "cat", "dog"), "animal"))
    log = FakePredictionLog()
    for name, made_by in (("old", "1"), ("new", "2"), ("other", version)):
        rows = [logged_prediction(name, SETOSA, row=row) for row in range(3)]
        log.add(replace(batch_of(*rows), version=made_by))
    names, rows = ["old"] * 3 + ["new"] * 3 + ["other"], [0, 1, 2] * 2 + [0]
    words = ["cat", "dog", "bird"] * 2 + ["cat"]
    contracts = Contracts({"1": old, "2": new}, new)
    found = import_labels(log, contracts, LabelTable(names, rows, words))
    assert found == LabelImport(6, 6, 0, (), (2,), LabelCounts(new=6))
    assert actual(log) == {
        **{("old", 0): 0, ("old", 1): 1},
        **{("new", 0): 1, ("new", 1): 2, ("new", 2): 0, ("other", 0): 1},
    }
    with pytest.raises(InputError, match="'fish' is not one of bird, cat, dog"):
        import_labels(log, contracts, LabelTable(["old"], None, ["fish"]))
    # a number is that of the class in the version of the prediction
    table = LabelTable(["old", "new", "old"], [1, 1, 2], [0, 0, 2])
    assert import_labels(log, contracts, table).other_class == (2,)
    assert (actual(log)["old", 1], actual(log)["new", 1]) == (0, 0)


def test_a_model_of_recordings_has_no_labels(log: FakePredictionLog) -> None:
    spec = ModelSpec("speech", petals.SPEC.inputs, Transcript())
    with pytest.raises(InputError, match="speech takes recordings"):
        import_labels(log, Contracts({}, spec), LabelTable(["r1"], None, ["hello"]))


def test_labels_are_committed_before_they_are_reported(log: FakePredictionLog) -> None:
    recorded: list[object] = []

    class Failing(FakePredictionLog):
        """Records nothing."""

        def label(self, *labelled: Any, at: float) -> LabelCounts:
            raise PredictionLogError("busy")

    failing = Failing()
    failing.predictions = log.predictions
    with pytest.raises(PredictionLogError):
        table = LabelTable(["r1"], None, ["setosa"])
        import_labels(
            failing, Contracts({}, petals.SPEC), table, lambda *counts: recorded.append(counts)
        )
    assert not recorded
