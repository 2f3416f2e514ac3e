"""Recording in batches, in a thread of its own."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from application.monitoring.recorder import (
    BATCHES_AT_ONCE,
    REQUESTS_AT_ONCE,
    ROWS_AT_ONCE,
    PredictionRecorder,
    every,
    identities,
)
from application.ports.prediction_log import PredictionBatch
from application.ports.recorder import PredictionResult
from domain.contract import ModelSpec, Number, Quantity, Tensor
from tests import petals
from tests.fakes import (
    SETOSA,
    VERSICOLOR,
    VIRGINICA,
    FakeMetrics,
    FakePredictionLog,
    classification_result,
    regression_result,
)
from tests.protocols import DECISIONS, RISK, RISKS, risk_of

NEVER = 3600.0  # the thread sleeps; the test flushes
PATIENCE = 10.0
RENT = ModelSpec("rent", (Number("area", "m²", 0, 500),), Quantity("rent", "EUR"))

Open = Callable[..., PredictionRecorder]


class BlockedLog(FakePredictionLog):
    """A log whose `add` waits until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.let_go = threading.Event(), threading.Event()

    def add(self, *batches: PredictionBatch) -> bool:
        """Wait, then append."""
        self.reached.set()
        assert self.let_go.wait(PATIENCE)
        return super().add(*batches)


@pytest.fixture(name="metrics")
def _metrics() -> FakeMetrics:
    return FakeMetrics()


@pytest.fixture(name="log")
def _log() -> FakePredictionLog:
    return FakePredictionLog()


@pytest.fixture(name="open_recorder")
def _open_recorder(metrics: FakeMetrics, log: FakePredictionLog) -> Iterator[Open]:
    opened: list[PredictionRecorder] = []

    def open_recorder(**options: Any) -> PredictionRecorder:
        used_log, options = options.pop("log", log), {"interval": NEVER} | options
        opened.append(PredictionRecorder(petals.SPEC, metrics, used_log, **options))
        return opened[-1]

    yield open_recorder
    for recorder in opened:
        recorder.close()


def test_every_row_is_counted_by_class(open_recorder: Open, metrics: FakeMetrics) -> None:
    recorder = open_recorder()
    recorder.record(classification_result("a", SETOSA, VIRGINICA, SETOSA))
    recorder.record(classification_result("b", VERSICOLOR))
    recorder.flush()
    assert metrics.predictions == {0: 2, 1: 1, 2: 1}
    assert metrics.confidences == pytest.approx([0.8] * 4)
    assert metrics.latencies == [0.002, 0.002]
    assert not metrics.errors


def test_every_row_is_logged_with_its_identity_and_its_prediction(
    open_recorder: Open, log: FakePredictionLog
) -> None:
    recorder = open_recorder()
    recorder.record(classification_result("a", SETOSA, VIRGINICA, at=12.5))
    recorder.flush()
    first, second = log.predictions
    assert (first.request_id, first.row, first.predicted) == ("a", 0, 0)
    assert (second.request_id, second.row, second.predicted) == ("a", 1, 2)
    assert second.inputs == pytest.approx(VIRGINICA)
    assert (second.at, second.latency) == (12.5, 0.002)
    assert second.confidence == pytest.approx(0.8)


@pytest.mark.parametrize("callers", [["shop", None, "till"], [None, None, None]])
def test_callers_are_logged_with_their_requests(
    open_recorder: Open, log: FakePredictionLog, callers: list[str | None]
) -> None:
    recorder = open_recorder()
    for number, caller in enumerate(callers):
        result = classification_result(str(number), SETOSA)
        result.caller = caller
        recorder.record(result)
    recorder.flush()
    batch = log.batches.get_nowait()
    assert isinstance(batch, PredictionBatch)
    assert list(batch.callers) == (callers if any(callers) else [])


