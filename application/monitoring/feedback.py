"""Feedback: the actual class or value of an earlier prediction, joined with that prediction."""

from __future__ import annotations

import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from application.monitoring.recorder import WRITE_SECONDS, every, identities
from application.ports.metrics import QualityMetrics
from application.ports.prediction_log import (
    FeedbackLog,
    LabelledPrediction,
    LoggedPrediction,
    PredictionStatistics,
)
from domain.contract import ROW_IDS, ModelSpec, as_word, join_names, parse_word, short_repr
from domain.errors import InputError, PredictionLogError, UnknownPredictionError
from domain.evaluation.intervals import score_interval
from domain.evaluation.measures import Measure
from domain.evaluation.metrics import ClassificationReport
from shared.request_id import time_of

QUALITY_HOURS = 24
FEWEST_LABELS = 30  # fewer are too few to say how good a model is
_SCORED_ROWS, _RESAMPLES = 10_000, 200
NEW_SECONDS = 60.0  # an older prediction is in the log by now, or never will be
PAUSES = (0.05, 0.05, 0.1, 0.2, 0.3, 0.3)  # another worker writes every `WRITE_SECONDS`
WRITE_PAUSES = (0.3, 0.5, 0.7)  # what a slow log could not take is tried again after a second
WRITTEN_SECONDS = 2 * WRITE_SECONDS  # until then, every worker has written what waited
LONGEST_ID = 80  # 64 characters of the caller's ID, and the position of a part of the request
_ID = re.compile(rf"[A-Za-z0-9._-]{{1,{LONGEST_ID}}}")
Found = TypeVar("Found")

Truth = str | int | float | bool
"""A class by its name or as the target had it (true, 1.0), or by its number if no name is a number;
or a value."""


@dataclass(frozen=True)
class FeedbackResult:
    """Feedback as it was recorded.

    Attributes:
        predicted, actual: names of classes, or values.
        joined: whether its prediction was found in the log.
    """

    request_id: str
    row: int
    predicted: str | float
    actual: str | float
    joined: bool


