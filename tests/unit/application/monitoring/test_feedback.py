"""Feedback is joined with its prediction, and does not count as a prediction."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import replace

import pytest

from application.monitoring.feedback import (
    WRITE_PAUSES,
    WRITTEN_SECONDS,
    Feedback,
    FeedbackResult,
    QualityGauges,
    Truth,
    are_numbered,
    live_quality,
    live_score,
)
from application.monitoring.recorder import WRITE_SECONDS, identities
from application.ports.prediction_log import LabelledPrediction, LoggedPrediction
from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.errors import InputError, PredictionLogError, UnknownPredictionError
from domain.evaluation.intervals import wilson_interval
from domain.evaluation.measures import Measure, default_measure
from tests import petals
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
    """A log to which another worker adds a prediction only at a later call of `find`.

    Attributes:
        searches: `since` of each call of `find`.
    """

    def __init__(self, prediction: LoggedPrediction, calls: int) -> None:
        super().__init__()
        self.searches: list[float] = []
        self._prediction = prediction
        self._calls = calls

    def find(self, request_id: str, row: int, since: float = 0.0) -> LoggedPrediction | None:
        """A prediction by its request and row, once it was added."""
        self.searches.append(since)
        if len(self.searches) == self._calls:
            self.add(batch_of(self._prediction))
        return super().find(request_id, row, since)


def finished(
    steps: Generator[float, None, FeedbackResult], pauses: list[float] | None = None
) -> FeedbackResult:
    """Run all steps without waiting, and return their result.

    Args:
        pauses: gets the pause after each step.
    """
    while True:
        try:
            pause = next(steps)
        except StopIteration as end:
            result: FeedbackResult = end.value
            return result
        if pauses is not None:
            pauses.append(pause)


class Setup:
    """Feedback with its fakes; the log has two requests.

    Attributes:
        pauses: pauses between the steps of all feedback, in seconds.
    """

    def __init__(self, log: FakePredictionLog | None = None) -> None:
        self.log = log or FakePredictionLog()
        self.metrics = FakeMetrics()
        self.pauses: list[float] = []
        self.feedback = Feedback(default_measure(petals.SPEC), self.log, self.metrics)
        if log is None:
            self.log.add(batch_of(logged_prediction("a", SETOSA)))
            several = [logged_prediction("b", row, row=i) for i, row in enumerate(FLOWERS)]
            self.log.add(batch_of(*several))

    def for_prediction(self, request_id: str, row: int, actual: Truth) -> FeedbackResult:
        """Give feedback by request ID and row."""
        return finished(self.feedback.for_prediction(request_id, row, actual), self.pauses)

    def for_inputs(
        self,
        inputs: Sequence[float],
        predicted: Truth,
        actual: Truth,
        confidence: float | None = None,
    ) -> FeedbackResult:
        """Give feedback by inputs."""
        steps = self.feedback.for_inputs(inputs, predicted, actual, confidence)
        return finished(steps, self.pauses)

    def confusion(self) -> dict[tuple[int, int], int]:
        """Every labelled pair (predicted, actual)."""
        return dict(self.log.confusion(0))


FLOWERS = (SETOSA, VERSICOLOR, VIRGINICA)


def test_feedback_labels_the_prediction_that_it_names() -> None:
    setup = Setup()
    result = setup.for_prediction("b", 2, "versicolor")
    assert (result.request_id, result.row, result.joined) == ("b", 2, True)
    assert (result.predicted, result.actual) == ("virginica", "versicolor")
    assert setup.confusion() == {(2, 1): 1}


def test_a_label_has_version_and_time_of_its_prediction_if_that_is_in_the_log() -> None:
    setup = Setup()
    setup.log.add(batch_of(replace(logged_prediction("c", SETOSA, at=5.0), version="1.0.0-a")))
    setup.for_prediction("c", 0, "setosa")
    result = setup.for_inputs([1, 1, 1, 1], "setosa", "setosa")
    labels = [setup.log.labels[key][1] for key in (("c", 0), (result.request_id, 0))]
    assert [(label.version, label.made) for label in labels] == [("1.0.0-a", 5.0), (None, None)]


@pytest.mark.parametrize(("number", "name"), [(0, "setosa"), (2, "virginica"), (1.0, "versicolor")])
def test_a_class_can_be_named_by_its_number(number: float, name: str) -> None:
    assert Setup().for_prediction("a", 0, number).actual == name


def test_numeric_class_names_take_precedence_over_class_numbers() -> None:
    setup = Setup()
    wines = ModelSpec("wine", petals.SPEC.inputs, Classes(("2", "3", "4", "5", "6")))
    feedback = Feedback(default_measure(wines), setup.log, setup.metrics)
    for actual, name in ((4, "4"), ("4", "4"), (6, "6"), (2, "2")):
        assert finished(feedback.for_prediction("a", 0, actual)).actual == name
    for actual in (0, 1, 7):
        message = f"actual_class: {actual} is not one of 2, 3, 4, 5, 6"
        with pytest.raises(InputError, match=message):
            finished(feedback.for_prediction("a", 0, actual))


@pytest.mark.parametrize("names", [("1.5", "2.5"), ("01", "02"), ("none", "-1")])
def test_classes_have_no_numbers_if_any_name_is_numeric(names: tuple[str, ...]) -> None:
    assert not are_numbered(names)
    assert are_numbered(("one", "v2"))


def test_a_second_label_replaces_the_first() -> None:
    setup = Setup()
    setup.for_prediction("a", 0, "virginica")
    assert setup.metrics.accuracy == 0.0
    setup.for_prediction("a", 0, "setosa")
    assert setup.confusion() == {(0, 0): 1}
    assert setup.metrics.accuracy == 1.0


def test_the_live_accuracy_is_the_share_of_correct_labelled_predictions() -> None:
    setup = Setup()
    assert setup.metrics.accuracy is None
    for row, actual in enumerate(("setosa", "virginica", "virginica")):
        setup.for_prediction("b", row, actual)
    assert setup.metrics.accuracy == pytest.approx(2 / 3)
    assert setup.metrics.labelled == 3


def test_labels_older_than_a_day_are_not_in_the_live_accuracy() -> None:
    setup = Setup()
    setup.log.label(LabelledPrediction("old", 0, 0, 1), at=time.time() - 25 * 3600)
    setup.for_prediction("a", 0, "setosa")
    assert setup.metrics.accuracy == 1.0


def test_an_unknown_prediction_is_refused_by_id_and_nothing_is_labelled() -> None:
    setup = Setup()
    with pytest.raises(UnknownPredictionError) as refused:
        setup.for_prediction("nobody", 3, "setosa")
    assert str(refused.value) == "no prediction 'nobody', row 3, in the log"
    assert not setup.log.labels
    assert setup.metrics.accuracy is None


def test_feedback_waits_for_a_prediction_that_another_worker_is_about_to_log() -> None:
    log = LateLog(logged_prediction("late", VIRGINICA, at=time.time()), calls=4)
    setup = Setup(log)
    assert setup.for_prediction("late", 0, "virginica").joined
    # all of a long log is read once
    assert log.searches.count(0) == 1 and len(log.searches) == 4
    assert min(filter(None, log.searches)) > time.time() - 3600
    search, *waits = setup.pauses
    assert search == 0 and min(waits) > 0


def made(at: float) -> str:
    """A request ID of that time."""
    return f"{int(at * 1000):012x}7abc8123456789abcdef"


@pytest.mark.parametrize("late", [-3600.0, 3600.0])
def test_feedback_does_not_wait_for_a_prediction_of_another_time(late: float) -> None:
    setup = Setup()
    with pytest.raises(UnknownPredictionError):
        setup.for_prediction(made(time.time() + late), 0, "setosa")
    assert setup.pauses == [0]  # one search of the whole log


@pytest.mark.parametrize("named_by", ["the caller", "the service"])
def test_feedback_waits_up_to_a_second_for_a_recent_prediction(named_by: str) -> None:
    setup = Setup()
    request_id = "nobody" if named_by == "the caller" else made(time.time())
    with pytest.raises(UnknownPredictionError):
        setup.for_prediction(request_id, 0, "setosa")
    assert sum(setup.pauses) == pytest.approx(1)


def test_a_prediction_in_the_log_is_found_in_one_step() -> None:
    setup = Setup(FakePredictionLog())
    now = time.time()
    for request_id in ("named", made(now), made(now - 30 * 86400)):
        setup.log.add(batch_of(logged_prediction(request_id, SETOSA, at=now)))
        assert setup.for_prediction(request_id, 0, "setosa").joined
        setup.log.add(batch_of(logged_prediction(f"{request_id}-2", SETOSA, at=now)))
        assert setup.for_inputs(SETOSA, "setosa", "setosa").joined
    assert not setup.pauses


@pytest.mark.parametrize(
    "request_id", ["", "a" * 81, "a" * 50_000, "a\0b", "a\n", "a b", "é", "a/b", "%", "\x7f"]
)
def test_an_invalid_request_id_is_refused_before_the_log_is_searched(request_id: str) -> None:
    log = LateLog(logged_prediction("late", VIRGINICA), calls=1)
    with pytest.raises(InputError, match="request_id: .* is not a request ID") as refused:
        Setup(log).for_prediction(request_id, 0, "setosa")
    assert len(str(refused.value)) < 300
    assert not log.searches


def test_a_request_id_and_a_class_that_are_both_wrong_are_both_told() -> None:
    with pytest.raises(
        InputError, match="request_id: '[?]' .*; actual_class: 'rose' is not one of"
    ):
        Setup().for_prediction("?", 0, "rose")
    with pytest.raises(InputError, match="id: '' is not an ID.*; actual_class: 'rose' is not one"):
        Setup().feedback.for_id("", "rose").send(None)


@pytest.mark.parametrize("value", ["rose", "", "Setosa", "0", 3, -1])
def test_an_unknown_class_is_refused_by_field_with_the_known_classes(value: str | int) -> None:
    setup = Setup()
    with pytest.raises(InputError) as refused:
        setup.for_prediction("a", 0, value)
    assert str(refused.value) == f"actual_class: {value!r} is not one of {CLASSES}"
    assert not setup.log.labels


def test_feedback_by_inputs_labels_the_latest_unlabelled_prediction() -> None:
    setup = Setup()
    ids = [setup.for_inputs(SETOSA, "setosa", "setosa", None).request_id for _ in range(2)]
    assert ids == ["b", "a"]
    assert setup.confusion() == {(0, 0): 2}


def test_feedback_by_inputs_matches_in_the_precision_of_the_log() -> None:
    setup = Setup()
    assert list(setup.log.predictions[0].inputs) != list(SETOSA)
    assert setup.for_inputs(SETOSA, 0, 0, 0.9).joined


def test_feedback_by_inputs_does_not_label_a_prediction_of_another_class() -> None:
    setup = Setup()
    result = setup.for_inputs(SETOSA, "versicolor", "setosa", None)
    assert not result.joined
    assert result.request_id not in {"a", "b"}
    assert setup.confusion() == {(1, 0): 1}


def test_feedback_without_a_matching_prediction_still_counts_every_time() -> None:
    setup = Setup()
    results = [setup.for_inputs((9, 9, 9, 9), 2, actual, 0.7) for actual in (2, 1)]
    assert not any(result.joined for result in results)
    assert len({result.request_id for result in results}) == 2
    assert setup.metrics.accuracy == 0.5


def test_feedback_is_never_counted_as_a_prediction() -> None:
    setup = Setup()
    before = list(setup.log.predictions)
    setup.for_prediction("a", 0, "setosa")
    setup.for_inputs((9, 9, 9, 9), "virginica", "virginica", 0.7)
    assert setup.log.predictions == before
    assert not setup.metrics.predictions
    assert not setup.metrics.latencies


@pytest.mark.parametrize(
    ("inputs", "predicted", "actual", "message"),
    [
        (SETOSA, "rose", "setosa", f"predicted_class: 'rose' is not one of {CLASSES}"),
        (SETOSA, "setosa", 7, f"actual_class: 7 is not one of {CLASSES}"),
        (SETOSA[:3], "setosa", "setosa", "row 0 has 3 values, expected 4"),
        (
            (5.1, 3.5, -1.4, 0.2),
            "rose",
            7,
            "row 0, petal_length: -1.4 cm is outside [0.1, 30]; predicted_class: 'rose' is not one "
            f"of {CLASSES}; actual_class: 7 is not one of {CLASSES}",
        ),
        ((5.1, 3.5, -1.4, 0.2), "setosa", "setosa", "row 0, petal_length: -1.4 cm is outside"),
    ],
)
def test_feedback_by_inputs_that_break_the_contract_is_refused_and_not_stored(
    inputs: tuple[float, ...], predicted: str, actual: str | int, message: str
) -> None:
    setup = Setup()
    with pytest.raises(InputError) as refused:
        setup.for_inputs(inputs, predicted, actual, None)
    assert str(refused.value).startswith(message)
    assert not setup.log.labels


class RentSetup(Setup):
    """Feedback on values; the log has two requests for 30 m²."""

    def __init__(self) -> None:
        super().__init__(FakePredictionLog())
        self.feedback = Feedback(default_measure(RENT), self.log, self.metrics)
        identity = int(identities(RENT.encode_rows([[30]]))[0])
        for request_id in "ab":
            entry = LoggedPrediction(request_id, 0, 0.0, identity, [30.0], 300.0, None, 0.002)
            self.log.add(batch_of(entry))


def test_a_value_is_labelled_with_its_true_value() -> None:
    setup = RentSetup()
    result = setup.for_prediction("a", 0, 310)
    assert (result.predicted, result.actual, result.joined) == (300, 310, True)
    setup.for_prediction("b", 0, 270.0)
    assert setup.metrics.mean_absolute_error == 20
    assert setup.metrics.labelled == 2
    assert setup.metrics.accuracy is None


def test_a_value_is_also_found_by_its_inputs() -> None:
    setup = RentSetup()
    found = [setup.for_inputs([30], 300.0, 305.0).request_id for _ in range(2)]
    assert found == ["b", "a"]
    other = setup.for_inputs([31], 300.0, 305.0)
    assert (other.predicted, other.actual, other.joined) == (300, 305, False)


def test_feedback_by_inputs_is_refused_where_the_log_leaves_some_out() -> None:
    setup, private = RentSetup(), replace(RENT.inputs[0], logged=False)
    spec = replace(RENT, inputs=(private,))
    feedback = Feedback(default_measure(spec), setup.log, setup.metrics)
    with pytest.raises(InputError, match="leaves out area, .*: send request_id and row, or id"):
        finished(feedback.for_inputs([30], 300.0, 305.0))
    assert finished(feedback.for_prediction("a", 0, 310)).joined
    assert len(setup.log.labels) == 1


@pytest.mark.parametrize("value", ["310", float("nan"), float("inf"), True, 10**400])
def test_the_true_value_must_be_finite(value: str | float) -> None:
    setup = RentSetup()
    with pytest.raises(InputError, match="actual: .* is not a finite number"):
        setup.for_prediction("a", 0, value)
    assert not setup.log.labels


class Pets(Setup):
    """Feedback of version 2, whose classes are others than those of version 1."""

    SPEC = ModelSpec("pets", petals.SPEC.inputs, Classes(("bird", "cat", "dog"), "pet"))

    def __init__(self) -> None:
        super().__init__(FakePredictionLog())
        self.log.classes["1"] = ["cat", "dog"]
        self.feedback = Feedback(default_measure(self.SPEC), self.log, self.metrics, version="2")
        for name in ("1", "2", "gone"):
            entry = logged_prediction(f"r{name}", VERSICOLOR)  # class 1
            self.log.add(batch_of(replace(entry, version=name)))


def test_a_label_is_stored_in_the_numbers_of_the_version_that_made_the_prediction() -> None:
    setup = Pets()
    results = [setup.for_prediction(name, 0, "dog") for name in ("r1", "r2")]
    assert [(each.predicted, each.actual) for each in results] == [("dog", "dog"), ("cat", "dog")]
    assert {key: label.actual for key, (_, label) in setup.log.labels.items()} == {
        ("r1", 0): 1,
        ("r2", 0): 2,
    }
    assert setup.for_prediction("r1", 0, 0).actual == "cat"  # number 0 of version 1
    assert (setup.metrics.labelled, setup.metrics.accuracy) == (1, 0.0)  # of version 2 only


def test_a_class_that_the_version_lacks_is_refused() -> None:
    setup = Pets()
    with pytest.raises(InputError, match="'bird' is not one of cat, dog, the classes of version 1"):
        setup.for_prediction("r1", 0, "bird")
    assert not setup.log.labels


def test_a_version_that_noted_no_classes_has_those_of_the_service_if_they_fit() -> None:
    setup = Pets()
    result = setup.for_prediction("rgone", 0, "dog")
    assert (result.predicted, result.actual, result.joined) == ("cat", "dog", True)
    fourth = replace(logged_prediction("x", SETOSA), predicted=3)
    setup.log.add(replace(batch_of(fourth), version="gone"))
    message = "version gone, .* noted no classes and has predicted more .*: record the label by"
    with pytest.raises(InputError, match=message):
        setup.for_prediction("rgone", 0, "dog")
    assert len(setup.log.labels) == 1


def test_inputs_do_not_find_a_prediction_of_a_version_with_other_classes() -> None:
    setup = Pets()
    del setup.log.predictions[1:]  # that of version 1 remains
    result = setup.for_inputs(VERSICOLOR, "cat", "cat")
    assert not result.joined and setup.log.labels[result.request_id, 0][1].version == "2"
    assert (setup.metrics.labelled, setup.metrics.accuracy) == (1, 1.0)


def test_gauges_follow_the_labels_of_a_file_for_the_version_of_the_service() -> None:
    log, metrics = labelled_log([(0, 0.9, 0)] * 3), FakeMetrics()
    gauges = QualityGauges(default_measure(petals.SPEC), log, metrics, "2")
    gauges.update()
    assert (metrics.labelled, metrics.accuracy, metrics.scores) == (None, None, {})
    for row, actual in enumerate((0, 1)):
        label = LabelledPrediction("b", row, 0, actual, 0.9, "2", 1.0)
        log.label(label, at=time.time())
    gauges.update()
    assert (metrics.labelled, metrics.accuracy, metrics.scores) == (2, 0.5, {"accuracy": 0.5})
    metrics.scores.clear()
    gauges.update()
    assert not metrics.scores  # labels are read only if there are new ones
    log.labels = {key: (at - 86400, label) for key, (at, label) in log.labels.items()}
    gauges.update()
    assert metrics.labelled == 0
    metrics.labelled = None
    gauges.update()
    assert metrics.labelled is None


def test_a_live_score_has_an_interval_from_thirty_labels_on() -> None:
    log, metrics = FakePredictionLog(), FakeMetrics()
    gauges = QualityGauges(default_measure(petals.SPEC), log, metrics, "2")
    for rows, interval in ((29, None), (30, wilson_interval(27, 30))):
        for row in range(rows):
            label = LabelledPrediction("b", row, 0, int(row % 10 == 9), 0.9, "2", 1.0)
            log.label(label, at=time.time())
        gauges.update()
        assert metrics.intervals == {"accuracy": interval}


def test_gauges_of_a_regression_show_its_error() -> None:
    log, metrics = FakePredictionLog(), FakeMetrics()
    gauges = QualityGauges(default_measure(RENT), log, metrics, "2")
    for row, actual in enumerate((300.0, 310.0)):
        log.label(LabelledPrediction("b", row, 300.0, actual, None, "2", 1.0), at=time.time())
    gauges.update()
    assert (metrics.labelled, metrics.mean_absolute_error) == (2, 5.0)
    assert metrics.scores.keys() == {"r2"}


def test_live_quality_comes_from_the_labelled_pairs() -> None:
    setup = Setup()
    for row, actual in enumerate(("setosa", "virginica", "virginica")):
        setup.for_prediction("b", row, actual)
    report = live_quality(setup.log, petals.SPEC, since=0)
    assert report is not None
    # rows are true, columns predicted
    assert report.confusion.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 1]]


def test_without_labels_there_is_no_live_quality() -> None:
    setup = Setup()
    assert live_quality(setup.log, petals.SPEC, since=0) is None
    setup.log.label(LabelledPrediction("old", 0, 0, 1), at=10)
    assert live_quality(setup.log, petals.SPEC, since=11) is None


def test_labels_of_a_version_with_more_classes_have_no_common_quality() -> None:
    log = labelled_log([(0, 0.9, 0), (0, 0.9, 3)])
    assert live_quality(log, petals.SPEC, since=0) is None
    assert live_score(log, default_measure(petals.SPEC), since=0) is None


def labelled_log(pairs: Sequence[tuple[int, float, int]]) -> FakePredictionLog:
    """A log of labels: predicted class, its probability, actual class."""
    log = FakePredictionLog()
    for row, (predicted, confidence, actual) in enumerate(pairs):
        log.label(LabelledPrediction("a", row, predicted, actual, confidence), at=10.0 + row)
    return log


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", 3 / 4),
        ("f1", 2 / 3),
        # probabilities of yes: 0.9 and 0.4 of the actual ones, 0.2 and 0.3 of the others
        ("roc_auc", 1.0),
        ("average_precision", 1.0),
        ("neg_brier_score", -(0.1**2 + 0.6**2 + 0.2**2 + 0.3**2) / 4),
    ],
)
def test_the_live_score_of_two_classes_is_that_of_their_probabilities(
    name: str, expected: float
) -> None:
    spec = ModelSpec("churn", (Number("x", "", 0, 1),), Classes(("no", "yes"), "churned"))
    log = labelled_log([(1, 0.9, 1), (0, 0.6, 1), (0, 0.8, 0), (0, 0.7, 0)])
    assert live_score(log, Measure(spec, name), since=0) == pytest.approx(expected)
    no_positive = live_score(log, Measure(spec, name), since=12.0)
    assert (no_positive is None) == (name in ("f1", "roc_auc", "average_precision"))
    assert live_score(log, Measure(spec, name), since=100.0) is None


def test_r2_has_no_live_score_until_two_values_differ() -> None:
    log, measure = FakePredictionLog(), default_measure(RENT)
    found = []
    for row, actual in enumerate((100.0, 100.0, 120.0)):
        log.label(LabelledPrediction("a", row, 110.0, actual, None), at=10.0 + row)
        found.append(live_score(log, measure, since=0))
    assert found == [None, None, pytest.approx(1 - 300 / (800 / 3))]
    assert live_score(log, Measure(RENT, "neg_mean_absolute_error"), since=0) == -10


def test_the_log_has_too_little_for_the_probabilities_of_three_classes() -> None:
    log = labelled_log([(0, 0.9, 0), (1, 0.6, 2)])
    assert live_score(log, Measure(petals.SPEC, "roc_auc"), since=0) is None
    assert live_score(log, Measure(petals.SPEC, "balanced_accuracy"), since=0) == 0.5


def test_feedback_sets_the_score_of_the_chosen_measure() -> None:
    setup = Setup()
    setup.for_prediction("a", 0, "virginica")
    assert setup.metrics.scores == {"accuracy": 0.0}


def test_the_score_includes_the_last_labels_of_a_burst() -> None:
    setup = Setup()
    setup.feedback = Feedback(
        default_measure(petals.SPEC), setup.log, setup.metrics, score_seconds=0.05
    )
    setup.for_prediction("a", 0, "virginica")
    for row in range(3):
        setup.for_prediction("b", row, petals.SPEC.classes[0])
    assert setup.metrics.scores == {"accuracy": 0.0}
    expected = live_score(setup.log, default_measure(petals.SPEC), since=0)
    deadline = time.monotonic() + 10
    while setup.metrics.scores["accuracy"] != expected and time.monotonic() < deadline:
        time.sleep(0.01)
    assert setup.metrics.scores == {"accuracy": expected} and expected


@pytest.mark.parametrize(
    ("classes", "actual", "name"),
    [
        (("false", "true"), True, "true"),
        (("false", "true"), "True", "true"),
        (("false", "true"), 0, "false"),
        (("1", "2"), 2.0, "2"),
        (("1", "2"), "2.0", "2"),
        (("1", "2"), 1, "1"),
        (("no", "yes"), " yes ", "yes"),
    ],
)
def test_a_label_may_be_written_as_the_target_was(
    classes: tuple[str, ...], actual: Truth, name: str
) -> None:
    spec = replace(petals.SPEC, output=Classes(classes))
    feedback = Feedback(default_measure(spec), FakePredictionLog(), FakeMetrics())
    assert feedback.truth("actual", actual) == name


def test_a_boolean_is_not_the_number_of_a_class() -> None:
    spec = replace(petals.SPEC, output=Classes(("no", "yes")))
    feedback = Feedback(default_measure(spec), FakePredictionLog(), FakeMetrics())
    with pytest.raises(InputError, match="actual_class: true is not one of no, yes"):
        feedback.truth("actual", True)


# feedback by the ID of a row


@pytest.mark.parametrize(("sent", "asked"), [("order-17", "order-17"), ("17", 17), ("17", "17")])
def test_feedback_by_id_labels_the_latest_prediction_of_the_row(
    sent: str, asked: str | int
) -> None:
    setup = Setup()
    for request_id in ("older", "newer"):
        rows = [logged_prediction(request_id, row, row=i) for i, row in enumerate(FLOWERS)]
        setup.log.add(batch_of(*rows, ids={0: "other", 1: sent}))
    result = finished(setup.feedback.for_id(asked, "setosa"), setup.pauses)
    assert (result.request_id, result.row, result.joined) == ("newer", 1, True)
    assert (result.predicted, result.actual) == ("versicolor", "setosa")
    assert setup.confusion() == {(1, 0): 1} and setup.pauses == [WRITTEN_SECONDS]


def test_feedback_by_id_waits_until_another_worker_has_written_a_later_prediction() -> None:
    setup = Setup()
    setup.log.add(batch_of(logged_prediction("older", SETOSA, at=time.time()), ids={0: "a"}))
    latest = logged_prediction("latest", VIRGINICA, at=time.time())
    steps = setup.feedback.for_id("a", "setosa")
    assert next(steps) == WRITTEN_SECONDS > WRITE_SECONDS
    setup.log.add(batch_of(latest, ids={0: "a"}))
    # it was made while the label waited
    after = logged_prediction("after", SETOSA, at=time.time() + 0.1)
    setup.log.add(batch_of(after, ids={0: "a"}))
    assert finished(steps, setup.pauses).request_id == "latest"
    assert not setup.pauses


def test_feedback_by_id_takes_a_later_prediction_if_there_is_none_before() -> None:
    setup = Setup()
    steps = setup.feedback.for_id("a", "setosa")
    next(steps)
    later = logged_prediction("later", SETOSA, at=time.time() + 5)
    setup.log.add(batch_of(later, ids={0: "a"}))
    assert finished(steps).request_id == "later"


def test_feedback_by_an_unknown_id_waits_a_second_and_is_refused() -> None:
    setup = Setup()
    with pytest.raises(UnknownPredictionError, match="no prediction with the id 'order-17' in the"):
        finished(setup.feedback.for_id("order-17", "setosa"), setup.pauses)
    assert sum(setup.pauses) == pytest.approx(1)
    assert not setup.log.labels


@pytest.mark.parametrize(
    ("row_id", "actual", "message"),
    [("", "setosa", "^id: '' is not an ID"), (1.5, "setosa", "^id: 1.5"), ("a", "rose", "'rose'")],
)
def test_feedback_by_id_that_is_invalid_is_refused_before_the_log_is_searched(
    row_id: str | float, actual: str, message: str
) -> None:
    setup = Setup()
    with pytest.raises(InputError, match=message):
        finished(setup.feedback.for_id(row_id, actual), setup.pauses)
    assert not setup.pauses


def test_feedback_is_refused_without_a_search_while_predictions_wait_for_the_log() -> None:
    flushed: list[bool] = []
    log, metrics = FakePredictionLog(), FakeMetrics()
    log.add(batch_of(logged_prediction("a", SETOSA)))
    feedback = Feedback(
        default_measure(petals.SPEC), log, metrics, lambda: bool(flushed and flushed.pop(0))
    )
    pauses: list[float] = []
    for steps in (
        feedback.for_prediction("a", 0, "setosa"),
        feedback.for_id("order-1", "setosa"),
        feedback.for_inputs(SETOSA, "setosa", "setosa"),
    ):
        with pytest.raises(PredictionLogError, match="unavailable or catching up: retry later"):
            finished(steps, pauses)
    assert pauses == [*WRITE_PAUSES] * 3 and not log.labels
    flushed += [False, True]  # the log works again
    assert finished(feedback.for_prediction("a", 0, "setosa")).joined
