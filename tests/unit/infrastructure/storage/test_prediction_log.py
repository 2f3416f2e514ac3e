"""The prediction log on SQLite: identity, labels, totals, and several writers at once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from application.ports import LabelledPrediction, LiveErrors, LoggedPrediction, Traffic
from infrastructure.storage.prediction_log import SqlPredictionLog
from shared.paths import ROOT

NOW = time.time()
DAY = 86_400.0
INPUTS = [5.1, 3.5, 1.4, 0.2]
IDENTITY = "0123456789abcdef"
Open = Callable[..., SqlPredictionLog]


@pytest.fixture(name="open_log")
def _open_log(tmp_path: Path) -> Iterator[Open]:
    """Opens the same database again and again: `open_log(model)`."""
    opened: list[SqlPredictionLog] = []

    def open_log(model: str = "iris", **more: float) -> SqlPredictionLog:
        opened.append(SqlPredictionLog(f"sqlite:///{tmp_path}/new/log.db", model, **more))
        return opened[-1]

    yield open_log
    for log in opened:
        log.close()


@pytest.fixture(name="log")
def _log(open_log: Open) -> SqlPredictionLog:
    return open_log()


def prediction(request_id: str = "r1", row: int = 0, **more: object) -> LoggedPrediction:
    """A logged prediction with the given differences from an ordinary one."""
    ordinary = {
        **{"at": NOW, "identity": IDENTITY, "inputs": INPUTS},
        **{"predicted": 0.0, "confidence": 0.9, "latency": 0.001},
    }
    return LoggedPrediction(request_id, row, **{**ordinary, **more})  # type: ignore[arg-type]


def test_a_prediction_is_found_by_request_and_row_as_it_was_added(log: SqlPredictionLog) -> None:
    entries = [prediction("r1", 0), prediction("r1", 1, predicted=2), prediction("r2", 0)]
    log.add(entries)
    for entry in entries:
        assert log.find(entry.request_id, entry.row) == entry


@pytest.mark.parametrize(("request_id", "row"), [("r1", 1), ("r2", 0), ("", 0)])
def test_a_prediction_that_was_never_made_is_not_found(
    log: SqlPredictionLog, request_id: str, row: int
) -> None:
    log.add([prediction("r1", 0)])
    assert log.find(request_id, row) is None


def test_a_request_id_is_no_pattern_and_no_sql(log: SqlPredictionLog) -> None:
    log.add([prediction("r1")])
    assert log.find("r%", 0) is None
    assert log.find("' OR 1=1 --", 0) is None


def test_adding_nothing_is_no_error(log: SqlPredictionLog) -> None:
    log.add([])
    assert log.traffic(0).predictions == 0


def test_float32_inputs_come_back_bit_by_bit(log: SqlPredictionLog) -> None:
    inputs = np.array([5.1, np.nextafter(np.float32(1.4), np.float32(2)), 0.1, 1e-8], np.float32)
    log.add([prediction(inputs=inputs.tolist())])
    assert log.recent(1)[0].astype(np.float32).tobytes() == inputs.tobytes()


def test_the_latest_of_equal_predictions_is_found_by_its_inputs(log: SqlPredictionLog) -> None:
    log.add([prediction("r1"), prediction("r2"), prediction("r3", predicted=1)])
    found = log.find_unlabelled(IDENTITY, 0)
    assert found is not None and found.request_id == "r2"


def test_a_labelled_prediction_is_not_found_again_by_its_inputs(log: SqlPredictionLog) -> None:
    log.add([prediction("r1"), prediction("r2")])
    for expected in ("r2", "r1"):
        found = log.find_unlabelled(IDENTITY, 0)
        assert found is not None and found.request_id == expected
        log.label(LabelledPrediction(expected, 0, 0, 0), NOW)
    assert log.find_unlabelled(IDENTITY, 0) is None


@pytest.mark.parametrize(
    ("identity", "predicted"), [("fedcba9876543210", 0), (IDENTITY, 1), (IDENTITY, 0.001)]
)
def test_other_inputs_or_another_class_are_not_found(
    log: SqlPredictionLog, identity: str, predicted: float
) -> None:
    log.add([prediction()])
    assert log.find_unlabelled(identity, predicted) is None


def test_a_label_of_another_row_leaves_a_prediction_unlabelled(log: SqlPredictionLog) -> None:
    log.add([prediction("r1", 0)])
    log.label(LabelledPrediction("r1", 1, 0, 0), NOW)
    log.label(LabelledPrediction("r2", 0, 0, 0), NOW)
    assert log.find_unlabelled(IDENTITY, 0) is not None


def test_a_second_label_replaces_the_first(log: SqlPredictionLog) -> None:
    log.label(LabelledPrediction("r1", 0, predicted=0, actual=1), NOW)
    log.label(LabelledPrediction("r1", 0, predicted=0, actual=2), NOW)
    assert log.confusion(0) == {(0, 2): 1}


def test_confusion_counts_pairs_labelled_since_a_time(log: SqlPredictionLog) -> None:
    for row, (predicted, actual, at) in enumerate(
        [(0, 0, NOW), (0, 0, NOW), (1, 2, NOW), (2, 2, NOW - 100)]
    ):
        log.label(LabelledPrediction("r1", row, predicted, actual), at)
    assert log.confusion(NOW - 1) == {(0, 0): 2, (1, 2): 1}
    assert log.confusion(NOW - 101) == {(0, 0): 2, (1, 2): 1, (2, 2): 1}
    assert log.confusion(NOW + 1) == {}


def test_traffic_totals_predictions_since_a_time(log: SqlPredictionLog) -> None:
    log.add(
        [
            prediction("r1", 0, confidence=0.5, latency=0.001),
            prediction("r1", 1, confidence=0.7, latency=0.003),
            prediction("r2", 0, confidence=0.9, latency=0.002, predicted=2),
            prediction("old", 0, confidence=0.1, latency=9.0, at=NOW - 100),
        ]
    )
    traffic = log.traffic(NOW - 1)
    assert traffic.predictions == 3
    assert traffic.mean_confidence == pytest.approx(0.7)
    assert traffic.mean_latency == pytest.approx(0.002)
    assert traffic.mean_predicted == pytest.approx(2 / 3)
    assert (traffic.smallest_predicted, traffic.largest_predicted) == (0, 2)
    assert log.by_class(NOW - 1) == {0: 2, 2: 1}
    assert log.by_class(NOW + 1) == {}
    assert log.traffic(0).predictions == 4


def test_no_traffic_has_no_means(log: SqlPredictionLog) -> None:
    assert log.traffic(0) == Traffic(0, None, None, None, None, None)


def test_what_is_recent_starts_with_the_latest(log: SqlPredictionLog) -> None:
    log.add(
        [prediction(row=row, inputs=[float(row), 0.0], predicted=2.0 * row) for row in range(5)]
    )
    inputs, predicted = log.recent(3)
    assert inputs.tolist() == [[4.0, 0.0], [3.0, 0.0], [2.0, 0.0]]
    assert predicted.tolist() == [8.0, 6.0, 4.0]
    assert log.recent(100)[0].shape == (5, 2)


def test_an_empty_log_has_no_recent_rows(log: SqlPredictionLog) -> None:
    assert [len(part) for part in log.recent(10)] == [0, 0]


def test_models_in_one_database_do_not_see_each_other(open_log: Open) -> None:
    iris, wine = open_log("iris"), open_log("wine")
    iris.add([prediction("r1")])
    iris.label(LabelledPrediction("r1", 0, 0, 0), NOW)
    assert wine.find("r1", 0) is None
    assert wine.traffic(0).predictions == 0
    assert wine.confusion(0) == {}
    assert len(wine.recent(10)[0]) == 0
    wine.add([prediction("r1")])
    assert wine.find_unlabelled(IDENTITY, 0) is not None  # the label is that of iris


def test_what_was_written_is_there_when_the_log_is_opened_again(open_log: Open) -> None:
    first = open_log()
    first.add([prediction("r1")])
    first.label(LabelledPrediction("r1", 0, 0, 1), NOW)
    first.close()
    again = open_log()
    assert again.find("r1", 0) == prediction("r1")
    assert again.confusion(0) == {(0, 1): 1}


def test_rows_older_than_the_retention_are_removed_when_the_log_is_opened(open_log: Open) -> None:
    log = open_log(retention_days=7)
    log.add([prediction("old", at=NOW - 8 * DAY), prediction("young", at=NOW - 6 * DAY)])
    log.label(LabelledPrediction("old", 0, 0, 0), NOW - 8 * DAY)
    log.label(LabelledPrediction("young", 0, 1, 1), NOW - 6 * DAY)
    again = open_log(retention_days=7)
    assert again.find("old", 0) is None
    assert again.find("young", 0) is not None
    assert again.confusion(0) == {(1, 1): 1}


def test_by_default_ninety_days_are_kept(open_log: Open) -> None:
    open_log().add([prediction("old", at=NOW - 91 * DAY), prediction("young", at=NOW - 89 * DAY)])
    assert open_log().traffic(0).predictions == 1


def test_threads_that_write_and_label_at_once_lose_nothing(log: SqlPredictionLog) -> None:
    def work(thread: int) -> None:
        for number in range(25):
            request_id = f"t{thread}-{number}"
            log.add([prediction(request_id, row) for row in range(4)])
            log.label(LabelledPrediction(request_id, 0, 0, thread), NOW)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert log.traffic(0).predictions == 4 * 25 * 4
    assert log.confusion(0) == {(0, thread): 25 for thread in range(4)}


OLDER_LAYOUT = """
CREATE TABLE predictions (id INTEGER PRIMARY KEY, model, request_id, row, at, inputs, predicted);
CREATE INDEX predictions_by_time ON predictions (model, at);
CREATE INDEX predictions_by_identity ON predictions (model, request_id, row);
CREATE TABLE labels (model, request_id, row, at, predicted, actual);
CREATE INDEX labels_by_time ON labels (model, at);
INSERT INTO predictions VALUES (1, 'iris', 'old', 0, 1.0, '[5.1]', 0);
"""

WRITER = """
import sys, time
from application.ports import LoggedPrediction
from infrastructure.storage.prediction_log import SqlPredictionLog
url, name = sys.argv[1:]
log = SqlPredictionLog(url, "iris")  # both make the tables
for number in range(50):
    log.add([LoggedPrediction(f"{name}-{number}", 0, time.time(), "0", [1.0], 0, 1.0, 0.0)])
