"""Recording of predictions in batches, off the path of the request."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from application.ports.metrics import PredictionMetrics
from application.ports.prediction_log import PredictionBatch, PredictionWriter
from application.ports.recorder import PredictionResult
from domain.contract import ModelSpec

logger = logging.getLogger(__name__)

REQUESTS_AT_ONCE = 128
ROWS_AT_ONCE = 1024  # so that answering never waits long for the interpreter
BATCHES_AT_ONCE = 8  # of small requests, that the log takes as one


@dataclass(slots=True)
class _Waiting:
    """What is not in the log: requests, and batches of them that are counted; rows of both."""

    requests: list[PredictionResult] = field(default_factory=list)
    counted: list[PredictionBatch] = field(default_factory=list)
    rows: int = 0


class PredictionRecorder:
    """Counts and logs answered requests from a thread of its own.

    Small requests, once there are many, are counted by the caller: that takes 0.1 ms, and two
    threads that want the interpreter hold each other up for longer. Only the thread writes to the
    log.

    Memory is bounded: a request that would make more than `capacity` rows wait is counted at once
    but not logged, and shows as an error of type ``log_overflow``; rows that are not logged, for
    this or because the log fails, are counted too.

    Args:
        interval: seconds between two writes to the log.
        watch: looks for drift and says whether it has looked; called after a batch with new rows,
            and again until it has.
    """

    def __init__(
        self,
        spec: ModelSpec,
        metrics: PredictionMetrics,
        log: PredictionWriter,
        *,
        interval: float = 0.1,
        capacity: int = 100_000,
        watch: Callable[[], bool] | None = None,
    ) -> None:
        self._spec = spec
        self._metrics = metrics
        self._log = log
        self._capacity = capacity
        self._watch = watch
        self._drift_check_pending = False
        self._waiting = _Waiting()
        self._queue = threading.Lock()
        self._batch = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(interval,), name="recorder", daemon=True
        )
        self._thread.start()

    def record(self, answered: PredictionResult) -> None:
        """Queue one answered request."""
        with self._queue:
            waiting = self._waiting
            fits = waiting.rows + len(answered.rows) <= self._capacity
            if fits:
                requests = waiting.requests
                requests.append(answered)
                waiting.rows += len(answered.rows)
                if len(requests) == REQUESTS_AT_ONCE and _rows(requests) <= ROWS_AT_ONCE:
                    waiting.counted.append(self._count(requests))
                    waiting.requests = []
        if not fits:
            self._count([answered])
            self._metrics.record_error("log_overflow")
            self._metrics.record_dropped(len(answered.rows))

    def flush(self) -> None:
        """Count and log everything that is waiting."""
        with self._batch:
            with self._queue:
                waiting, self._waiting = self._waiting, _Waiting()
            owed = self._drift_check_pending or bool(waiting.rows)
            self._drift_check_pending = False  # a look that fails is not repeated
            counted = [*_joined(waiting.counted), *map(self._count, _parts(waiting.requests))]
            if counted:
                try:
                    self._log.add(*counted)
                except Exception:
                    self._metrics.record_dropped(waiting.rows)
                    raise
            if self._watch and owed:
                self._drift_check_pending = not self._watch()

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

    def _count(self, requests: Sequence[PredictionResult]) -> PredictionBatch:
        """Count requests in the metrics; the same as the log takes them."""
        answers = np.concatenate([answered.answers for answered in requests])
        encoded = np.concatenate([answered.rows for answered in requests])
        latency = np.array([answered.latency for answered in requests])
        predicted, confidence = answers[:, 0], None
        if self._spec.classes:
            predicted = answers.argmax(axis=1)
            confidence = answers[np.arange(len(predicted)), predicted]
            self._metrics.record_predictions(predicted, confidence, latency)
        else:
            self._metrics.record_values(predicted, latency)
        return PredictionBatch(
            [answered.request_id for answered in requests],
            np.array([len(answered.rows) for answered in requests]),
            np.array([answered.at for answered in requests]),
            latency,
            identities(encoded),
            self._spec.monitored(encoded),
            predicted,
            confidence,
        )


def _parts(requests: Iterable[PredictionResult]) -> Iterator[list[PredictionResult]]:
    """Requests that are counted, and logged, together."""
    part: list[PredictionResult] = []
    rows = 0
    for answered in requests:
        rows += len(answered.rows)
        if part and (len(part) == REQUESTS_AT_ONCE or rows > ROWS_AT_ONCE):
            yield part
            part, rows = [], len(answered.rows)
        part.append(answered)
    if part:
        yield part


def _joined(batches: Sequence[PredictionBatch]) -> Iterator[PredictionBatch]:
    """The same in fewer batches: each costs the log about 0.1 ms beside its rows."""
    for start in range(0, len(batches), BATCHES_AT_ONCE):
        yield PredictionBatch.join(batches[start : start + BATCHES_AT_ONCE])


def _rows(requests: Sequence[PredictionResult]) -> int:
    return sum(len(answered.rows) for answered in requests)


def identities(rows: np.ndarray) -> np.ndarray:
    """A number for each row of what a model is given; equal rows have equal ones.

    Numbers are hashed by a multilinear function of fixed random weights, so that two rows have one
    identity with a probability of about 2⁻³², whatever they hold; texts by BLAKE2b.

    Args:
        rows: float32 or str, shape (n_rows, width).

    Returns:
        uint64 array of shape (n_rows,).

    References:
        D. Lemire, O. Kaser: Strongly universal string hashing is fast. Computer Journal, 2014.
    """
    if rows.dtype == object:
        digests = [hashlib.blake2b(str(text).encode(), digest_size=8).digest() for (text,) in rows]
        return np.frombuffer(b"".join(digests), np.uint64)
    numbers = (rows + np.float32(0)).view(np.uint32)  # minus zero is zero
    found: np.ndarray = numbers @ _weights(rows.shape[1])
    return found


@cache
def _weights(width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(2**64 - 1, size=width, dtype=np.uint64, endpoint=True)


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
