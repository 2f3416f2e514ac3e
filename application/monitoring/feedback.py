"""Feedback: what a prediction should have been. It joins its own prediction, and is none itself."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from application.ports import LabelledPrediction, LoggedPrediction, MetricsSink, PredictionLog
from domain.errors import InputError, UnknownPredictionError
from domain.evaluation.metrics import ClassificationReport
from domain.models.contract import ModelSpec

ACCURACY_HOURS = 24
PATIENCE_SECONDS = 1.0
Found = TypeVar("Found")


@dataclass(frozen=True)
class Recorded:
    """What became of a feedback.

    Attributes:
        joined: whether the prediction that it belongs to was found in the log.
    """

    request_id: str
    row: int
    predicted_class: str
    actual_class: str
    joined: bool


class Feedback:
    """Records true classes and keeps the live accuracy."""

    def __init__(self, spec: ModelSpec, log: PredictionLog, metrics: MetricsSink) -> None:
        self._spec = spec
        self._log = log
        self._metrics = metrics

    def for_prediction(self, request_id: str, row: int, actual_class: str | int) -> Recorded:
        """Label an earlier prediction.

        Raises:
            InputError: there is no such class.
            UnknownPredictionError: there is no such prediction.
        """
        actual = self._code("actual_class", actual_class)
        prediction = _wait_for(lambda: self._log.find(request_id, row), PATIENCE_SECONDS)
        if prediction is None:
            raise UnknownPredictionError(f"no prediction {request_id!r}, row {row}, in the log")
        return self._record(prediction, actual, joined=True)

    def for_inputs(
        self,
        inputs: Sequence[float],
        predicted_class: str | int,
        actual_class: str | int,
        confidence: float | None,
    ) -> Recorded:
        """Label the latest prediction of that class for these inputs that has no label yet.

        Where the log has none, the pair still counts towards the accuracy, under an identity of its
        own; it never counts as a prediction.

        Raises:
            InputError: there is no such class, or the inputs break the contract.
        """
        predicted = self._code("predicted_class", predicted_class)
        actual = self._code("actual_class", actual_class)
        row = self._spec.check_rows([inputs])[0].tolist()
        found = _wait_for(lambda: self._log.find_unlabelled(row, predicted), PATIENCE_SECONDS / 5)
        prediction = found or LoggedPrediction(
            f"feedback-{uuid.uuid4().hex}", 0, time.time(), row, predicted, confidence or 0.0, 0.0
        )
        return self._record(prediction, actual, joined=found is not None)

    def _record(self, prediction: LoggedPrediction, actual: int, joined: bool) -> Recorded:
        now = time.time()
        self._log.label(
            LabelledPrediction(prediction.request_id, prediction.row, prediction.predicted, actual),
            now,
        )
        report = live_quality(self._log, self._spec, now - ACCURACY_HOURS * 3600)
        if report:
            self._metrics.set_accuracy(report.accuracy)
        classes = self._spec.classes
        return Recorded(
            prediction.request_id,
            prediction.row,
            classes[prediction.predicted],
            classes[actual],
            joined,
        )

    def _code(self, field: str, value: str | int) -> int:
        classes = self._spec.classes
        if value in classes:
            return classes.index(str(value))
        if isinstance(value, int) and 0 <= value < len(classes):
            return value
        raise InputError(f"{field}: {repr(value)[:100]} is none of {', '.join(classes)}")


def live_quality(log: PredictionLog, spec: ModelSpec, since: float) -> ClassificationReport | None:
    """Quality on the predictions labelled since a time; None where there are none."""
    counts = log.confusion(since)
    if not counts:
        return None
    confusion = np.zeros((len(spec.classes), len(spec.classes)), dtype=np.int64)
    for (predicted, actual), count in counts.items():
        confusion[actual, predicted] = count
    return ClassificationReport(confusion)


def _wait_for(find: Callable[[], Found | None], seconds: float) -> Found | None:
    """What is found, asked again for a while: another worker may be about to log it."""
    deadline = time.monotonic() + seconds
    while (found := find()) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return found