def test_classes_are_counted_and_logged_by_the_decision_threshold(
    metrics: FakeMetrics, log: FakePredictionLog
) -> None:
    recorder = PredictionRecorder(RISK, metrics, log, interval=NEVER)
    rows = np.array(RISKS, np.float32)
    recorder.record(PredictionResult("a", 0.0, rows, risk_of(rows), 0.001))
    recorder.close()
    assert metrics.predictions == {0: 1, 1: 3}
    assert metrics.confidences == pytest.approx([0.9, 0.2, 0.45, 0.9])
    assert [RISK.classes[int(entry.predicted)] for entry in log.predictions] == DECISIONS


def test_values_are_counted_and_logged_without_a_confidence(
    metrics: FakeMetrics, log: FakePredictionLog
) -> None:
    recorder = PredictionRecorder(RENT, metrics, log, interval=NEVER)
    recorder.record(regression_result("a", 300.5, 200))
    recorder.close()
    assert metrics.values == [300.5, 200]
    assert metrics.latencies == [0.002]
    assert not metrics.predictions and not metrics.confidences
    assert [(entry.predicted, entry.confidence) for entry in log.predictions] == [
        (300.5, None),
        (200, None),
    ]


def test_the_monitored_values_of_the_inputs_are_logged(
    metrics: FakeMetrics, log: FakePredictionLog
) -> None:
    spec = ModelSpec("images", (Tensor("image", (2, 2), 0, 16),), RENT.output)
    rows = np.array([[0, 4, 4, 8], [1, 1, 1, 1]], dtype=np.float32)
    recorder = PredictionRecorder(spec, metrics, log, interval=NEVER)
    recorder.record(structs.replace(regression_result("a", 1, 2), rows=rows))
    recorder.close()
    mean_and_spread = [[4, pytest.approx(8**0.5)], [1, 0]]
    assert [entry.inputs for entry in log.predictions] == mean_and_spread
    assert [entry.identity for entry in log.predictions] == identities(rows).tolist()


def test_what_the_contract_leaves_out_is_not_logged_nor_a_hash_of_it(
    metrics: FakeMetrics, log: FakePredictionLog
) -> None:
    inputs = (Number("area", "m²", 0, 500), Number("age", "", 0, 120, logged=False))
    recorder = PredictionRecorder(
        ModelSpec("rent", inputs, RENT.output), metrics, log, interval=NEVER
    )
    rows = np.array([[30, 41], [40, 42]], np.float32)
    recorder.record(structs.replace(regression_result("a", 1, 2), rows=rows))
    recorder.close()
    np.testing.assert_array_equal([e.inputs for e in log.predictions], [[30, np.nan], [40, np.nan]])
    assert [entry.identity for entry in log.predictions] == [0, 0]


def test_only_equal_rows_have_the_same_identity() -> None:
    rows = np.array([[1, np.nan], [1, np.nan], [1, 0], [np.nan, 1]], dtype=np.float32)
    first, again, *others = identities(rows).tolist()
    assert first == again
    assert len({first, *others}) == 3
    texts = np.array([["good"], ["good"], ["bad"], [""]], dtype=object)
    assert len(set(identities(texts).tolist())) == 3
    assert identities(rows).dtype == identities(texts).dtype == np.uint64


def test_an_identity_does_not_depend_on_the_other_rows_nor_on_the_process() -> None:
    rows = np.random.default_rng(0).uniform(-9, 9, size=(500, 7)).astype(np.float32)
    together = identities(rows)
    assert [int(identities(row[None])[0]) for row in rows] == together.tolist()
    assert len(set(together.tolist())) == len(rows)
    assert identities(np.array([SETOSA], np.float32)).tolist() == [6743240550174772686]
    assert identities(np.array([["good"]], dtype=object)).tolist() == [3509812042012788487]


def test_minus_zero_is_zero() -> None:
    plus, minus = identities(np.array([[0.0], [-0.0]], dtype=np.float32))
    assert plus == minus


def test_waiting_requests_are_logged_in_one_batch_in_order(
    open_recorder: Open, log: FakePredictionLog
) -> None:
    recorder = open_recorder()
    for number in range(20):
        recorder.record(classification_result(str(number), SETOSA))
    recorder.flush()
    assert log.batches.qsize() == 1
    assert [entry.request_id for entry in log.predictions] == [str(n) for n in range(20)]


