"""Records predictions in batches, off the request path."""

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
from domain.contract import ROW_IDS, ModelSpec, RangePolicy
from domain.errors import reason_of

logger = logging.getLogger(__name__)

REQUESTS_AT_ONCE = 128
ROWS_AT_ONCE = 1024  # so that a request never waits long for the GIL
WRITE_SECONDS = 0.1  # between two writes to the log
BATCHES_AT_ONCE = 8  # batches of small requests that are written to the log as one


@dataclass(slots=True)
class _Waiting:
    """What is not yet in the log: requests, batches of requests that are counted, rows of both."""

    requests: list[PredictionResult] = field(default_factory=list)
    counted: list[PredictionBatch] = field(default_factory=list)
    rows: int = 0


class PredictionRecorder:
    """Counts and logs predictions in a thread of its own.

    Many small requests are counted by the caller instead: that takes 0.1 ms, less than two threads
    lose when they compete for the GIL. Only the thread writes to the log.

    The log keeps what it cannot write yet, so that nothing waits for it. Memory is bounded: a
    request that would let more than `capacity` rows wait is counted at once but not logged, and
    counts as an error of type ``log_overflow``. Rows that are not logged, for this reason or since
    recording fails, are counted as dropped. A request that cannot be recorded does not affect the
    others.

    Args:
        interval: seconds between two writes to the log; feedback relies on the default.
        capacity: maximum number of waiting rows.
        watch: checks for drift and returns whether it did; called after a batch with new rows, and
            again until it returns True.
    """

    def __init__(
        self,
        spec: ModelSpec,
        metrics: PredictionMetrics,
        log: PredictionWriter,
        *,
        interval: float = WRITE_SECONDS,
        capacity: int = 100_000,
        watch: Callable[[], bool] | None = None,
    ) -> None:
        self._spec = spec
        self._ranges = RangePolicy(spec)
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

    def record(self, result: PredictionResult) -> None:
        """Queue the predictions for one request."""
        with self._queue:
            waiting = self._waiting
            fits = waiting.rows + len(result.rows) <= self._capacity
            if fits:
                requests = waiting.requests
                requests.append(result)
                waiting.rows += len(result.rows)
                if len(requests) == REQUESTS_AT_ONCE and _rows(requests) <= ROWS_AT_ONCE:
                    waiting.counted += self._count_valid(requests)
                    waiting.requests = []
        if not fits and self._count_valid([result]):
            self._metrics.record_error("log_overflow")
            self._metrics.record_dropped(len(result.rows))

    def flush(self) -> bool:
        """Count and log everything that is waiting; returns whether the log has written it."""
        with self._batch:
            with self._queue:
                waiting, self._waiting = self._waiting, _Waiting()
            check_drift = self._drift_check_pending or bool(waiting.rows)
            self._drift_check_pending = False  # a check that fails is not repeated
            counted = list(_joined(waiting.counted))
            for requests in _batches(waiting.requests):
                counted += self._count_valid(requests)
            try:
                is_written = self._log.add(*counted)
            except Exception:
                self._metrics.record_dropped(sum(len(batch.predicted) for batch in counted))
                raise
            if self._watch and check_drift:
                self._drift_check_pending = not (is_written and self._watch())
            return is_written

    def close(self) -> None:
        """End the thread and record what is waiting."""
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

    def _count_valid(self, requests: Sequence[PredictionResult]) -> list[PredictionBatch]:
        """Count requests, and return them as batches for the log, without those that fail."""
        try:
            return [self._count(requests)]
        except Exception as error:  # pylint: disable=broad-exception-caught  # keep the others
            if len(requests) > 1:
                return [batch for result in requests for batch in self._count_valid([result])]
            request_id, rows = requests[0].request_id, _rows(requests)
            logger.error(
                "request %s: %d rows were not recorded: %s", request_id, rows, reason_of(error)
            )
            self._metrics.record_error("log_failure")
            self._metrics.record_dropped(rows)
            return []

    def _count(self, requests: Sequence[PredictionResult]) -> PredictionBatch:
        """Count requests in the metrics, and return them as a batch for the log.

        If it fails, nothing is counted.
        """
        outputs = np.concatenate([result.predictions for result in requests])
        encoded = np.concatenate([result.rows for result in requests])
        latency = np.array([result.latency for result in requests])
        if outside := self._ranges.count_outside(encoded):
            encoded = self._ranges.clip(encoded)
        predicted, confidence = self._spec.decide(outputs), None
        if self._spec.classes:
            confidence = outputs[np.arange(len(predicted)), predicted]
        batch = PredictionBatch(
            [result.request_id for result in requests],
            np.array([len(result.rows) for result in requests]),
            np.array([result.at for result in requests]),
            latency,
            # a hash would let anybody with the log try out what was left out
            np.zeros(len(encoded), np.uint64) if self._spec.unlogged_names else identities(encoded),
            self._spec.logged(encoded),
            predicted,
            confidence,
            _ids(requests),
            _callers(requests),
        )
        if outside:
            self._metrics.record_outside(outside)
        if confidence is None:
            self._metrics.record_values(predicted, latency)
        else:
            self._metrics.record_predictions(predicted, confidence, latency)
        return batch


def _ids(requests: Sequence[PredictionResult]) -> dict[int, str]:
    """The texts of the callers' IDs, by position of their rows among those of all requests."""
    found: dict[int, str] = {}
    if not [result for result in requests if result.ids is not None]:  # as usual: this is fast
        return found
    start = 0
    for result in requests:
        texts = enumerate(ROW_IDS.encode(result.ids or ()), start)
        found |= {position: text for position, text in texts if text is not None}
        start += len(result.rows)
    return found


def _callers(requests: Sequence[PredictionResult]) -> list[str | None]:
    callers = [result.caller for result in requests]
    return callers if any(callers) else []


def _batches(requests: Iterable[PredictionResult]) -> Iterator[list[PredictionResult]]:
    """Group requests that are counted and logged together."""
    batch: list[PredictionResult] = []
    rows = 0
    for result in requests:
        rows += len(result.rows)
        if batch and (len(batch) == REQUESTS_AT_ONCE or rows > ROWS_AT_ONCE):
            yield batch
            batch, rows = [], len(result.rows)
        batch.append(result)
    if batch:
        yield batch


def _joined(batches: Sequence[PredictionBatch]) -> Iterator[PredictionBatch]:
    """Join batches, since each costs the log about 0.1 ms in addition to its rows."""
    for start in range(0, len(batches), BATCHES_AT_ONCE):
        yield PredictionBatch.join(batches[start : start + BATCHES_AT_ONCE])


def _rows(requests: Sequence[PredictionResult]) -> int:
    return sum(len(result.rows) for result in requests)


def identities(rows: np.ndarray) -> np.ndarray:
    """A hash of each encoded row; equal rows have equal hashes.

    Numbers are hashed by a multilinear function with fixed random weights, so that any two rows
    collide with a probability of about 2⁻³²; texts are hashed by BLAKE2b.

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
    hashes: np.ndarray = numbers @ _weights(rows.shape[1])
    return hashes


@cache
def _weights(width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(2**64 - 1, size=width, dtype=np.uint64, endpoint=True)


def every(
    seconds: float, action: Callable[[], None], clock: Callable[[], float] = time.monotonic
) -> Callable[[], bool]:
    """Limit an action to once in so many seconds; the result returns whether it ran this time."""
    last = -float("inf")

    def act() -> bool:
        nonlocal last
        if clock() - last < seconds:
            return False
        last = clock()
        action()
        return True

    return act
