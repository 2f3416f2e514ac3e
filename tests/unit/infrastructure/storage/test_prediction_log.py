"""The prediction log on SQLite: identity, labels, totals, and several writers at once."""

# pylint: disable=too-many-lines

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from application.ports.prediction_log import (
    LabelledPrediction,
    LiveErrors,
    LoggedPrediction,
    Traffic,
    VersionTraffic,
)
from domain.errors import PredictionLogError
from infrastructure.storage import prediction_log
from infrastructure.storage.prediction_log import SqlPredictionLog
from shared.paths import ROOT
from shared.request_id import new_request_id
from tests.fakes import SETOSA, FakePredictionLog, batch_of, logged_prediction

NOW = time.time()
HOUR = 3600.0
DAY = 24 * HOUR
INPUTS = [5.0, 3.5, 1.25, 0.125]  # exact in float32
IDENTITY = 2**64 - 3
LATENCY = 0.0009765625
ORDINARY = LoggedPrediction("r1", 0, NOW, IDENTITY, INPUTS, 0.0, 0.875, LATENCY)
Open = Callable[..., SqlPredictionLog]


@pytest.fixture(name="open_log")
def _open_log(tmp_path: Path) -> Iterator[Open]:
    """Opens the same database at each call of `open_log(model)`."""
    opened: list[SqlPredictionLog] = []

    def open_log(model: str = "iris", **more: Any) -> SqlPredictionLog:
        opened.append(SqlPredictionLog(f"sqlite:///{tmp_path}/new/log.db", model, **more))
        return opened[-1]

    yield open_log
    for log in opened:
        log.close()


@pytest.fixture(name="log")
def _log(open_log: Open) -> SqlPredictionLog:
    return open_log()


def prediction(request_id: str = "r1", row: int = 0, **more: object) -> LoggedPrediction:
    """A logged prediction, with these fields changed."""
    return replace(ORDINARY, request_id=request_id, row=row, **more)  # type: ignore[arg-type]


def add(log: SqlPredictionLog, *predictions: LoggedPrediction) -> None:
    """Add them as one batch."""
    log.add(batch_of(*predictions))


def identity_of(at: float) -> str:
    """A request ID as services create it at this time."""
    return f"{int(at * 1000):012x}{new_request_id()[12:]}"


# find by request ID


def test_a_prediction_is_found_by_request_and_row_as_it_was_added(log: SqlPredictionLog) -> None:
    entries = [
        prediction("r1", 0),
        prediction("r1", 1, predicted=2.0, confidence=0.5, identity=0),
        prediction("r2", 0, at=NOW + 1.5, latency=0.5),
    ]
    add(log, *entries)
    for entry in entries:
        assert log.find(entry.request_id, entry.row) == entry


@pytest.mark.parametrize("made", ["by the service", "by the caller"])
def test_a_prediction_is_found_among_many_whoever_named_it(
    log: SqlPredictionLog, made: str
) -> None:
    name = identity_of if made == "by the service" else "at-{:f}".format
    made_at = {name(at): at for at in (NOW - 7 * DAY, NOW - DAY, NOW - 61, NOW - 1, NOW)}
    entries = [
        prediction(request_id, row, at=at + 0.5)
        for request_id, at in made_at.items()
        for row in range(3)
    ]
    for place in range(0, len(entries), 6):
        add(log, *entries[place : place + 6])
    for entry in entries:
        assert log.find(entry.request_id, entry.row) == entry
        assert log.find(entry.request_id, 3) is None
    assert log.find(name(NOW - 2), 0) is None


@pytest.mark.parametrize("late", [-5.0, 0.0, HOUR - 1, HOUR + 1, 2 * DAY])
def test_a_prediction_is_found_despite_a_late_or_early_clock(
    log: SqlPredictionLog, late: float
) -> None:
    """A clock may be set back, and a client may reuse a request ID of a service."""
    request_id = identity_of(NOW)
    add(log, prediction("before", at=NOW - DAY), prediction(request_id, at=NOW + late))
    found = log.find(request_id, 0)
    assert found is not None and found.at == NOW + late


@pytest.mark.parametrize(
    ("request_id", "row"), [("r1", 1), ("r2", 0), ("", 0), ("r1", -1), ("r1", 2**70)]
)
def test_a_prediction_that_was_never_made_is_not_found(
    log: SqlPredictionLog, request_id: str, row: int
) -> None:
    add(log, prediction("r1", 0))
    assert log.find(request_id, row) is None


@pytest.mark.parametrize(
    "other", ["r", "1", "R1-Abc", "r1-ab", "1-abc", "r_-abc", "r%", "%", "_1-abc", "r1-abc\nr2"]
)
def test_only_the_whole_identity_in_its_own_letters_is_the_one(
    log: SqlPredictionLog, other: str
) -> None:
    add(log, prediction("r1-abc"), prediction("r2"), prediction("r1-abcd"))
    assert log.find(other, 0) is None
    assert log.find("r1-abc", 0) is not None


@pytest.mark.parametrize("kept", ["a_b", "a%b", "a\\b", "a/b", "' OR 1=1 --", "AbC"])
def test_an_identity_is_neither_a_pattern_nor_sql(log: SqlPredictionLog, kept: str) -> None:
    add(log, prediction("axb"), prediction("abc"))
    assert log.find(kept, 0) is None
    add(log, prediction(kept))
    found = log.find(kept, 0)
    assert found is not None and found.request_id == kept


def test_of_predictions_with_one_identity_the_latest_is_found(log: SqlPredictionLog) -> None:
    add(log, prediction("r1", at=NOW, predicted=1.0))
    add(log, prediction("r1", at=NOW, predicted=2.0), prediction("r1", at=NOW, predicted=3.0))
    add(log, prediction("r2", at=NOW))
    found = log.find("r1", 0)
    assert found is not None and found.predicted == 3


def test_a_row_missing_in_the_latest_request_of_an_id_is_found_in_an_earlier_one(
    log: SqlPredictionLog,
) -> None:
    add(log, prediction("r1", 0), prediction("r1", 1, predicted=2.0))
    add(log, prediction("r1", 0))
    found = log.find("r1", 1)
    assert found is not None and found.predicted == 2


def test_only_predictions_since_a_time_are_searched(log: SqlPredictionLog) -> None:
    for request_id in ("r1", identity_of(NOW)):
        add(log, prediction(request_id, at=NOW))
        assert log.find(request_id, 0, NOW) is not None
        assert log.find(request_id, 0, NOW + 1) is None
    assert log.find_unlabelled(IDENTITY, 0, NOW) is not None
    assert log.find_unlabelled(IDENTITY, 0, NOW + 1) is None


def test_float32_inputs_come_back_bit_by_bit(log: SqlPredictionLog) -> None:
    inputs = np.array([5.1, np.nextafter(np.float32(1.4), np.float32(2)), 0.1, 1e-8], np.float32)
    add(log, prediction(inputs=inputs.tolist()))
    assert log.recent(1)[0].astype(np.float32).tobytes() == inputs.tobytes()


