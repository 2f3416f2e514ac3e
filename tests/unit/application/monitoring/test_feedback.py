"""Feedback joins its own prediction, and is none itself."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence

import pytest

from application.monitoring.recorder import identities
from application.monitoring.feedback import (
    Feedback,
    Recorded,
    Truth,
    are_numbered,
    live_quality,
)
from application.ports.prediction_log import LabelledPrediction, LoggedPrediction
from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.errors import InputError, UnknownPredictionError
from domain.models import iris
from tests.fakes import (
    SETOSA,
    VERSICOLOR,
    VIRGINICA,
    FakeMetrics,
    FakePredictionLog,
    batch_of,
    logged_prediction,
)

CLASSES = "setosa, versicolor, virginica"
RENT = ModelSpec("rent", (Number("area", "m²", 5, 500),), Quantity("rent", "EUR"))


class LateLog(FakePredictionLog):
    """A log to which another worker adds a prediction only after it was asked a few times.

    Attributes:
        asked: since when, in each call of `find`.
    """

    def __init__(self, prediction: LoggedPrediction, calls: int) -> None:
        super().__init__()
        self.asked: list[float] = []
        self._prediction = prediction
        self._calls = calls

    def find(self, request_id: str, row: int, since: float = 0.0) -> LoggedPrediction | None:
        """A prediction by its identity, once it is there."""
        self.asked.append(since)
        if len(self.asked) == self._calls:
            self.add(batch_of(self._prediction))
        return super().find(request_id, row, since)


def finished(
    steps: Generator[float, None, Recorded], pauses: list[float] | None = None
) -> Recorded:
    """What steps come to, one after the other at once.

    Args:
        pauses: gets what each of them lets go.
    """
    while True:
        try:
            pause = next(steps)
        except StopIteration as end:
            recorded: Recorded = end.value
            return recorded
        if pauses is not None:
            pauses.append(pause)


class Desk:
    """Where feedback is taken: a log with two requests in it.

    Attributes:
        pauses: between the steps of all feedback, in seconds.
    """

    def __init__(self, log: FakePredictionLog | None = None) -> None:
        self.log = log or FakePredictionLog()
        self.metrics = FakeMetrics()
        self.pauses: list[float] = []
        self.feedback = Feedback(iris.SPEC, self.log, self.metrics)
        if log is None:
            self.log.add(batch_of(logged_prediction("a", SETOSA)))
            several = [logged_prediction("b", row, row=i) for i, row in enumerate(FLOWERS)]
            self.log.add(batch_of(*several))

    def for_prediction(self, request_id: str, row: int, actual: Truth) -> Recorded:
        """Feedback by identity."""
        return finished(self.feedback.for_prediction(request_id, row, actual), self.pauses)

    def for_inputs(
        self,
        inputs: Sequence[float],
        predicted: Truth,
        actual: Truth,
        confidence: float | None = None,
    ) -> Recorded:
        """Feedback by inputs."""
        steps = self.feedback.for_inputs(inputs, predicted, actual, confidence)
        return finished(steps, self.pauses)

    def confusion(self) -> dict[tuple[int, int], int]:
        """Every labelled pair (predicted, actual)."""
        return dict(self.log.confusion(0))


FLOWERS = (SETOSA, VERSICOLOR, VIRGINICA)


def test_feedback_joins_the_prediction_that_it_names() -> None:
    desk = Desk()
    recorded = desk.for_prediction("b", 2, "versicolor")
    assert (recorded.request_id, recorded.row, recorded.joined) == ("b", 2, True)
    assert (recorded.predicted, recorded.actual) == ("virginica", "versicolor")
    assert desk.confusion() == {(2, 1): 1}


@pytest.mark.parametrize(("given", "name"), [(0, "setosa"), (2, "virginica")])
def test_a_class_can_be_named_by_its_number(given: int, name: str) -> None:
    assert Desk().for_prediction("a", 0, given).actual == name


def test_a_number_is_a_class_by_its_name_and_by_no_position_where_names_are_numbers() -> None:
    desk = Desk()
    wines = ModelSpec("wine", iris.SPEC.inputs, Classes(("2", "3", "4", "5", "6")))
    feedback = Feedback(wines, desk.log, desk.metrics)
    for given, name in ((4, "4"), ("4", "4"), (6, "6"), (2, "2")):
        assert finished(feedback.for_prediction("a", 0, given)).actual == name
    for given in (0, 1, 7):
        with pytest.raises(InputError, match=f"actual_class: {given} is none of 2, 3, 4, 5, 6"):
            finished(feedback.for_prediction("a", 0, given))


@pytest.mark.parametrize("names", [("1.5", "2.5"), ("01", "02"), ("none", "-1")])
def test_where_any_name_is_a_number_the_classes_are_not_numbered(names: tuple[str, ...]) -> None:
    assert not are_numbered(names)
    assert are_numbered(("one", "v2"))


def test_a_second_label_replaces_the_first() -> None:
    desk = Desk()
    desk.for_prediction("a", 0, "virginica")
    assert desk.metrics.accuracy == 0.0
    desk.for_prediction("a", 0, "setosa")
    assert desk.confusion() == {(0, 0): 1}
    assert desk.metrics.accuracy == 1.0


def test_the_live_accuracy_is_the_share_of_right_ones_among_those_labelled() -> None:
    desk = Desk()
    assert desk.metrics.accuracy is None
    for row, actual in enumerate(("setosa", "virginica", "virginica")):
        desk.for_prediction("b", row, actual)
    assert desk.metrics.accuracy == pytest.approx(2 / 3)


def test_labels_older_than_a_day_do_not_count_towards_the_live_accuracy() -> None:
    desk = Desk()
    desk.log.label(LabelledPrediction("old", 0, 0, 1), time.time() - 25 * 3600)
    desk.for_prediction("a", 0, "setosa")
    assert desk.metrics.accuracy == 1.0


def test_an_unknown_prediction_is_refused_by_its_identity_and_nothing_is_labelled() -> None:
    desk = Desk()
    with pytest.raises(UnknownPredictionError) as refused:
        desk.for_prediction("nobody", 3, "setosa")
    assert str(refused.value) == "no prediction 'nobody', row 3, in the log"
    assert not desk.log.labels
    assert desk.metrics.accuracy is None


def test_a_prediction_that_another_worker_is_about_to_log_is_waited_for() -> None:
    log = LateLog(logged_prediction("late", VIRGINICA, at=time.time()), calls=4)
    desk = Desk(log)
    assert desk.for_prediction("late", 0, "virginica").joined
    # all of a long log is read once
    assert log.asked.count(0) == 1 and len(log.asked) == 4
    assert min(filter(None, log.asked)) > time.time() - 3600
    search, *waits = desk.pauses
    assert search == 0 and min(waits) > 0


def made(at: float) -> str:
    """An identity of that time."""
    return f"{int(at * 1000):012x}7abc8123456789abcdef"


@pytest.mark.parametrize("late", [-3600.0, 3600.0])
def test_what_was_or_will_be_answered_at_another_time_is_not_waited_for(late: float) -> None:
    desk = Desk()
    with pytest.raises(UnknownPredictionError):
        desk.for_prediction(made(time.time() + late), 0, "setosa")
    assert desk.pauses == [0]  # one search of the whole log


@pytest.mark.parametrize("named_by", ["the caller", "the service"])
def test_what_may_be_on_its_way_is_waited_for_a_second(named_by: str) -> None:
    desk = Desk()
    request_id = "nobody" if named_by == "the caller" else made(time.time())
    with pytest.raises(UnknownPredictionError):
        desk.for_prediction(request_id, 0, "setosa")
    assert sum(desk.pauses) == pytest.approx(1)


def test_what_is_found_at_once_takes_one_step() -> None:
    desk = Desk(FakePredictionLog())
    now = time.time()
    for request_id in ("named", made(now), made(now - 30 * 86400)):
        desk.log.add(batch_of(logged_prediction(request_id, SETOSA, at=now)))
        assert desk.for_prediction(request_id, 0, "setosa").joined
        desk.log.add(batch_of(logged_prediction(f"{request_id}-2", SETOSA, at=now)))
        assert desk.for_inputs(SETOSA, "setosa", "setosa").joined
    assert not desk.pauses


@pytest.mark.parametrize(
    "request_id", ["", "a" * 81, "a" * 50_000, "a\0b", "a\n", "a b", "é", "a/b", "%", "\x7f"]
)
def test_what_no_request_is_called_is_refused_before_the_log_is_asked(request_id: str) -> None:
    log = LateLog(logged_prediction("late", VIRGINICA), calls=1)
    with pytest.raises(InputError, match="request_id: .* is not the ID of a request") as refused:
        Desk(log).for_prediction(request_id, 0, "setosa")
    assert len(str(refused.value)) < 300
    assert not log.asked


@pytest.mark.parametrize("value", ["rose", "", "Setosa", "0", 3, -1])
def test_an_unknown_class_is_refused_by_its_field_with_those_there_are(value: str | int) -> None:
    desk = Desk()
    with pytest.raises(InputError) as refused:
        desk.for_prediction("a", 0, value)
    assert str(refused.value) == f"actual_class: {value!r} is none of {CLASSES}"
    assert not desk.log.labels


def test_feedback_by_inputs_joins_the_latest_such_prediction_without_a_label() -> None:
    desk = Desk()
    places = [desk.for_inputs(SETOSA, "setosa", "setosa", None).request_id for _ in range(2)]
    assert places == ["b", "a"]
    assert desk.confusion() == {(0, 0): 2}


def test_feedback_by_inputs_finds_them_in_the_precision_of_the_log() -> None:
    desk = Desk()
    assert list(desk.log.predictions[0].inputs) != list(SETOSA)
    assert desk.for_inputs(SETOSA, 0, 0, 0.9).joined


def test_feedback_by_inputs_joins_no_prediction_of_another_class() -> None:
    desk = Desk()
    recorded = desk.for_inputs(SETOSA, "versicolor", "setosa", None)
    assert not recorded.joined
    assert recorded.request_id not in {"a", "b"}
    assert desk.confusion() == {(1, 0): 1}


def test_feedback_that_joins_nothing_still_counts_towards_the_accuracy_each_time() -> None:
    desk = Desk()
    found = [desk.for_inputs((9, 9, 9, 9), 2, actual, 0.7) for actual in (2, 1)]
    assert not any(recorded.joined for recorded in found)
    assert len({recorded.request_id for recorded in found}) == 2
    assert desk.metrics.accuracy == 0.5


def test_feedback_is_never_counted_as_a_prediction() -> None:
    desk = Desk()
    before = list(desk.log.predictions)
    desk.for_prediction("a", 0, "setosa")
    desk.for_inputs((9, 9, 9, 9), "virginica", "virginica", 0.7)
    assert desk.log.predictions == before
    assert not desk.metrics.predictions
    assert not desk.metrics.latencies


@pytest.mark.parametrize(
    ("inputs", "predicted", "actual", "message"),
    [
        (SETOSA, "rose", "setosa", f"predicted_class: 'rose' is none of {CLASSES}"),
        (SETOSA, "setosa", 7, f"actual_class: 7 is none of {CLASSES}"),
        (SETOSA[:3], "setosa", "setosa", "row 0 has 3 values, expected 4"),
        ((5.1, 3.5, -1.4, 0.2), "setosa", "setosa", "row 0, petal_length: -1.4 cm is outside"),
    ],
)
def test_feedback_by_inputs_that_breaks_the_contract_is_refused_and_not_kept(
    inputs: tuple[float, ...], predicted: str, actual: str | int, message: str
) -> None:
    desk = Desk()
    with pytest.raises(InputError) as refused:
        desk.for_inputs(inputs, predicted, actual, None)
    assert str(refused.value).startswith(message)
    assert not desk.log.labels


class RentDesk(Desk):
    """Where feedback on values is taken: a log with two requests for 30 m² in it."""

    def __init__(self) -> None:
        super().__init__(FakePredictionLog())
        self.feedback = Feedback(RENT, self.log, self.metrics)
        identity = int(identities(RENT.encode_rows([[30]]))[0])
        for request_id in "ab":
            entry = LoggedPrediction(request_id, 0, 0.0, identity, [30.0], 300.0, None, 0.002)
            self.log.add(batch_of(entry))


def test_a_value_is_labelled_with_what_it_should_have_been() -> None:
    desk = RentDesk()
    recorded = desk.for_prediction("a", 0, 310)
    assert (recorded.predicted, recorded.actual, recorded.joined) == (300, 310, True)
    desk.for_prediction("b", 0, 270.0)
    assert desk.metrics.mean_absolute_error == 20
    assert desk.metrics.accuracy is None


def test_a_value_is_found_by_its_inputs_too() -> None:
    desk = RentDesk()
    found = [desk.for_inputs([30], 300.0, 305.0).request_id for _ in range(2)]
    assert found == ["b", "a"]
    other = desk.for_inputs([31], 300.0, 305.0)
    assert (other.predicted, other.actual, other.joined) == (300, 305, False)


@pytest.mark.parametrize("value", ["310", float("nan"), float("inf")])
def test_what_is_no_number_is_no_truth_of_a_value(value: str | float) -> None:
    desk = RentDesk()
    with pytest.raises(InputError, match="actual: .* is not a finite number"):
        desk.for_prediction("a", 0, value)
    assert not desk.log.labels


def test_live_quality_is_that_of_the_labelled_pairs() -> None:
    desk = Desk()
    for row, actual in enumerate(("setosa", "virginica", "virginica")):
        desk.for_prediction("b", row, actual)
    report = live_quality(desk.log, iris.SPEC, since=0)
    assert report is not None
    # rows are true, columns predicted
    assert report.confusion.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 1]]


def test_without_labels_there_is_no_live_quality() -> None:
    desk = Desk()
    assert live_quality(desk.log, iris.SPEC, since=0) is None
    desk.log.label(LabelledPrediction("old", 0, 0, 1), at=10)
    assert live_quality(desk.log, iris.SPEC, since=11) is None
