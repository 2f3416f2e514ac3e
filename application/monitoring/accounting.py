"""Accounting of predictions in batches, off the path of the request."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from application.inference.predictor import Answered
from application.ports import LoggedPrediction, MetricsSink, PredictionLog
from domain.models.contract import ModelSpec

logger = logging.getLogger(__name__)


class Accountant:
    """Counts and logs answered requests from a thread of its own.

    Memory is bounded: past `capacity` waiting rows, further ones are counted but not logged, and
    each such request shows as an error of type ``log_overflow``.

    Args:
        interval: seconds between two batches.
        watch: called after a batch with new rows, to look for drift.
    """

    def __init__(
        self,
        spec: ModelSpec,
        metrics: MetricsSink,
        log: PredictionLog,
        *,
        interval: float = 0.05,
        capacity: int = 100_000,
        watch: Callable[[], None] | None = None,
    ) -> None:
        self._classes = spec.classes
        self._metrics = metrics
        self._log = log
        self._interval = interval
        self._capacity = capacity
        self._watch = watch
        self._waiting: deque[Answered] = deque()
        self._rows = 0
        self._batch = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="accountant", daemon=True)
        self._thread.start()

    def account(self, answered: Answered) -> None:
        """Queue one answered request."""
        self._waiting.append(answered)

    def flush(self) -> None:
        """Count and log everything that is waiting."""
        with self._batch:
            batch = []
            while self._waiting:
                batch.append(self._waiting.popleft())
            if not batch:
                return
            logged: list[LoggedPrediction] = []
            for answered in batch:
                self._metrics.record_predictions(
                    [self._classes[code] for code in answered.predicted.tolist()],
                    answered.confidence.tolist(),
                    answered.latency,
                )
                if len(logged) + len(answered.rows) > self._capacity:
                    self._metrics.record_error("log_overflow")
                    continue
                logged += _entries(answered)
            self._log.add(logged)
            if self._watch:
                self._watch()

    def close(self) -> None:
        """Account for what is waiting and end the thread."""
        self._closing.set()
        self._thread.join()
        self.flush()

    def _run(self) -> None:
        while not self._closing.wait(self._interval):
            try:
                self.flush()
            except Exception:  # pylint: disable=broad-exception-caught  # the thread must live on
                logger.exception("a batch of predictions was not logged")
                self._metrics.record_error("log_failure")


def _entries(answered: Answered) -> list[LoggedPrediction]:
    columns = zip(
        answered.rows.tolist(),
        answered.predicted.tolist(),
        answered.confidence.tolist(),
        strict=True,
    )
    return [
        LoggedPrediction(
            answered.request_id, row, answered.at, inputs, predicted, confidence, answered.latency
        )
        for row, (inputs, predicted, confidence) in enumerate(columns)
    ]


def every(seconds: float, action: Callable[[], None]) -> Callable[[], None]:
    """The action, done at most once in so many seconds."""
    last = -float("inf")

    def act() -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            action()

    return act
