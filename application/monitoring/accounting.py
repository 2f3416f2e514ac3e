"""Accounting of predictions in batches, off the path of the request."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from itertools import repeat

import numpy as np

from application.inference.predictor import Answered
from application.ports import LoggedPrediction, MetricsSink, PredictionLog
from domain.models.contract import ModelSpec

logger = logging.getLogger(__name__)


class Accountant:
    """Counts and logs answered requests from a thread of its own.

    Memory is bounded: a request that would make more than `capacity` rows wait is counted at once
    but not logged, and shows as an error of type ``log_overflow``.

    Args:
        interval: seconds between two batches.
        watch: looks for drift and says whether it has looked; called after a batch with new rows,
            and again until it has.
    """

    def __init__(
        self,
        spec: ModelSpec,
        metrics: MetricsSink,
        log: PredictionLog,
        *,
        interval: float = 0.05,
        capacity: int = 100_000,
        watch: Callable[[], bool] | None = None,
    ) -> None:
        self._spec = spec
        self._metrics = metrics
        self._log = log
        self._capacity = capacity
        self._watch = watch
        self._owed = False  # a look at rows that are in the log
        self._waiting: list[Answered] = []
        self._rows = 0  # in `_waiting`
        self._queue = threading.Lock()
        self._batch = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(interval,), name="accountant", daemon=True
        )
        self._thread.start()

    def account(self, answered: Answered) -> None:
        """Queue one answered request."""
        with self._queue:
            fits = self._rows + len(answered.rows) <= self._capacity
            if fits:
                self._waiting.append(answered)
                self._rows += len(answered.rows)
        if not fits:
            self._count(answered)
            self._metrics.record_error("log_overflow")

    def flush(self) -> None:
        """Count and log everything that is waiting."""
        with self._batch:
            with self._queue:
                batch, self._waiting, self._rows = self._waiting, [], 0
            for answered in batch:
                self._count(answered)
            if batch:
                self._log.add([entry for answered in batch for entry in self._entries(answered)])
            owed, self._owed = self._owed or bool(batch), False  # a look that fails is not repeated
            if self._watch and owed:
                self._owed = not self._watch()

    def close(self) -> None:
        """Account for what is waiting and end the thread."""
        self._closing.set()
        self._thread.join()
        self._try_to_flush()

    def _run(self, interval: float) -> None:
        while not self._closing.wait(interval):
            self._try_to_flush()

    def _try_to_flush(self) -> None:
        try:
            self.flush()
        except Exception:  # pylint: disable=broad-exception-caught  # the thread must live on
            logger.exception("a batch of predictions was not logged")
            self._metrics.record_error("log_failure")

    def _count(self, answered: Answered) -> None:
        predicted = answered.predicted.tolist()
        if answered.confidence is None:
            self._metrics.record_values(predicted, answered.latency)
        else:
            names = [self._spec.classes[code] for code in predicted]
            self._metrics.record_predictions(names, answered.confidence.tolist(), answered.latency)

    def _entries(self, answered: Answered) -> list[LoggedPrediction]:
        confidence = answered.confidence
        columns = zip(
            identities(answered.rows),
            self._spec.monitored(answered.rows).tolist(),
            answered.predicted.tolist(),
            repeat(None) if confidence is None else confidence.tolist(),
        )
        return [
            LoggedPrediction(answered.request_id, row, answered.at, *entry, answered.latency)
            for row, entry in enumerate(columns)
        ]


def identities(rows: np.ndarray) -> list[str]:
    """16 hex digits for each row of what a model is given; equal rows have equal ones."""
    if rows.dtype == object:
        contents = [str(text).encode() for (text,) in rows]
    else:
        contents = [row.tobytes() for row in rows]
    return [hashlib.blake2b(content, digest_size=8).hexdigest() for content in contents]


def every(
    seconds: float, action: Callable[[], None], clock: Callable[[], float] = time.monotonic
) -> Callable[[], bool]:
    """The action, done at most once in so many seconds; it says whether it was done this time."""
    last = -float("inf")

    def act() -> bool:
        nonlocal last
        if clock() - last < seconds:
            return False
        last = clock()
        action()
        return True

    return act