def test_missing_inputs_and_a_missing_confidence_come_back_as_such(log: SqlPredictionLog) -> None:
    add(log, prediction(inputs=[float("nan"), 2.0], confidence=None, predicted=300.5))
    found = log.find("r1", 0)
    assert found is not None and (found.confidence, found.predicted) == (None, 300.5)
    assert np.isnan(found.inputs[0]) and found.inputs[1] == 2
    inputs, predicted = log.recent(1)
    np.testing.assert_array_equal(inputs, [[np.nan, 2]])
    assert predicted.tolist() == [300.5]
    assert log.traffic(0).mean_confidence is None


def test_a_prediction_is_found_with_the_version_that_made_it(open_log: Open) -> None:
    for version in ("1", "2", None):
        add(open_log(version=version), prediction(f"of {version}"))
    log = open_log(version="3")
    for version in ("1", "2", None):
        found = log.find(f"of {version}", 0)
        assert found and found.version == version


def test_version_environment_and_callers_of_a_batch_are_stored(
    open_log: Open, tmp_path: Path
) -> None:
    log = open_log(version="1.0.0-a", environment="staging")
    log.add(replace(batch_of(*map(prediction, ("r1", "r2", "r3"))), callers=["shop", None, "till"]))
    log.add(replace(batch_of(prediction("r4")), version="0.9", environment="production"))
    open_log().add(batch_of(prediction("r5")))
    with closing(sqlite3.connect(tmp_path / "new/log.db")) as database:
        query = "SELECT version, environment, callers FROM prediction_batches ORDER BY id"
        assert database.execute(query).fetchall() == [
            ("1.0.0-a", "staging", "shop\n\ntill"),
            ("0.9", "production", None),
            (None, None, None),
        ]


# find by inputs


def test_the_classes_of_a_version_are_on_record_once_its_service_has_opened_the_log(
    log: SqlPredictionLog, open_log: Open
) -> None:
    assert log.classes_of("1") is None
    for version, classes in (("1", ["cat", "dog"]), ("2", ["bird", "cat"]), ("1", ["cat", "dog"])):
        assert open_log(version=version, classes=classes).classes_of(version) == classes
    assert (log.classes_of("1"), log.classes_of("2")) == (["cat", "dog"], ["bird", "cat"])
    assert log.classes_of("3") is None and open_log("wine").classes_of("1") is None


def test_the_latest_of_equal_predictions_is_found_by_its_inputs(log: SqlPredictionLog) -> None:
    add(log, prediction("r1"), prediction("r2"), prediction("r2", 1), prediction("r3", predicted=1))
    found = log.find_unlabelled(IDENTITY, 0)
    assert found is not None and (found.request_id, found.row) == ("r2", 1)


def test_a_labelled_prediction_is_not_found_again_by_its_inputs(log: SqlPredictionLog) -> None:
    add(log, prediction("r1"), prediction("r1", 1))
    add(log, prediction("r2", 0, identity=7), prediction("r2", 1))
    for expected in (("r2", 1), ("r1", 1), ("r1", 0)):
        found = log.find_unlabelled(IDENTITY, 0)
        assert found is not None and (found.request_id, found.row) == expected
        log.label(LabelledPrediction(*expected, 0, 0), at=NOW)
    assert log.find_unlabelled(IDENTITY, 0) is None


@pytest.mark.parametrize(
    ("identity", "predicted"), [(IDENTITY - 1, 0), (0, 0), (IDENTITY, 1), (IDENTITY, 0.001)]
)
def test_other_inputs_or_another_class_are_not_found(
    log: SqlPredictionLog, identity: int, predicted: float
) -> None:
    add(log, prediction())
    assert log.find_unlabelled(identity, predicted) is None


def test_a_label_of_another_row_leaves_a_prediction_unlabelled(log: SqlPredictionLog) -> None:
    add(log, prediction("r1", 0))
    log.label(LabelledPrediction("r1", 1, 0, 0), at=NOW)
    log.label(LabelledPrediction("r2", 0, 0, 0), at=NOW)
    assert log.find_unlabelled(IDENTITY, 0) is not None


def test_a_value_is_found_as_it_was_returned_and_rounded(log: SqlPredictionLog) -> None:
    value = float(np.float32(151.23456))
    add(log, prediction(predicted=value, confidence=None))
    for rounded in (value, 151.2346, np.float32(151.23456).item()):
        assert log.find_unlabelled(IDENTITY, rounded) is not None
    assert log.find_unlabelled(IDENTITY, 151.3) is None


# labels


def replaced(folder: Path) -> list[tuple[Any, ...]]:
    """The labels that others have replaced."""
    with closing(sqlite3.connect(folder / "new/log.db")) as database:
        query = "SELECT model, request_id, row, at, actual, replaced_at FROM replaced_labels"
        return database.execute(f"{query} ORDER BY id").fetchall()


def test_a_corrected_label_replaces_the_previous_one_which_stays_on_record(
    log: SqlPredictionLog, tmp_path: Path
) -> None:
    for actual in (1, 2, 0):
        log.label(LabelledPrediction("r1", 0, 0, actual), at=NOW + actual)
    log.label(LabelledPrediction("r1", 1, 0, 1), at=NOW)
    assert log.confusion(0) == {(0, 0): 1, (0, 1): 1}
    assert replaced(tmp_path) == [
        ("iris", "r1", 0, NOW + 1, 1, NOW + 2),
        ("iris", "r1", 0, NOW + 2, 2, NOW),
    ]


def test_the_same_label_again_changes_nothing(log: SqlPredictionLog, tmp_path: Path) -> None:
    for at in (NOW, NOW + 100):
        log.label(LabelledPrediction("r1", 0, 0, 1), at=at)
    assert log.confusion(NOW) == {(0, 1): 1}
    assert not log.confusion(NOW + 1)
    assert not replaced(tmp_path)