def test_many_requests_are_logged_in_batches_that_do_not_delay_responses(
    open_recorder: Open, metrics: FakeMetrics, log: FakePredictionLog
) -> None:
    recorder = open_recorder()
    recorder.record(classification_result("large", *[VIRGINICA] * ROWS_AT_ONCE))
    for number in range(2 * REQUESTS_AT_ONCE + 1):
        recorder.record(classification_result(str(number), SETOSA, VIRGINICA))
    recorder.flush()
    sizes = []
    while not log.batches.empty():
        batch = log.batches.get()
        assert isinstance(batch, PredictionBatch)
        sizes.append(len(batch.request_ids))
    assert sizes == [1, REQUESTS_AT_ONCE, REQUESTS_AT_ONCE, 1]
    small = sum(sizes) - 1
    assert metrics.predictions == {0: small, 2: small + ROWS_AT_ONCE}
    assert [(entry.request_id, entry.row) for entry in log.predictions[ROWS_AT_ONCE:]] == [
        (str(number), row) for number in range(small) for row in range(2)
    ]


def test_many_small_requests_are_counted_and_logged_together(
    open_recorder: Open, metrics: FakeMetrics, log: FakePredictionLog
) -> None:
    recorder = open_recorder()
    for number in range(REQUESTS_AT_ONCE + 1):
        recorder.record(classification_result(str(number), SETOSA))
    assert metrics.predictions == {0: REQUESTS_AT_ONCE}
    assert not log.predictions
    recorder.flush()
    assert metrics.predictions == {0: REQUESTS_AT_ONCE + 1}
    assert [entry.request_id for entry in log.predictions] == [
        str(number) for number in range(REQUESTS_AT_ONCE + 1)
    ]


def test_many_small_requests_reach_the_log_in_few_batches(
    open_recorder: Open, log: FakePredictionLog
) -> None:
    recorder = open_recorder()
    counted = (BATCHES_AT_ONCE + 2) * REQUESTS_AT_ONCE
    for number in range(counted + 1):
        recorder.record(classification_result(str(number), SETOSA))
    recorder.flush()
    assert log.batches.qsize() == 3  # the last one was not counted before
    assert [entry.request_id for entry in log.predictions] == [str(n) for n in range(counted + 1)]