class Feedback:
    """Records labels and updates the live quality.

    The methods `for_…` run in steps: each step yields the seconds to wait before the next one. The
    first step is fast: it searches recent predictions, or nothing yet if the row is named by its
    ID; the others search the whole log, or wait for another worker to write to it. Invalid feedback
    is refused before the log is used.

    Args:
        measure: the chosen measure, whose live score is updated at most every `score_seconds`, and
            as long after the last label.
        flush: writes to the log what waits in this process, and returns whether that worked; called
            before each search.
        version: of the service: the live quality is that of its predictions; None for all versions.

    Raises:
        PredictionLogError: from these methods, the log is busy or unavailable.
    """

    def __init__(
        self,
        measure: Measure,
        log: FeedbackLog,
        metrics: QualityMetrics,
        flush: Callable[[], bool] = lambda: True,
        score_seconds: float = 10.0,
        version: str | None = None,
    ) -> None:
        self._spec, self._log, self._version = measure.spec, log, version
        self._classes: dict[str, Sequence[str]] = {}
        self._quality = QualityGauges(measure, log, metrics, version)
        self._flush = flush
        self._update_score = every(score_seconds, self._quality.set_score)
        self._score_seconds, self._last_score = score_seconds, threading.Event()

    def for_prediction(
        self, request_id: str, row: int, actual: Truth
    ) -> Generator[float, None, FeedbackResult]:
        """Label an earlier prediction.

        Raises:
            InputError: the request ID, the class or the value is invalid.
            UnknownPredictionError: no such prediction.
        """
        _all_of(partial(_check_request_id, request_id), partial(self._number, "actual", actual))
        yield from self._write_waiting()
        now, made = time.time(), time_of(request_id)
        may_arrive = made is None or abs(now - made) < NEW_SECONDS
        prediction = yield from _search(
            partial(self._log.find, request_id, row),
            since=now - NEW_SECONDS if made is None else made,
            pauses=PAUSES if may_arrive else (),
        )
        if prediction is None:
            raise UnknownPredictionError(f"no prediction {request_id!r}, row {row}, in the log")
        return self._record(prediction, actual, joined=True)

    def for_id(self, row_id: str | float, actual: Truth) -> Generator[float, None, FeedbackResult]:
        """Label the latest prediction for a row with this ID of its caller.

        That is the latest one before this call, whichever worker made it, if each worker writes to
        the log within `WRITTEN_SECONDS`. Without an earlier one, it waits a second for one.

        Raises:
            InputError: the ID, the class or the value is invalid.
            UnknownPredictionError: no prediction has this ID.
        """
        text, _ = _all_of(partial(ROW_IDS.text, row_id), partial(self._number, "actual", actual))
        yield from self._write_waiting()
        now = time.time()
        yield WRITTEN_SECONDS  # a prediction that is in the log may not be the latest one
        prediction = yield from _search(
            lambda _since: self._log.find_id(text, until=now) or self._log.find_id(text),
            since=0.0,
            pauses=PAUSES[3:],
        )
        if prediction is None:
            raise UnknownPredictionError(
                f"no prediction with the id {row_id!r} in the log: was it sent with the row?"
            )
        return self._record(prediction, actual, joined=True)

    def for_inputs(
        self,
        inputs: Sequence[Any],
        predicted: Truth,
        actual: Truth,
        confidence: float | None = None,
    ) -> Generator[float, None, FeedbackResult]:
        """Label the latest unlabelled prediction of this class or value for these inputs.

        If the log has none, the pair still counts towards the quality, under an ID of its own, but
        not as a prediction.

        Args:
            inputs: one value for each input, as requests have them.

        Raises:
            InputError: a class or value is invalid, the inputs break the contract, or the log
                leaves some out.
        """
        if names := self._spec.unlogged_names:
            raise InputError(
                f"the prediction log leaves out {join_names(names)}, so that no prediction can be "
                "found by its inputs: send request_id and row, or id"
            )
        encoded, number, _ = _all_of(
            partial(self._spec.encode_rows, [inputs]),
            partial(self._number, "predicted", predicted),
            partial(self._number, "actual", actual),
        )
        identity = int(identities(encoded)[0])
        yield from self._write_waiting()
        found = yield from _search(
            partial(self._log.find_unlabelled, identity, number),
            since=time.time() - NEW_SECONDS,
            pauses=PAUSES[:3],
        )
        if found and self._classes_of(found.version) != self._spec.classes:
            found = None  # the number of the class is that of another one there
        prediction = found or LoggedPrediction(
            f"feedback-{uuid.uuid4().hex}",
            0,
            time.time(),
            identity,
            self._spec.logged(encoded)[0].tolist(),
            number,
            confidence,
            0.0,
            self._version,
        )
        return self._record(prediction, actual, joined=found is not None)

    def truth(self, field: str, value: Truth) -> str | float:
        """The truth as responses show it: the name of a class, or a value.

        Raises:
            InputError: the class or the value is invalid.
        """
        return _name_or_value(self._spec.classes, self._number(field, value))

    def _write_waiting(self) -> Generator[float, None, None]:
        """Write what waits; while the log is unavailable, do not search or wait for it."""
        for pause in WRITE_PAUSES:
            if self._flush():
                return
            yield pause
        if not self._flush():
            raise PredictionLogError(
                "the prediction log is unavailable or catching up: retry later"
            )

    def _record(self, prediction: LoggedPrediction, actual: Truth, joined: bool) -> FeedbackResult:
        """Store a label in the numbers of the version that made the prediction."""
        now, version = time.time(), prediction.version
        classes = self._classes_of(version)
        if classes is None:
            raise InputError(
                f"version {version}, which made the prediction, noted no classes and has predicted "
                "more of them than this version knows: record the label by make feedback"
            )
        try:
            truth = label_number(classes, _field("actual", classes), actual)
        except InputError as error:
            reason = f"{error}, the classes of version {version}, which made the prediction"
            raise InputError(reason) from error
        labelled = LabelledPrediction(
            prediction.request_id,
            prediction.row,
            prediction.predicted,
            truth,
            prediction.confidence,
            prediction.version,
            prediction.at if joined else None,
        )
        self._log.label(labelled, at=now)
        self._update_metrics()
        return FeedbackResult(
            labelled.request_id,
            labelled.row,
            _name_or_value(classes, labelled.predicted),
            _name_or_value(classes, labelled.actual),
            joined,
        )

    def _update_metrics(self) -> None:
        self._quality.set_totals()
        if not self._update_score() and not self._last_score.is_set():
            self._last_score.set()
            timer = threading.Timer(self._score_seconds, self._set_last_score)
            timer.daemon = True
            timer.start()

    def _set_last_score(self) -> None:
        """Set the score once more, so that it includes the last labels."""
        self._last_score.clear()
        with suppress(PredictionLogError):  # the next label will set it
            self._quality.set_score()

    def _number(self, field: str, value: Truth) -> float:
        classes = self._spec.classes
        return label_number(classes, _field(field, classes), value)

    def _classes_of(self, version: str | None) -> Sequence[str] | None:
        """The classes of a version, empty for a regression.

        Those of this version if they are not on record, as of versions from before services noted
        them. None if it has predicted others.
        """
        own = self._spec.classes
        if not own or self._version is None or version in (None, self._version):
            return own
        if version not in self._classes:
            found = self._log.classes_of(version)
            if found is None:
                predicted = self._log.by_class(0.0, None, version)
                return own if max(predicted, default=0) < len(own) else None
            self._classes[version] = tuple(found)
        return self._classes[version]