def test_many_labels_are_recorded_in_order_as_one_by_one(
    log: SqlPredictionLog, open_log: Open, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    labels = [
        LabelledPrediction(f"r{request}", row, 0, float(actual))
        for request, row, actual in generator.integers(0, (40, 2, 3), (400, 3)).tolist()
    ]
    one_by_one = open_log("one by one")
    counts = [one_by_one.label(label, at=NOW) for label in labels]
    assert log.label(*labels, at=NOW) == tuple(map(sum, zip(*counts)))
    assert log.confusion(0) == one_by_one.confusion(0)
    history = {name: [] for name in ("iris", "one by one")}  # type: dict[str, list[Any]]
    for model, *row in replaced(tmp_path):
        history[model].append(row)
    assert len(history["iris"]) > 100
    key = itemgetter(0, 1)
    assert sorted(history["iris"], key=key) == sorted(history["one by one"], key=key)


def test_labels_are_all_recorded_or_none(log: SqlPredictionLog) -> None:
    wrong = LabelledPrediction("r2", 0, 0, None)  # type: ignore[arg-type]
    with pytest.raises(sa.exc.IntegrityError):
        log.label(LabelledPrediction("r1", 0, 0, 1), wrong, at=NOW)
    assert not log.confusion(0)


def test_no_labels_are_no_work(log: SqlPredictionLog) -> None:
    log.label(at=NOW)
    assert not log.confusion(0)


def test_confusion_counts_pairs_labelled_since_a_time(log: SqlPredictionLog) -> None:
    for row, (predicted, actual, at) in enumerate(
        [(0, 0, NOW), (0, 0, NOW), (1, 2, NOW), (2, 2, NOW - 100)]
    ):
        log.label(LabelledPrediction("r1", row, predicted, actual), at=at)
    assert log.confusion(NOW - 1) == {(0, 0): 2, (1, 2): 1}
    assert log.confusion(NOW - 101) == {(0, 0): 2, (1, 2): 1, (2, 2): 1}
    assert log.confusion(NOW + 1) == {}


def test_labels_are_returned_latest_first_with_the_confidence(log: SqlPredictionLog) -> None:
    for row, (confidence, at) in enumerate([(0.9, 30.0), (None, 10.0), (0.7, 20.0)]):
        log.label(LabelledPrediction("a", row, 1, row, confidence), at=at)
    assert log.labelled(15.0, 5).tolist() == [[1, 0, 0.9], [1, 2, 0.7]]
    assert log.labelled(0.0, 1).tolist() == [[1, 0, 0.9]]
    assert np.isnan(log.labelled(0.0, 5)[2, 2])
    assert log.labelled(40.0, 5).shape == (0, 3)


def test_labels_of_an_older_layout_are_kept(tmp_path: Path, open_log: Open) -> None:
    log = open_log()
    log.label(LabelledPrediction("a", 0, 1, 0, 0.9), at=NOW)
    log.close()
    with closing(sqlite3.connect(tmp_path / "new" / "log.db")) as database:
        database.execute("ALTER TABLE labelled_rows DROP COLUMN confidence")
    again = open_log()
    again.label(LabelledPrediction("b", 0, 1, 1, 0.8), at=NOW + 1)
    assert again.labelled(0.0, 5).tolist()[0] == [1, 1, 0.8]
    assert again.confusion(0.0) == {(1, 0): 1, (1, 1): 1}


def test_errors_are_those_of_the_values_labelled_since_a_time(log: SqlPredictionLog) -> None:
    for row, (predicted, actual, at) in enumerate(
        [(300.0, 310.0, NOW), (200.0, 170.0, NOW), (5.0, 500.0, NOW - 100)]
    ):
        log.label(LabelledPrediction("r1", row, predicted, actual), at=at)
    assert log.errors(NOW - 1) == LiveErrors(2, 20.0, pytest.approx(500**0.5))
    assert log.errors(NOW + 1) is None


# totals


def test_traffic_totals_predictions_since_a_time(log: SqlPredictionLog) -> None:
    add(
        log,
        prediction("r1", 0, confidence=0.5, latency=0.002),
        prediction("r1", 1, confidence=0.75, latency=0.002),
        prediction("r2", 0, confidence=1.0, latency=0.005, predicted=2),
        prediction("old", 0, confidence=0.1, latency=9.0, at=NOW - 100, predicted=7),
    )
    traffic = log.traffic(NOW - 1)
    assert traffic.predictions == 3
    assert traffic.mean_confidence == 0.75
    assert traffic.mean_latency == pytest.approx(0.003)
    assert traffic.mean_predicted == pytest.approx(2 / 3)
    assert (traffic.smallest_predicted, traffic.largest_predicted) == (0, 2)
    assert log.by_class(NOW - 1) == {0: 2, 2: 1}
    assert log.by_class(NOW + 1) == {}
    assert log.traffic(0).predictions == 4


def test_totals_are_exact_for_a_time_within_a_batch(log: SqlPredictionLog) -> None:
    entries = [
        prediction(f"r{number}", row, at=NOW + number, predicted=number % 4)
        for number in range(60)
        for row in range(1 + number % 3)
    ]
    for place in range(0, len(entries), 12):
        add(log, *entries[place : place + 12])
    for number in (0, 1, 17, 30, 59, 60):
        fresh = [entry for entry in entries if entry.at >= NOW + number]
        assert log.traffic(NOW + number).predictions == len(fresh)
        counted = {code: [e.predicted for e in fresh].count(code) for code in range(4)}
        assert log.by_class(NOW + number) == {c: n for c, n in counted.items() if n}


def test_totals_go_over_more_batches_than_are_read_at_once(log: SqlPredictionLog) -> None:
    for number in range(120):
        add(log, prediction(f"r{number}", at=NOW + number), prediction(f"s{number}"))
    assert log.traffic(0).predictions == 240
    assert len(log.recent(1000)[0]) == 240
    found = log.find("r0", 0)
    assert found is not None and found.at == NOW


def test_no_traffic_has_no_means(log: SqlPredictionLog) -> None:
    assert log.traffic(0) == Traffic(0, None, None, None, None, None)


@pytest.mark.parametrize("version", ["1", "2", None])
def test_totals_and_labels_are_of_a_period_and_a_version(
    open_log: Open, version: str | None
) -> None:
    fake = FakePredictionLog()
    for number in range(30):
        made_by = "12"[number % 2]
        rows = [
            prediction(f"{number}-{step}", at=NOW + number + step, predicted=number % 3)
            for step in range(4)
        ]
        labels = [
            LabelledPrediction(row.request_id, 0, row.predicted, 1, 0.5, made_by, row.at)
            for row in rows[: number % 5]
        ]
        batch = replace(batch_of(*rows), version=made_by)
        for log in (open_log(), fake):
            log.add(batch)
            log.label(*labels, at=NOW + 100 + number)
    log = open_log()
    for since, until in ((NOW, NOW + 20), (NOW + 7, NOW + 8), (NOW + 9.5, None), (NOW, NOW)):
        period = (since, until, version)
        assert vars(log.traffic(*period)) == pytest.approx(vars(fake.traffic(*period)))
        assert log.by_class(*period) == fake.by_class(*period)
        assert log.versions(since, until) == fake.versions(since, until)
        late = (since + 100, None if until is None else until + 100, version)
        assert log.confusion(*late) == fake.confusion(*late)
        assert log.errors(*late) == fake.errors(*late)
        some = (late[0], 5, *late[1:])
        assert len(log.labelled(*some)) == len(fake.labelled(*some))
        made = (since, 7, *period[1:])
        assert len(log.confidences(*made)) == len(fake.confidences(*made))


def test_versions_have_their_predictions_labels_and_times(open_log: Open) -> None:
    open_log(version="2").add(batch_of(prediction("b", at=NOW), prediction("b", 1, at=NOW)))
    open_log(version="1").add(batch_of(prediction("a", at=NOW - 5), prediction("c", at=NOW + 1)))
    open_log().add(batch_of(prediction("old", at=NOW - 9)))
    log = open_log()
    log.label(LabelledPrediction("b", 1, 0, 0, None, "2", NOW), at=NOW)
    log.label(LabelledPrediction("not in the log", 0, 0, 0), at=NOW)
    assert log.versions(NOW - 9) == [
        VersionTraffic(None, 1, 0, NOW - 9, NOW - 9),
        VersionTraffic("1", 2, 0, NOW - 5, NOW + 1),
        VersionTraffic("2", 2, 1, NOW, NOW),
    ]
    assert log.versions(NOW - 1, NOW + 1) == [VersionTraffic("2", 2, 1, NOW, NOW)]
    assert not log.versions(NOW + 2)


# totals by minute, hour and day


def as_an_older_version(folder: Path) -> None:
    """Make what is in the log as if a version had written it that had no totals."""
    with closing(sqlite3.connect(folder / "new/log.db")) as database:
        for table in ("prediction_batches", "labelled_rows"):
            database.execute(f"UPDATE {table} SET summed = NULL")
        database.execute("UPDATE labelled_rows SET counted = NULL")
        for table in ("prediction_totals", "label_totals", "quality_totals"):
            database.execute(f"DELETE FROM {table}")
        database.commit()


def not_summed(folder: Path) -> int:
    """How many batches and labels are not part of the totals."""
    with closing(sqlite3.connect(folder / "new/log.db")) as database:
        query = "SELECT count(*) FROM {} WHERE {} IS NULL"
        flags = (("prediction_batches", "summed"), ("labelled_rows", "summed + counted"))
        return sum(database.execute(query.format(*flag)).fetchone()[0] for flag in flags)


@pytest.mark.parametrize("older", [0, 5, 11])
def test_totals_over_minutes_hours_and_days_are_those_of_a_log_in_memory(
    open_log: Open, tmp_path: Path, older: int
) -> None:
    fake, log, start = FakePredictionLog(), open_log(), (NOW - HOUR) // DAY * DAY
    for number, at in enumerate((-DAY - 1, -7200, -3600, -61, -60, -1, 0, 59.5, 60, 3599, 3600)):
        version = "12"[number % 2]
        rows = [
            prediction(f"{number}-{step}", at=start + at + step, predicted=(number + step) % 3)
            for step in range(4)
        ]
        labels = [
            LabelledPrediction(row.request_id, 0, row.predicted, 1, 0.5, version, row.at)
            for row in rows[: number % 3]
        ]
        for each in (log, fake):
            each.add(replace(batch_of(*rows), version=version))
            each.label(*labels, at=start + at + 40)
            each.label(*[label._replace(actual=2) for label in labels[:1]], at=start + at + 3605)
        if number + 1 == older:
            as_an_older_version(tmp_path)
    assert bool(not_summed(tmp_path)) == bool(older)
    assert_same_totals(log, fake, start)
    again = open_log()  # which sums what an older version has written
    assert not not_summed(tmp_path)
    assert_same_totals(again, fake, start)


def assert_same_totals(log: SqlPredictionLog, fake: FakePredictionLog, start: float) -> None:
    """Check that both logs have the same totals of periods around some midnight."""
    for since in (0.0, *(start + at for at in (-DAY, -7199, -3600, -59, 0.25, 60, 3599.5))):
        for until in (None, *(start + at for at in (-3600, -58.5, 0, 62, 3602))):
            for version in (None, "1"):
                period = (since, until, version)
                assert vars(log.traffic(*period)) == pytest.approx(vars(fake.traffic(*period)))
                assert log.by_class(*period) == fake.by_class(*period)
                assert log.confusion(*period) == fake.confusion(*period)
                assert log.errors(*period) == fake.errors(*period)
            assert log.versions(since, until) == fake.versions(since, until)


def test_what_an_older_version_writes_is_summed_a_few_at_a_time(
    open_log: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log()
    log.add(*[batch_of(prediction(f"old{n}")) for n in range(25)])
    log.label(LabelledPrediction("old0", 0, 0, 0, made=NOW), at=NOW)
    as_an_older_version(tmp_path)
    monkeypatch.setattr(prediction_log, "_SUMMED_BATCHES", 10)
    again, left = open_log(), []
    for number in range(4):
        left.append(not_summed(tmp_path))
        assert again.traffic(0).predictions == 25 + number
        add(again, prediction(f"new{number}"))
    assert left == [16, 6, 0, 0]
    assert again.versions(0) == [VersionTraffic(None, 29, 1, NOW, NOW)]
    assert again.confusion(0) == {(0, 0): 1}


def test_corrected_labels_are_counted_once(log: SqlPredictionLog) -> None:
    add(log, *[prediction(f"r{n}", at=NOW - n * DAY) for n in range(3)])
    for actual in (0.0, 1.0, 1.0, 2.0):
        log.label(LabelledPrediction("r0", 0, 0, actual, made=NOW), at=NOW)
        log.label(LabelledPrediction("r1", 0, 0, actual, made=NOW - DAY), at=NOW)
    assert [log.versions(NOW - at)[0].labelled for at in (0, DAY, 2 * DAY)] == [1, 2, 2]
    log.label(LabelledPrediction("r1", 0, 0, 5.0, made=NOW), at=NOW)  # of a later prediction
    assert [log.versions(NOW - at)[0].labelled for at in (0, DAY)] == [2, 2]


def test_totals_are_removed_with_their_predictions(open_log: Open, tmp_path: Path) -> None:
    days, start = range(10), (NOW - HOUR) // DAY * DAY
    log = open_log()
    for day in days:
        for hour in (0, 1):
            at = start - day * DAY + hour * HOUR
            add(log, prediction(f"r{day}-{hour}", at=at))
            log.label(LabelledPrediction(f"r{day}-{hour}", 0, 0, 0, made=at), at=at)
    kept = (NOW - start + 6 * DAY + 30) / DAY  # until between the two of a day
    for again in (open_log(retention_days=kept - HOUR / 2 / DAY), open_log()):
        assert again.traffic(0).predictions == sum(again.by_class(0).values()) == 13
        assert again.versions(0)[0].labelled == again.versions(0)[0].predictions == 13
    with closing(sqlite3.connect(tmp_path / "new/log.db")) as database:
        query = "SELECT min(start), count(*) FROM prediction_totals GROUP BY seconds"
        late = start - 6 * DAY + HOUR
        assert database.execute(query).fetchall() == [
            (late, 13),
            (late, 13),
            (start - 5 * DAY, 6),
        ]


def test_a_summary_of_a_large_log_reads_few_batches(log: SqlPredictionLog) -> None:
    """Neither a scan of all batches, nor of those of whole minutes."""
    start = (NOW - HOUR) // DAY * DAY
    for number in range(200):
        add(log, prediction(f"r{number}", at=start - number * 600.5))
    plans: list[str] = []

    def explain(connection: sa.Connection, _cursor: object, sql: str, values: Any, *_: Any) -> None:
        if sql.startswith("SELECT"):
            driver: Any = connection.connection.driver_connection
            plans.append(f"{sql}: {driver.execute(f'EXPLAIN QUERY PLAN {sql}', values).fetchall()}")

    sa.event.listen(sa.Engine, "before_cursor_execute", explain)
    try:
        assert log.traffic(start - 33333.3, start - 3.3).predictions == 55
        assert len(log.versions(start - 33333.3)) == 1
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", explain)
    assert plans and not [plan for plan in plans if "SCAN" in plan]
    on_batches = [plan for plan in plans if "FROM prediction_batches" in plan]
    assert all("until>? AND until<?" in plan or "_not_summed" in plan for plan in on_batches)


# all predictions of a period


def test_confidences_start_with_the_latest_and_are_of_a_period(log: SqlPredictionLog) -> None:
    entries = [
        prediction(f"r{at}", at=NOW + at, predicted=float(at), confidence=at / 16)
        for at in range(12)
    ]
    for start in range(0, 12, 4):
        add(log, *entries[start : start + 4])
    found = log.confidences(NOW + 2, 6, NOW + 9)
    assert found.dtype == np.float64
    assert found.tolist() == [[at, at / 16] for at in range(8, 2, -1)]
    assert len(log.confidences(NOW + 2, 100, NOW + 9)) == 7
    assert log.confidences(NOW, 0).shape == log.confidences(NOW + 99, 9).shape == (0, 2)


def test_values_have_no_confidences(log: SqlPredictionLog) -> None:
    add(log, prediction(confidence=None))
    assert log.confidences(0, 9).shape == (0, 2)


def test_every_batch_of_a_period_is_read_once_in_order(open_log: Open) -> None:
    log = open_log(version="1")
    for number in (*range(0, 200, 2), *range(1, 200, 2)):  # some arrive late
        at = NOW + number // 3  # several at one time
        log.add(batch_of(prediction(f"r{number}", at=at), ids={0: f"id {number}"}))
    open_log(version="2").add(batch_of(prediction("other", at=NOW)))
    open_log("wine").add(batch_of(prediction("other", at=NOW)))
    read = list(log.read(NOW, NOW + 1000, "1"))
    assert {name for batch in read for name in batch.request_ids} == {f"r{n}" for n in range(200)}
    assert len(read) == 200
    assert [batch.at[0] for batch in read] == sorted(batch.at[0] for batch in read)
    assert all(batch.ids == {0: f"id {batch.request_ids[0][1:]}"} for batch in read)
    assert {batch.version for batch in log.read(NOW, NOW + 1)} == {"1", "2"}
    assert len(list(log.read(NOW + 3, NOW + 5, "1"))) == 6
    assert not list(log.read(NOW + 1000, NOW + 2000))


def test_batches_that_partly_belong_to_a_period_are_read(log: SqlPredictionLog) -> None:
    add(log, prediction("a", at=NOW), prediction("b", at=NOW + 10))
    for since, until, found in ((-5, 0, 0), (-5, 1, 1), (3, 7, 1), (10, 11, 1), (11, 20, 0)):
        assert len(list(log.read(NOW + since, NOW + until))) == found


def test_labels_are_found_by_their_requests(open_log: Open) -> None:
    log, names = open_log(), [f"r{number}" for number in range(1200)]
    labels = [LabelledPrediction(name, row, 0, row) for name in names for row in range(2)]
    log.label(*labels, at=NOW)
    open_log("wine").label(LabelledPrediction("r0", 7, 0, 0), at=NOW)
    found = log.labels_of([*names[100:], "unknown"])
    assert found == {(name, row): (row, NOW) for name in names[100:] for row in range(2)}
    assert not log.labels_of([])


# recent predictions


def test_recent_rows_start_with_the_latest(log: SqlPredictionLog) -> None:
    entries = [prediction(row=row, inputs=[row, 0.0], predicted=2.0 * row) for row in range(5)]
    add(log, *entries[:3])
    add(log, *[replace(entry, row=entry.row - 3) for entry in entries[3:]])
    inputs, predicted = log.recent(3)
    assert inputs.dtype == predicted.dtype == np.float64
    assert inputs.tolist() == [[4.0, 0.0], [3.0, 0.0], [2.0, 0.0]]
    assert predicted.tolist() == [8.0, 6.0, 4.0]
    assert log.recent(100)[0].shape == (5, 2)
    assert log.recent(1)[1].tolist() == [8.0]


def test_an_empty_log_has_no_recent_rows(log: SqlPredictionLog) -> None:
    assert [len(part) for part in log.recent(10)] == [0, 0]


def test_inputs_of_a_previous_version_with_other_ones_are_not_recent(log: SqlPredictionLog) -> None:
    add(log, prediction(inputs=[8.0, 9.0]))
    for _ in range(3):
        add(log, prediction(inputs=[1.0], predicted=5))
    add(log, prediction(inputs=[1.0, 2.0]))
    inputs, predicted = log.recent(10)
    assert inputs.tolist() == [[1.0, 2.0], [8.0, 9.0]]
    assert predicted.tolist() == [0, 0]
    assert log.traffic(0).predictions == 5


# sharing


def test_models_in_one_database_do_not_see_each_other(open_log: Open) -> None:
    iris, wine = open_log("iris"), open_log("wine")
    add(iris, prediction("r1"))
    iris.label(LabelledPrediction("r1", 0, 0, 0), at=NOW)
    assert wine.find("r1", 0) is None
    assert wine.traffic(0).predictions == 0
    assert wine.by_class(0) == {}
    assert wine.confusion(0) == {}
    assert len(wine.recent(10)[0]) == 0
    add(wine, prediction("r1"))
    assert wine.find_unlabelled(IDENTITY, 0) is not None  # the label belongs to iris


def test_written_predictions_are_found_after_reopening(open_log: Open) -> None:
    first = open_log()
    add(first, prediction("r1"))
    first.label(LabelledPrediction("r1", 0, 0, 1), at=NOW)
    first.close()
    again = open_log()
    assert again.find("r1", 0) == prediction("r1")
    assert again.confusion(0) == {(0, 1): 1}


def test_batches_older_than_the_retention_are_removed_when_the_log_is_opened(
    open_log: Open,
) -> None:
    log = open_log(retention_days=7)
    add(log, prediction("old", at=NOW - 8 * DAY))
    add(log, prediction("beside a young one", at=NOW - 8 * DAY), prediction("a", at=NOW - 6 * DAY))
    add(log, prediction("young", at=NOW - 6 * DAY))
    log.label(LabelledPrediction("old", 0, 0, 0), at=NOW - 8 * DAY)
    log.label(LabelledPrediction("young", 0, 1, 1), at=NOW - 6 * DAY)
    again = open_log(retention_days=7)
    assert again.find("old", 0) is None
    assert again.find("beside a young one", 0) is not None
    assert again.find("young", 0) is not None
    assert again.confusion(0) == {(1, 1): 1}


def test_by_default_ninety_days_are_kept(open_log: Open) -> None:
    log = open_log()
    add(log, prediction("old", at=NOW - 91 * DAY))
    add(log, prediction("young", at=NOW - 89 * DAY))
    assert open_log().traffic(0).predictions == 1


def test_old_rows_are_removed_a_few_at_a_time_so_that_nobody_waits(
    open_log: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(retention_days=7)
    log.add(*[batch_of(prediction(f"old{n}", at=NOW - 8 * DAY), ids={0: "a"}) for n in range(25)])
    for number in range(15):
        log.label(LabelledPrediction(f"old{number}", 0, 0, 0), at=NOW - 8 * DAY)
    add(log, prediction("young"))
    monkeypatch.setattr(prediction_log, "_OLD_ROWS", 10)
    again = open_log(retention_days=7)
    left = []
    for number in range(5):
        left.append((again.traffic(0).predictions - number, sum(again.confusion(0).values())))
        add(again, prediction(f"new{number}"))
    assert left == [(16, 5), (6, 0), (1, 0), (1, 0), (1, 0)]
    assert again.find_id("a") is None and again.find("young", 0)


# numbered writes


def test_a_numbered_write_is_done_once(open_log: Open) -> None:
    log, other = open_log(), open_log()
    for number in (1, 1, 2, 1, 2, 4):
        log.add(batch_of(prediction(f"r{number}")), writer="a", number=number)
    other.add(batch_of(prediction("r4")), writer="a", number=4)
    other.add(batch_of(prediction("r1 of b")), writer="b", number=1)
    assert log.traffic(0).predictions == 4


def test_a_numbered_write_that_fails_can_be_repeated(log: SqlPredictionLog) -> None:
    write = {"writer": "a", "number": 1}
    with pytest.raises(UnicodeEncodeError):
        log.add(batch_of(prediction("r1")), batch_of(prediction("\ud800")), **write)
    assert log.traffic(0).predictions == 0
    log.add(batch_of(prediction("r1")), **write)
    assert log.traffic(0).predictions == 1


def test_writers_are_forgotten_with_their_predictions(open_log: Open, tmp_path: Path) -> None:
    log = open_log(retention_days=7)
    log.add(batch_of(prediction()), writer="a", number=1)
    with closing(sqlite3.connect(tmp_path / "new/log.db")) as database:
        database.execute("UPDATE prediction_writers SET at = ?", (NOW - 8 * DAY,))
        database.commit()
        open_log(retention_days=7)
        assert not database.execute("SELECT * FROM prediction_writers").fetchall()


# a database that works later


def test_a_database_that_is_locked_at_the_start_is_opened_later(
    open_log: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_log, "_BUSY_SECONDS", 0)
    (tmp_path / "new").mkdir()
    with closing(sqlite3.connect(tmp_path / "new/log.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        log = open_log()
        with pytest.raises(PredictionLogError, match="busy or unavailable: retry later"):
            add(log, prediction())
        other.execute("COMMIT")
    add(log, prediction())
    assert log.find("r1", 0)


def test_threads_that_write_and_label_at_once_lose_nothing(log: SqlPredictionLog) -> None:
    def work(thread: int) -> None:
        for number in range(25):
            request_id = f"t{thread}-{number}"
            add(log, *[prediction(request_id, row) for row in range(4)])
            log.label(LabelledPrediction(request_id, 0, 0, thread), at=NOW)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert log.traffic(0).predictions == 4 * 25 * 4
    assert log.confusion(0) == {(0, thread): 25 for thread in range(4)}


def test_a_new_database_that_another_process_writes_to_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "log.db"
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")  # SQLite then refuses WAL at once, without waiting
        timer = Timer(0.2, other.execute, ["COMMIT"])
        timer.start()
        SqlPredictionLog(f"sqlite:///{file}", "iris").close()
        timer.join()
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_database_is_opened_by_its_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    SqlPredictionLog(f"sqlite:///file:{tmp_path / 'log.db'}?uri=true", "iris").close()
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".db"] == ["log.db"]
    assert not (tmp_path / "file:").exists()


@pytest.mark.parametrize("file", ["", "text", "text/log.db", "read_only.db"])
def test_a_database_that_cannot_be_opened_is_named_with_the_reason(
    tmp_path: Path, file: str
) -> None:
    (tmp_path / "text").write_text("not a database " * 100, encoding="utf-8")
    url = f"sqlite:///{tmp_path / file}"
    if file == "read_only.db":
        SqlPredictionLog(url, "iris").close()
        url = f"sqlite:///file:{tmp_path / file}?mode=ro&uri=true"
    with pytest.raises(PredictionLogError, match=r"^PREDICTION_LOG_URL sqlite:///.+: [^\n]+$"):
        SqlPredictionLog(url, "iris")


def test_a_locked_database_is_reported_and_works_again_when_it_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_log, "_BUSY_SECONDS", 0)
    file = tmp_path / "log.db"
    label = LabelledPrediction("r1", 0, 0, 1)
    with (
        closing(SqlPredictionLog(f"sqlite:///{file}", "iris")) as log,
        closing(sqlite3.connect(file, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        for work in (lambda: log.label(label, at=NOW), lambda: add(log, prediction())):
            with pytest.raises(PredictionLogError, match="busy or unavailable: retry later"):
                work()
        assert not log.confusion(0)
        other.execute("COMMIT")
        log.label(label, at=NOW)
        assert log.confusion(0) == {(0, 1): 1}


WRITER = """
import sys, time
import numpy as np
from application.ports.prediction_log import LabelledPrediction, PredictionBatch
from infrastructure.storage.prediction_log import SqlPredictionLog
url, name = sys.argv[1:]
log = SqlPredictionLog(url, "iris")  # each process creates the tables
one, zero, rows = np.ones(1), np.zeros(1), np.ones(1, int)
for number in range(50):
    at = np.array([time.time()])
    log.add(PredictionBatch([f"{name}-{number}"], rows, at, zero, zero, zero[:, None], zero, one))
    log.label(LabelledPrediction(f"{name}-{number}", 0, 0, 0), at=time.time())
    assert log.find(f"{name}-{number}", 0)
log.close()
"""


def test_processes_that_make_the_database_and_write_at_once_lose_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"

    def write(name: str) -> None:
        command = [sys.executable, "-c", WRITER, url, name]
        subprocess.run(command, cwd=ROOT, check=True, timeout=60)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(write, "abc"))
    with closing(SqlPredictionLog(url, "iris")) as log:
        assert log.traffic(0).predictions == 150
        assert log.confusion(0) == {(0, 0): 150}
        assert all(log.find(f"{name}-{number}", 0) for name in "abc" for number in range(50))


WITHOUT_VERSIONS = """
CREATE TABLE prediction_batches ( id INTEGER NOT NULL, model VARCHAR(200) NOT NULL, since DOUBLE
    NOT NULL, until DOUBLE NOT NULL, predictions INTEGER NOT NULL, total_latency DOUBLE NOT
    NULL, total_predicted DOUBLE NOT NULL, smallest DOUBLE NOT NULL, largest DOUBLE NOT NULL,
    total_confidence DOUBLE, by_class BLOB, request_ids TEXT NOT NULL, rows BLOB NOT NULL, at
    BLOB NOT NULL, latency BLOB NOT NULL, identities BLOB NOT NULL, inputs BLOB NOT NULL,
    predicted BLOB NOT NULL, confidence BLOB, PRIMARY KEY (id));
CREATE INDEX prediction_batches_by_time ON prediction_batches (model, until, id);
CREATE TABLE prediction_ids ( batch INTEGER NOT NULL, position INTEGER NOT NULL, model
    VARCHAR(200) NOT NULL, text VARCHAR(200) NOT NULL, at DOUBLE NOT NULL, PRIMARY KEY (batch,
    position));
CREATE INDEX prediction_ids_by_time ON prediction_ids (at);
CREATE INDEX prediction_ids_by_text ON prediction_ids (model, text, at);
CREATE TABLE labelled_rows ( model VARCHAR(200) NOT NULL, request_id VARCHAR(200) NOT NULL,
    "row" INTEGER NOT NULL, at DOUBLE NOT NULL, predicted DOUBLE NOT NULL, actual DOUBLE NOT
    NULL, confidence DOUBLE, PRIMARY KEY (model, request_id, "row"));
CREATE INDEX labelled_rows_by_time ON labelled_rows (model, at);
"""


def without_versions(file: Path) -> None:
    """Write a database as the project did before it recorded versions, with one batch of two rows
    and one label."""
    record = ("iris", NOW, NOW, 2, 0.5, 2.0, 0.0, 2.0, 1.5, np.array([1, 0, 1], "<u4").tobytes())
    columns = {
        **{"rows": ("<u4", [2]), "at": ("<f8", [NOW]), "latency": ("<f4", [0.25])},
        **{"identities": ("<u8", [3, 4]), "inputs": ("<f4", [1, 2, 3, 4])},
        **{"predicted": ("<f4", [0, 2]), "confidence": ("<f4", [0.5, 1])},
    }
    packed = [np.array(values, kind).tobytes() for kind, values in columns.values()]
    with closing(sqlite3.connect(file)) as database:
        database.executescript(WITHOUT_VERSIONS)
        database.execute(
            "INSERT INTO prediction_batches VALUES (1" + ", ?" * 18 + ")",
            (*record, "\nold\n", *packed),
        )
        database.execute(
            "INSERT INTO labelled_rows VALUES ('iris', 'old', 0, ?, 0, 1, 0.5)", (NOW,)
        )
        database.execute("INSERT INTO prediction_ids VALUES (1, 1, 'iris', 'a', ?)", (NOW,))
        database.commit()


def test_a_database_without_versions_is_extended_and_its_rows_are_of_an_unknown_version(
    tmp_path: Path,
) -> None:
    without_versions(tmp_path / "log.db")
    with closing(SqlPredictionLog(f"sqlite:///{tmp_path}/log.db", "iris", version="2")) as log:
        old = LoggedPrediction("old", 1, NOW, 4, [3.0, 4.0], 2.0, 1.0, 0.25)
        assert log.find("old", 1) == log.find_id("a") == old
        assert log.confusion(0) == {(0, 1): 1}
        add(log, prediction("new"))
        found = log.find("new", 0)
        assert found and found.version == "2"
        assert log.traffic(0).predictions == 3


def test_workers_that_extend_a_database_at_once_do_it_once(tmp_path: Path) -> None:
    without_versions(tmp_path / "log.db")
    url = f"sqlite:///{tmp_path}/log.db"
    with ThreadPoolExecutor(4) as threads:
        for log in threads.map(
            lambda number: SqlPredictionLog(url, "iris", version=number), "1234"
        ):
            add(log, prediction("new"))
            assert log.find("old", 0)
            log.close()


OLDER_LAYOUTS = """
CREATE TABLE predictions (id INTEGER PRIMARY KEY, model, request_id, row, at, inputs, predicted);
CREATE INDEX predictions_by_time ON predictions (model, at);
CREATE INDEX predictions_by_identity ON predictions (model, request_id, row);
CREATE TABLE labels (model, request_id, row, at, predicted, actual);
CREATE INDEX labels_by_time ON labels (model, at);
INSERT INTO predictions VALUES (1, 'iris', 'old', 0, 1.0, '[5.1]', 0);
CREATE TABLE predicted_rows (id INTEGER PRIMARY KEY, model, request_id, row, at, identity, inputs);
CREATE INDEX predicted_rows_by_time ON predicted_rows (model, at);
INSERT INTO predicted_rows VALUES (1, 'iris', 'older', 0, 1.0, '0123456789abcdef', '[5.1]');
"""


def test_tables_of_older_layouts_are_left_as_they_are(open_log: Open, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with closing(sqlite3.connect(tmp_path / "new/log.db")) as database:
        database.executescript(OLDER_LAYOUTS)
    log = open_log()
    add(log, prediction())
    log.label(LabelledPrediction("r1", 0, 0, 1), at=NOW)
    assert log.traffic(0).predictions == 1
    assert log.confusion(0) == {(0, 1): 1}
    with closing(sqlite3.connect(tmp_path / "new/log.db")) as database:
        assert database.execute("SELECT request_id FROM predictions").fetchall() == [("old",)]
        assert database.execute("SELECT request_id FROM predicted_rows").fetchall() == [("older",)]


def test_the_latest_batches_are_found_through_an_index(
    log: SqlPredictionLog, tmp_path: Path
) -> None:
    add(log, prediction())
    with closing(sqlite3.connect(tmp_path / "new/log.db")) as database:
        plan = database.execute(
            "EXPLAIN QUERY PLAN SELECT * FROM prediction_batches WHERE model = ? AND until >= ?",
            ("iris", NOW),
        ).fetchall()
    assert "prediction_batches_by_time" in str(plan)


# find by the ID of a row


def test_the_latest_row_with_an_id_is_found_and_of_one_request_the_last(
    log: SqlPredictionLog,
) -> None:
    rows = [prediction("new", row, at=NOW, predicted=float(row)) for row in range(3)]
    log.add(
        batch_of(*rows, ids={0: "a", 1: "a", 2: "b"}),
        batch_of(prediction("late to the log", at=NOW - 1), ids={0: "a"}),
        batch_of(prediction("without")),
    )
    assert log.find_id("a") == rows[1]
    assert log.find_id("b") == rows[2]
    assert log.traffic(0).predictions == 5
    log.add(batch_of(prediction("newer", at=NOW + 1), ids={0: "a"}))
    assert log.find_id("a") == prediction("newer", at=NOW + 1)
    assert log.find_id("a", until=NOW + 0.9) == log.find_id("a", until=NOW) == rows[1]
    assert log.find_id("a", until=NOW - 2) is None


@pytest.mark.parametrize("text", ["訂單 1", "'; --", "a%", "\u00e9", "x" * 200, "👩‍👩‍👧", "NULL"])
def test_an_id_is_found_by_exactly_its_characters(log: SqlPredictionLog, text: str) -> None:
    log.add(batch_of(prediction("r1"), ids={0: text}))
    assert log.find_id(text) == prediction("r1")
    for other in (f"{text} ", text[:-1], f"{text[:-1]}_", "e\u0301", "nobody", ""):
        assert log.find_id(other) is None


def test_ids_are_compared_with_their_case(log: SqlPredictionLog) -> None:
    log.add(batch_of(prediction("r1"), ids={0: "A"}))
    assert log.find_id("a") is None


def test_ids_of_models_in_one_database_are_apart(open_log: Open) -> None:
    open_log("iris").add(batch_of(prediction("r1"), ids={0: "a"}))
    assert open_log("wine").find_id("a") is None


def test_a_log_of_before_there_were_ids_keeps_its_predictions(
    open_log: Open, tmp_path: Path
) -> None:
    log = open_log()
    add(log, prediction("old"))
    log.label(LabelledPrediction("old", 0, 0, 1), at=NOW)
    log.close()
    with closing(sqlite3.connect(tmp_path / "new/log.db")) as database:
        database.execute("DROP TABLE prediction_ids")
    again = open_log()
    assert again.find("old", 0) == prediction("old") and again.confusion(0) == {(0, 1): 1}
    assert again.find_id("a") is None
    again.add(batch_of(prediction("new"), ids={0: "a"}))
    assert again.find_id("a") == prediction("new")


def test_an_id_is_removed_with_its_prediction(open_log: Open, tmp_path: Path) -> None:
    old, young = prediction("old", at=NOW - 8 * DAY), prediction("young", at=NOW - 6 * DAY)
    log = open_log(retention_days=7)
    log.add(batch_of(old, ids={0: "a"}), batch_of(young, ids={0: "b"}))
    again = open_log(retention_days=7)
    assert again.find_id("a") is None and again.find_id("b") == young
    with closing(sqlite3.connect(tmp_path / "new/log.db")) as database:
        assert database.execute("SELECT text FROM prediction_ids").fetchall() == [("b",)]


def test_an_id_is_found_through_indexes(log: SqlPredictionLog, tmp_path: Path) -> None:
    plans: list[str] = []
    with closing(sqlite3.connect(tmp_path / "new/log.db")) as database:

        def explain(*call: Any) -> None:
            _connection, _cursor, sql, values, *_more = call
            plans.append(str(database.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()))

        sa.event.listen(sa.Engine, "before_cursor_execute", explain)
        try:
            assert log.find_id("a") is None
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", explain)
    assert len(plans) == 1
    plan = plans[0]
    assert "prediction_ids_by_text (model=? AND text=?)" in plan
    assert "SEARCH prediction_batches USING INTEGER PRIMARY KEY" in plan
    assert "SCAN" not in plan


# comparison with a log in memory

TIMES = [NOW + hours * HOUR for hours in (-2, -1, 0, 1)]
OWN = [identity_of(at) for at in TIMES]
NAMES = ["a", "A", "ab", "b", "a_", "a%", *OWN]
IDS = {7: "seven", 2**64 - 1: "最後"}  # of rows with these identities
FLOATS = st.floats(-1e6, 1e6, width=32)


@st.composite
def requests(draw: st.DrawFn) -> list[LoggedPrediction]:
    """The rows of one request."""
    at, own = draw(st.sampled_from(list(zip(TIMES, OWN))))
    name = draw(st.sampled_from([own, *NAMES[: -len(OWN)]]))
    latency = draw(st.floats(0, 1, width=32))
    return [
        LoggedPrediction(
            name,
            row,
            at,
            draw(st.sampled_from([0, 7, 2**64 - 1])),
            [draw(FLOATS), draw(FLOATS)],
            float(draw(st.integers(0, 2))),
            draw(st.floats(0, 1, width=32)),
            latency,
        )
        for row in range(draw(st.integers(1, 4)))
    ]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(requests(), min_size=1, max_size=4), max_size=5),
    st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 2)), max_size=6),
)
def test_it_returns_the_same_as_a_log_in_memory(
    batches: list[list[list[LoggedPrediction]]], labelled: list[tuple[str, int]]
) -> None:
    fake = FakePredictionLog()
    with tempfile.TemporaryDirectory() as folder:
        with closing(SqlPredictionLog(f"sqlite:///{folder}/log.db", "m")) as log:
            # batches are ordered by their last prediction
            for batch in sorted(batches, key=lambda batch: max(rows[0].at for rows in batch)):
                rows = [row for request in batch for row in request]
                ids = {place: IDS[row.identity] for place, row in enumerate(rows) if row.identity}
                joined = batch_of(*rows, ids=ids)
                log.add(joined)
                fake.add(joined)
            for request_id, row in labelled:
                label = LabelledPrediction(request_id, row, 0, 1)
                assert log.label(label, at=NOW) == fake.label(label, at=NOW)
            assert_same(log, fake)


def assert_same(log: SqlPredictionLog, fake: FakePredictionLog) -> None:
    """Check that both logs return the same for every query."""
    for since in (0.0, NOW - HOUR, NOW, NOW + 2 * HOUR):
        assert vars(log.traffic(since)) == pytest.approx(vars(fake.traffic(since)))
        assert log.by_class(since) == fake.by_class(since)
        assert log.confusion(since) == fake.confusion(since)
    for name in NAMES:
        for row in range(4):
            assert log.find(name, row) == fake.find(name, row)
            if fake.find(name, row, NOW):  # predictions since then are found
                assert log.find(name, row, NOW)
    for identity in (0, 1, 7, 2**64 - 1):
        for predicted in range(3):
            unlabelled = log.find_unlabelled(identity, predicted)
            assert unlabelled == fake.find_unlabelled(identity, predicted)
    for text in (*IDS.values(), "nobody"):
        for until in (None, NOW - 1, NOW, NOW + 1):
            assert log.find_id(text, until) == fake.find_id(text, until)
    for rows in (1, 5, 100):
        for ours, theirs in zip(log.recent(rows), fake.recent(rows), strict=True):
            assert ours.tolist() == theirs.tolist()


def drift_log(folder: Path, version: str = "1", environment: str | None = None) -> SqlPredictionLog:
    """The log of a service in a folder."""
    url = f"sqlite:///{folder}/log.db"
    return SqlPredictionLog(url, "m", version=version, environment=environment)


def test_batches_are_read_in_the_order_of_their_numbers_and_by_service(tmp_path: Path) -> None:
    rows = [batch_of(logged_prediction(f"r{n}", SETOSA, at=time.time() - n)) for n in range(5)]
    with (
        closing(drift_log(tmp_path)) as log,
        closing(drift_log(tmp_path, "2")) as newer,
        closing(drift_log(tmp_path, environment="staging")) as staging,
    ):
        for batch in rows[:3]:
            log.add(batch)
        newer.add(rows[3])
        staging.add(rows[4])
        first, found = log.batches_after(0, 2)
        assert [batch.request_ids for batch in found] == [["r0"], ["r1"]]
        last, found = log.batches_after(first, 2)
        assert [batch.request_ids for batch in found] == [["r2"]]
        assert log.batches_after(last, 2) == (last, [])
        assert [newer.batches_after(0, 9)[1][0].request_ids] == [["r3"]]
        assert [staging.batches_after(0, 9)[1][0].request_ids] == [["r4"]]


def test_the_state_of_drift_is_kept_by_service_and_only_after_the_state_that_it_extends(
    tmp_path: Path,
) -> None:
    with closing(drift_log(tmp_path)) as log, closing(drift_log(tmp_path, "2")) as newer:
        assert log.drift_state() == (0, None)
        assert log.save_drift_state(0, 3, "three")
        assert not log.save_drift_state(0, 4, "another worker started from 0, too")
        assert log.save_drift_state(3, 5, "five")
        assert not log.save_drift_state(3, 6, "late")
        assert log.drift_state() == (5, "five")
        assert newer.drift_state() == (0, None)