def test_large_requests_never_block_the_caller(open_recorder: Open, metrics: FakeMetrics) -> None:
    recorder = open_recorder()
    rows = [SETOSA] * (ROWS_AT_ONCE // REQUESTS_AT_ONCE + 1)
    for number in range(2 * REQUESTS_AT_ONCE):
        recorder.record(classification_result(str(number), *rows))
    assert not metrics.predictions
    recorder.flush()
    assert metrics.predictions == {0: 2 * REQUESTS_AT_ONCE * len(rows)}


def test_batches_of_large_requests_are_small(open_recorder: Open, log: FakePredictionLog) -> None:
    recorder = open_recorder()
    sizes = (ROWS_AT_ONCE - 1, 1, 1, 2 * ROWS_AT_ONCE, 3)
    for number, rows in enumerate(sizes):
        recorder.record(classification_result(str(number), *[SETOSA] * rows))
    recorder.flush()
    found = []
    while not log.batches.empty():
        batch = log.batches.get()
        assert isinstance(batch, PredictionBatch)
        found.append(batch.rows.tolist())
    assert found == [[ROWS_AT_ONCE - 1, 1], [1], [2 * ROWS_AT_ONCE], [3]]


def test_rows_behind_a_failed_batch_are_still_counted(
    open_recorder: Open, metrics: FakeMetrics
) -> None:
    log = FakePredictionLog(failures=[OSError("database is locked")])
    recorder = open_recorder(log=log)
    for number in range(3 * REQUESTS_AT_ONCE):
        recorder.record(classification_result(str(number), SETOSA))
    with pytest.raises(OSError, match="locked"):
        recorder.flush()
    recorder.flush()
    assert metrics.predictions == {0: 3 * REQUESTS_AT_ONCE}
    assert len(metrics.latencies) == 3 * REQUESTS_AT_ONCE
    assert not log.predictions


def test_nothing_is_counted_twice(
    open_recorder: Open, metrics: FakeMetrics, log: FakePredictionLog
) -> None:
    recorder = open_recorder()
    recorder.record(classification_result("a", SETOSA))
    recorder.flush()
    recorder.flush()
    recorder.close()
    assert metrics.predictions.total() == len(log.predictions) == 1


def test_an_empty_queue_writes_nothing_to_the_log(
    open_recorder: Open, log: FakePredictionLog
) -> None:
    open_recorder().flush()
    assert log.batches.empty()


def test_the_thread_records_without_a_flush(
    open_recorder: Open, metrics: FakeMetrics, log: FakePredictionLog
) -> None:
    recorder = open_recorder(interval=0.001)
    for number in range(3):
        recorder.record(classification_result(str(number), SETOSA, VIRGINICA))
        log.batches.get(timeout=PATIENCE)
    assert metrics.predictions == {0: 3, 2: 3}
    assert len(log.predictions) == 6


def test_requests_from_many_threads_are_all_counted(
    open_recorder: Open, metrics: FakeMetrics, log: FakePredictionLog
) -> None:
    recorder = open_recorder(interval=0.001)

    def record(worker: int) -> None:
        for number in range(50):
            recorder.record(classification_result(f"{worker}-{number}", SETOSA))
            if number % 10 == 0:
                recorder.flush()

    workers = [threading.Thread(target=record, args=(worker,)) for worker in range(4)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    recorder.close()
    assert metrics.predictions.total() == 200
    assert len({entry.request_id for entry in log.predictions}) == len(log.predictions) == 200


def test_rows_beyond_the_capacity_are_counted_but_not_logged(
    open_recorder: Open, metrics: FakeMetrics, log: FakePredictionLog
) -> None:
    recorder = open_recorder(capacity=5)
    for number in range(4):
        recorder.record(classification_result(str(number), SETOSA, VIRGINICA))
    recorder.flush()
    assert metrics.predictions.total() == 8
    assert [(entry.request_id, entry.row) for entry in log.predictions] == [
        ("0", 0),
        ("0", 1),
        ("1", 0),
        ("1", 1),
    ]
    assert metrics.errors == {"log_overflow": 2}
    assert metrics.dropped == 4


def test_as_many_rows_as_the_capacity_are_logged(
    open_recorder: Open, metrics: FakeMetrics, log: FakePredictionLog
) -> None:
    recorder = open_recorder(capacity=4)
    recorder.record(classification_result("a", SETOSA, SETOSA))
    recorder.record(classification_result("b", SETOSA, SETOSA))
    recorder.flush()
    assert len(log.predictions) == 4
    assert not metrics.errors


def test_rows_are_logged_again_after_an_overflow(
    open_recorder: Open, metrics: FakeMetrics, log: FakePredictionLog
) -> None:
    recorder = open_recorder(capacity=1)
    recorder.record(classification_result("too large", SETOSA, SETOSA))
    recorder.flush()
    recorder.record(classification_result("small", SETOSA))
    recorder.flush()
    assert [entry.request_id for entry in log.predictions] == ["small"]
    assert metrics.errors == {"log_overflow": 1}


def test_memory_is_bounded_while_the_log_is_slow(open_recorder: Open) -> None:
    log = BlockedLog()
    recorder = open_recorder(log=log, interval=0.001, capacity=10)
    recorder.record(classification_result("first", SETOSA))
    assert log.reached.wait(PATIENCE)
    references = []
    for number in range(500):
        result = classification_result(str(number), SETOSA)
        references.append(weakref.ref(result.rows))
        recorder.record(result)
    del result
    alive = sum(rows() is not None for rows in references)
    log.let_go.set()
    assert alive <= 2 * 10


def test_closing_records_waiting_rows_and_ends_the_thread(
    open_recorder: Open, metrics: FakeMetrics, log: FakePredictionLog
) -> None:
    before = set(threading.enumerate())
    recorder = open_recorder()
    (thread,) = set(threading.enumerate()) - before
    recorder.record(classification_result("last", SETOSA))
    recorder.close()
    assert not thread.is_alive()
    assert metrics.predictions == {0: 1}
    assert [entry.request_id for entry in log.predictions] == ["last"]


def test_a_failing_log_does_not_end_the_thread_and_is_counted_as_an_error(
    open_recorder: Open, metrics: FakeMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    log = FakePredictionLog(failures=[OSError("database is locked")])
    recorder = open_recorder(log=log, interval=0.001)
    recorder.record(classification_result("lost", SETOSA))
    assert isinstance(log.batches.get(timeout=PATIENCE), OSError)
    recorder.record(classification_result("kept", VIRGINICA))
    log.batches.get(timeout=PATIENCE)
    recorder.close()
    assert "kept" in {entry.request_id for entry in log.predictions}
    assert metrics.errors == {"log_failure": 1}
    assert metrics.dropped == 1
    assert metrics.predictions == {0: 1, 2: 1}
    assert "database is locked" in caplog.text


@pytest.mark.parametrize("at_once", [1, REQUESTS_AT_ONCE])
def test_a_request_that_cannot_be_recorded_takes_no_other_with_it(
    open_recorder: Open,
    metrics: FakeMetrics,
    log: FakePredictionLog,
    caplog: pytest.LogCaptureFixture,
    at_once: int,
) -> None:
    recorder = open_recorder()
    good = [classification_result(str(number), SETOSA) for number in range(at_once)]
    bad = classification_result("bad", VIRGINICA, VIRGINICA)
    for result in (good[0], structs.replace(bad, ids=["a", "\ud800"]), *good[1:]):
        recorder.record(result)
    recorder.flush()
    assert [entry.request_id for entry in log.predictions] == [item.request_id for item in good]
    assert metrics.predictions == {0: at_once} and metrics.latencies == [0.002] * at_once
    assert metrics.dropped == 2 and metrics.errors == {"log_failure": 1}
    (line,) = caplog.messages
    assert line.startswith("request bad: 2 rows were not recorded: row 1, id: character 1")


def test_a_request_that_cannot_be_recorded_is_dropped_once_if_too_many_wait(
    open_recorder: Open, metrics: FakeMetrics
) -> None:
    recorder = open_recorder(capacity=0)
    recorder.record(structs.replace(classification_result("bad", SETOSA), ids=["\ud800"]))
    assert metrics.dropped == 1 and metrics.errors == {"log_failure": 1}


def test_closing_does_not_raise_when_the_log_fails(open_recorder: Open) -> None:
    log = FakePredictionLog(failures=[OSError("database is locked")])
    recorder = open_recorder(log=log)
    recorder.record(classification_result("last", SETOSA))
    recorder.close()


def test_the_drift_check_runs_after_a_batch_is_logged(
    open_recorder: Open, log: FakePredictionLog
) -> None:
    seen: list[int] = []

    def watch() -> bool:
        seen.append(len(log.predictions))
        return True

    recorder = open_recorder(watch=watch)
    recorder.flush()
    assert not seen
    for number in range(2):
        recorder.record(classification_result(str(number), SETOSA, SETOSA))
        recorder.flush()
    recorder.flush()
    assert seen == [2, 4]


class WaitingLog(FakePredictionLog):
    """A log in which predictions wait while it is not `available`."""

    available = False

    def add(self, *batches: PredictionBatch) -> bool:
        """Append predictions."""
        return super().add(*batches) and self.available


def test_what_the_log_keeps_waiting_is_not_dropped_and_not_written_yet(
    open_recorder: Open, metrics: FakeMetrics
) -> None:
    log = WaitingLog()
    recorder = open_recorder(log=log)
    recorder.record(classification_result("a", SETOSA))
    assert not recorder.flush() and not recorder.flush()
    log.available = True
    assert recorder.flush()  # it tries again without new predictions
    assert not metrics.dropped and not metrics.errors
    assert [entry.request_id for entry in log.predictions] == ["a"]


def test_drift_is_checked_once_the_log_has_been_written(open_recorder: Open) -> None:
    log, checked = WaitingLog(), []

    def watch() -> bool:
        checked.append(1)
        return True

    recorder = open_recorder(log=log, watch=watch)
    recorder.record(classification_result("a", SETOSA))
    recorder.flush()
    assert not checked
    log.available = True
    recorder.flush()
    recorder.flush()
    assert len(checked) == 1


def test_the_last_rows_of_a_burst_are_checked_even_if_no_more_follow(
    open_recorder: Open, log: FakePredictionLog
) -> None:
    seen: list[int] = []
    now = [0.0]
    watch = every(10, lambda: seen.append(len(log.predictions)), lambda: now[0])
    recorder = open_recorder(watch=watch)
    for now[0] in (0, 1, 2):
        recorder.record(classification_result(str(now[0]), SETOSA, SETOSA))
        recorder.flush()
    assert seen == [2]
    for now[0] in (9, 10, 11, 20, 30):
        recorder.flush()
    assert seen == [2, 6]


def test_a_failing_drift_check_does_not_end_the_thread(
    open_recorder: Open, log: FakePredictionLog
) -> None:
    def watch() -> bool:
        raise ZeroDivisionError

    recorder = open_recorder(interval=0.001, watch=watch)
    for number in range(2):
        recorder.record(classification_result(str(number), SETOSA))
        log.batches.get(timeout=PATIENCE)
    assert len(log.predictions) == 2


def test_an_action_runs_at_most_once_per_interval() -> None:
    done: list[int] = []
    act = every(3600, lambda: done.append(1))
    assert [act() for _ in range(5)] == [True, False, False, False, False]
    assert len(done) == 1


def test_an_action_runs_again_after_the_interval() -> None:
    done: list[int] = []
    now = [0.0]
    act = every(10, lambda: done.append(1), lambda: now[0])
    for now[0], expected in ((0, True), (9, False), (10, True), (19, False)):
        assert act() == expected
    assert len(done) == 2


def test_the_ids_of_all_requests_are_logged_by_their_text(
    open_recorder: Open, log: FakePredictionLog
) -> None:
    recorder = open_recorder()
    recorder.record(classification_result("a", SETOSA, VIRGINICA))
    for request_id, ids in (("b", [None, 17, "訂單"]), ("c", ["x"])):
        result = classification_result(request_id, *[SETOSA] * len(ids))
        recorder.record(structs.replace(result, ids=ids))
    recorder.flush()
    assert log.ids == {3: "17", 4: "訂單", 5: "x"}
    found = log.find_id("17")
    assert found is not None and (found.request_id, found.row) == ("b", 1)


TOLERANT = ModelSpec(
    "tolerant",
    (
        Number("clipped", "", 0, 10, outside="clip"),
        Number("accepted", "", 0, 10, outside="accept"),
    ),
    Quantity("sum"),
)


@pytest.mark.parametrize("capacity", [0, 100])
def test_numbers_outside_their_range_are_counted_and_clipped_ones_logged_as_the_model_saw_them(
    metrics: FakeMetrics, log: FakePredictionLog, capacity: int
) -> None:
    recorder = PredictionRecorder(TOLERANT, metrics, log, interval=NEVER, capacity=capacity)
    rows = np.array([[12, 5], [3, -1], [-4, 11], [10, 0]], np.float32)
    recorder.record(PredictionResult("a", 0.0, rows, np.zeros((4, 3), np.float32), 0.001))
    recorder.close()
    assert metrics.outside == {"clipped": 2, "accepted": 2}
    if capacity:
        logged = [prediction.inputs for prediction in log.predictions]
        assert logged == [[10, 5], [3, -1], [0, 11], [10, 0]]
        assert [item.identity for item in log.predictions] == identities(
            TOLERANT.encode_rows(rows.tolist())
        ).tolist()


def test_without_such_inputs_nothing_is_counted_as_outside(
    open_recorder: Open, metrics: FakeMetrics
) -> None:
    recorder = open_recorder()
    recorder.record(classification_result("a", SETOSA))
    recorder.flush()
    assert not metrics.outside