class QualityGauges:
    """Shows the live quality of the predictions that were labelled in the last 24 hours.

    Args:
        version: whose predictions count; None for all versions.
    """

    def __init__(
        self,
        measure: Measure,
        log: PredictionStatistics,
        metrics: QualityMetrics,
        version: str | None = None,
    ) -> None:
        self._measure, self._log, self._metrics = measure, log, metrics
        self._version = version
        self._totals: tuple[float, ...] = ()

    def update(self) -> None:
        """Show labels that arrived by whatever way: labels of a file, and those of other workers.

        Without a change in the totals, which are quick to read, labels are not read.
        """
        if self.set_totals():
            self.set_score()

    def set_totals(self) -> bool:
        """Set accuracy or error, and their number of labels; returns whether they have changed."""
        since, before = time.time() - QUALITY_HOURS * 3600, self._totals
        rows, self._totals = 0, ()
        if self._measure.spec.classes:
            report = live_quality(self._log, self._measure.spec, since, self._version)
            if report:
                rows, self._totals = report.rows, tuple(report.confusion.ravel().tolist())
                self._metrics.set_accuracy(report.accuracy)
        else:
            errors = self._log.errors(since, None, self._version)
            if errors:
                rows, self._totals = errors.labelled, astuple(errors)
                self._metrics.set_mean_absolute_error(errors.mean_absolute_error)
        if rows or before:  # without rows, the last labels are older than 24 hours by now
            self._metrics.set_labelled(rows)
        return self._totals != before

    def set_score(self) -> None:
        """Set the score of the chosen measure, if it is defined for the labels, and its interval,
        if there are enough."""
        since = time.time() - QUALITY_HOURS * 3600
        rows = _live_rows(self._log, self._measure, since, self._version)
        score = self._measure.score(*rows) if rows else np.nan
        if rows is None or np.isnan(score):
            return
        enough = len(rows[0]) >= FEWEST_LABELS
        interval = score_interval(self._measure, *rows, _RESAMPLES) if enough else None
        self._metrics.set_score(self._measure.name, score, interval)


def label_number(classes: Sequence[str], field: str, value: Truth) -> float:
    """The number of a class, or the value itself.

    Args:
        classes: names of the classes; empty for a regression.
        field: its name in the request or table.

    Raises:
        InputError: it is not a class, or not a finite number.
    """
    if not classes:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and abs(value) <= sys.float_info.max:  # type: ignore[arg-type]
            return float(value)
        raise InputError(f"{field}: {short_repr(value)} is not a finite number")
    word = parse_word(value, classes) if isinstance(value, str) else as_word(value)
    if word in classes:
        return classes.index(word)
    numbered = are_numbered(classes) and not isinstance(value, bool)
    if numbered and value in range(len(classes)):  # also 1.0
        return float(value)
    raise InputError(f"{field}: {short_repr(value)} is not one of {', '.join(classes)}")


def _field(name: str, classes: Sequence[str]) -> str:
    """The field of a request that has a class, or a value: `actual_class`, or `actual`."""
    return f"{name}_class" if classes else name


def are_numbered(classes: Sequence[str]) -> bool:
    """Whether an integer can stand for a class by its position: not if a name is a number."""
    return not any(map(_is_number, classes))