log.close()
"""


def test_processes_that_make_the_database_and_write_at_once_lose_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"

    def write(name: str) -> None:
        command = [sys.executable, "-c", WRITER, url, name]
        subprocess.run(command, cwd=ROOT, check=True, timeout=30)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, "ab"))
    with closing(SqlPredictionLog(url, "iris")) as log:
        assert log.traffic(0).predictions == 100
        assert all(log.find(f"{name}-49", 0) for name in "ab")


def test_missing_inputs_and_a_missing_confidence_come_back_as_such(log: SqlPredictionLog) -> None:
    log.add([prediction(inputs=[float("nan"), 2.0], confidence=None, predicted=300.5)])
    found = log.find("r1", 0)
    assert found is not None and (found.confidence, found.predicted) == (None, 300.5)
    assert np.isnan(found.inputs[0]) and found.inputs[1] == 2
    inputs, predicted = log.recent(1)
    np.testing.assert_array_equal(inputs, [[np.nan, 2]])
    assert predicted.tolist() == [300.5]
    assert log.traffic(0).mean_confidence is None


def test_a_value_is_found_as_it_was_answered_and_rounded(log: SqlPredictionLog) -> None:
    value = float(np.float32(151.23456))
    log.add([prediction(predicted=value, confidence=None)])
    for given in (value, 151.2346, np.float32(151.23456).item()):
        assert log.find_unlabelled(IDENTITY, given) is not None
    assert log.find_unlabelled(IDENTITY, 151.3) is None


def test_errors_are_those_of_the_values_labelled_since_a_time(log: SqlPredictionLog) -> None:
    for row, (predicted, actual, at) in enumerate(
        [(300.0, 310.0, NOW), (200.0, 170.0, NOW), (5.0, 500.0, NOW - 100)]
    ):
        log.label(LabelledPrediction("r1", row, predicted, actual), at)
    assert log.errors(NOW - 1) == LiveErrors(2, 20.0, pytest.approx(500**0.5))
    assert log.errors(NOW + 1) is None


def test_inputs_of_a_former_version_with_other_ones_are_not_recent(log: SqlPredictionLog) -> None:
    log.add([prediction(inputs=[1.0]), prediction(inputs=[1.0, 2.0])])
    assert log.recent(10)[0].tolist() == [[1.0, 2.0]]


def test_predictions_are_found_by_their_inputs_through_an_index(
    log: SqlPredictionLog, tmp_path: Path
) -> None:
    log.add([prediction()])
    with closing(sqlite3.connect(tmp_path / "new/log.db")) as database:
        plan = database.execute(
            "EXPLAIN QUERY PLAN SELECT * FROM predicted_rows WHERE model = ? AND identity = ?",
            ("iris", IDENTITY),
        ).fetchall()
    assert "predicted_rows_by_identity" in str(plan)


def test_tables_of_an_older_layout_are_left_as_they_are(open_log: Open, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with closing(sqlite3.connect(tmp_path / "new/log.db")) as database:
        database.executescript(OLDER_LAYOUT)
    log = open_log()
    log.add([prediction()])
    log.label(LabelledPrediction("r1", 0, 0, 1), NOW)
    assert log.traffic(0).predictions == 1
    assert log.confusion(0) == {(0, 1): 1}
    with closing(sqlite3.connect(tmp_path / "new/log.db")) as database:
        assert database.execute("SELECT request_id FROM predictions").fetchall() == [("old",)]
