"""Feedback: what a prediction should have been. It joins its own prediction, and is none itself."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from application.inference.protocols.request_id import time_of
from application.monitoring.accounting import identities
from application.ports import LabelledPrediction, LoggedPrediction, MetricsSink, PredictionLog
from domain.errors import InputError, UnknownPredictionError
from domain.evaluation.metrics import ClassificationReport
from domain.models.contract import ModelSpec, as_word

QUALITY_HOURS = 24
PATIENCE_SECONDS = 1.0
NEW_SECONDS = 60.0  # what was answered before is in the log, or never will be
Found = TypeVar("Found")


Truth = str | int | float
"""A class by its name, or by its number where no name is one; or a value."""


@dataclass(frozen=True)
class Recorded:
    """What became of a feedback.

    Attributes:
        predicted, actual: names of classes, or values.
        joined: whether the prediction that it belongs to was found in the log.
    """

    request_id: str
    row: int
    predicted: str | float
    actual: str | float
    joined: bool


class Feedback:
    """Records what was true and keeps the live quality."""

    def __init__(self, spec: ModelSpec, log: PredictionLog, metrics: MetricsSink) -> None:
        self._spec = spec
        self._log = log
        self._metrics = metrics

    def for_prediction(self, request_id: str, row: int, actual: Truth) -> Recorded:
        """Label an earlier prediction.

        Raises:
            InputError: there is no such class, or the value is none.
            UnknownPredictionError: there is no such prediction.
        """
        truth = self._number("actual", actual)
        made = time_of(request_id)
        patience = 0.0 if made and made < time.time() - NEW_SECONDS else PATIENCE_SECONDS
        prediction = _wait_for(lambda since: self._log.find(request_id, row, since), patience)
        if prediction is None:
            raise UnknownPredictionError(f"no prediction {request_id!r}, row {row}, in the log")
        return self._record(prediction, truth, joined=True)

    def for_inputs(
        self,
        inputs: Sequence[Any],
        predicted: Truth,
        actual: Truth,
        confidence: float | None = None,
    ) -> Recorded:
        """Label the latest such prediction for these inputs that has no label yet.

        Where the log has none, the pair still counts towards the quality, under an identity of its
        own; it never counts as a prediction.

        Args:
            inputs: one value for each input, as requests have them.

        Raises:
            InputError: there is no such class, or the inputs break the contract.
        """
        answer, truth = self._number("predicted", predicted), self._number("actual", actual)
        encoded = self._spec.encode_rows([inputs])
        identity = int(identities(encoded)[0])
        found = _wait_for(
            lambda since: self._log.find_unlabelled(identity, answer, since), PATIENCE_SECONDS / 5
        )
        prediction = found or LoggedPrediction(
            f"feedback-{uuid.uuid4().hex}",
            0,
            time.time(),
            identity,
            self._spec.monitored(encoded)[0].tolist(),
            answer,
            confidence,
            0.0,
        )
        return self._record(prediction, truth, joined=found is not None)

    def truth(self, field: str, value: Truth) -> str | float:
        """A truth as answers show it: the name of a class, or a value.

        Raises:
            InputError: there is no such class, or the value is none.
        """
        return self._shown(self._number(field, value))

    def _record(self, prediction: LoggedPrediction, actual: float, joined: bool) -> Recorded:
        now = time.time()
        labelled = LabelledPrediction(
            prediction.request_id, prediction.row, prediction.predicted, actual
        )
        self._log.label(labelled, now)
        self._measure(now - QUALITY_HOURS * 3600)
        return Recorded(
            labelled.request_id,
            labelled.row,
            self._shown(labelled.predicted),
            self._shown(labelled.actual),
            joined,
        )

    def _measure(self, since: float) -> None:
        if self._spec.classes:
            report = live_quality(self._log, self._spec, since)
            if report:
                self._metrics.set_accuracy(report.accuracy)
        else:
            errors = self._log.errors(since)
            if errors:
                self._metrics.set_mean_absolute_error(errors.mean_absolute_error)

    def _shown(self, number: float) -> str | float:
        return self._spec.classes[int(number)] if self._spec.classes else number

    def _number(self, field: str, value: Truth) -> float:
        """The number of a class, or the value itself."""
        classes = self._spec.classes
        if not classes:
            if isinstance(value, str) or not math.isfinite(value):
                raise InputError(f"{field}: {repr(value)[:100]} is not a finite number")
            return float(value)
        word = as_word(value)
        if word in classes:
            return classes.index(word)
        if isinstance(value, int) and are_numbered(classes) and 0 <= value < len(classes):
            return value
        raise InputError(f"{field}_class: {repr(value)[:100]} is none of {', '.join(classes)}")


def are_numbered(classes: Sequence[str]) -> bool:
    """Whether a whole number says a class by its position: not where a name is itself a number."""
    return not any(map(_is_number, classes))


def live_quality(log: PredictionLog, spec: ModelSpec, since: float) -> ClassificationReport | None:
    """Quality of classes on the predictions labelled since a time; None where there are none."""
    counts = log.confusion(since)
    if not counts:
        return None
    confusion = np.zeros((len(spec.classes), len(spec.classes)), dtype=np.int64)
    for (predicted, actual), count in counts.items():
        confusion[actual, predicted] = count
    return ClassificationReport(confusion)


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _wait_for(find: Callable[[float], Found | None], seconds: float) -> Found | None:
    """What is found, asked again for a while: another worker may be about to log it.

    Args:
        find: told since when what it looks for was answered.
    """
    found, recent = find(0.0), time.time() - NEW_SECONDS
    deadline = time.monotonic() + seconds
    while found is None and time.monotonic() < deadline:
        time.sleep(0.02)
        found = find(recent)
    return found