def live_quality(
    log: PredictionStatistics, spec: ModelSpec, since: float, version: str | None = None
) -> ClassificationReport | None:
    """Quality of a classifier on the predictions labelled since a time.

    None without labels, and if some are of a version with more classes.

    Args:
        version: whose predictions count; None for all versions.
    """
    counts, classes = log.confusion(since, None, version), len(spec.classes)
    if not counts or max(map(max, counts)) >= classes:
        return None
    confusion = np.zeros((classes, classes), dtype=np.int64)
    for (predicted, actual), count in counts.items():
        confusion[actual, predicted] = count
    return ClassificationReport(confusion)


def has_unknown_classes(spec: ModelSpec, labelled: np.ndarray) -> bool:
    """Whether labelled rows, as `PredictionStatistics.labelled` returns them, have a class that a
    contract lacks."""
    return bool(spec.classes) and labelled[:, :2].max(initial=0) >= len(spec.classes)


def live_score(
    log: PredictionStatistics, measure: Measure, since: float, version: str | None = None
) -> float | None:
    """Score of the chosen measure on the latest 10,000 predictions labelled since a time.

    None without labels, and if the measure is not defined for them: an area under a curve needs
    labels of both classes, R² two different values, and as the log has only the probability of the
    predicted class, a measure of probabilities needs a binary classifier. None also if some labels
    are of a version with more classes.
    """
    rows = _live_rows(log, measure, since, version)
    score = measure.score(*rows) if rows else np.nan
    return None if np.isnan(score) else score


def _live_rows(
    log: PredictionStatistics, measure: Measure, since: float, version: str | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Actual classes or values and predictions of the latest labels, as `scorable` returns them."""
    labelled = log.labelled(since, _SCORED_ROWS, None, version)
    return None if has_unknown_classes(measure.spec, labelled) else scorable(measure, labelled)


def scorable(measure: Measure, labelled: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Actual classes or values and predictions, as `Measure.score` takes them; None if there are
    none, or the measure needs more than the log has.

    Args:
        labelled: predicted, actual and confidence, shape (n_rows, 3).
    """
    spec = measure.spec
    predicted, actual, confidence = labelled.T
    predictions = np.stack([predicted] * 3, axis=1)
    if measure.name == "r2" and (actual == actual[:1]).all():
        return None
    if spec.classes:
        n_classes, known = len(spec.classes), np.isfinite(confidence)
        predictions = np.eye(n_classes)[predicted.astype(np.int64)]
        if measure.needs_probabilities:
            if n_classes != 2:
                return None
            predictions, actual = predictions[known], actual[known]
            sure = confidence[known, None]
            predictions = predictions * sure + (1 - predictions) * (1 - sure)
        actual = actual.astype(np.int64)
    return (actual, predictions) if len(actual) else None


def _all_of(*checks: Callable[[], Any]) -> list[Any]:
    """What each check returns.

    Raises:
        InputError: checks failed; the message has all of their faults.
    """
    found = [_outcome(check) for check in checks]
    faults = [str(item) for item in found if isinstance(item, InputError)]
    if faults:
        raise InputError("; ".join(faults))
    return found


def _outcome(check: Callable[[], Any]) -> Any:
    """What a check returns, or the InputError that it raises."""
    try:
        return check()
    except InputError as error:
        return error


def _name_or_value(classes: Sequence[str], number: float) -> str | float:
    return classes[int(number)] if classes else number


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _search(
    find: Callable[[float], Found | None], since: float, pauses: Sequence[float]
) -> Generator[float, None, Found | None]:
    """Search the log: first from `since` on, then all of it, then again from `since` on after each
    pause."""
    found = find(since)
    for pause, start in ((0.0, 0.0), *((pause, since) for pause in pauses)):
        if found is not None:
            break
        yield pause
        found = find(start)
    return found


def _check_request_id(request_id: str) -> None:
    """Refuse an ID that no prediction can have, before searching the database for it."""
    if not _ID.fullmatch(request_id):
        raise InputError(
            f"request_id: {request_id[:40]!r} ({len(request_id)} characters) is not a request ID: "
            f"expected 1 to {LONGEST_ID} letters, digits, '.', '_' or '-'"
        )
