"""The prediction log of one process; what the database cannot take waits in a file."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import SimpleQueue

from application.monitoring.recorder import every
from application.ports.metrics import PredictionMetrics
from application.ports.prediction_log import PredictionBatch
from domain.errors import PredictionLogError, reason_of
from infrastructure.storage.prediction_log import SqlPredictionLog
from infrastructure.storage.spool import Spool, SpoolFolder, decode, encode

logger = logging.getLogger(__name__)

PATIENCE = 0.1  # seconds that a caller waits for the database
RETRY_SECONDS = 1.0  # between attempts to write what waits
TAKE_OVER_SECONDS = 10.0  # between searches for spools of ended processes
CLOSE_SECONDS = 5.0
_REPORT_SECONDS = 10.0


class SpooledLog:
    """Writes predictions to a database without waiting for it, and in order.

    A thread writes to the database. While it fails or takes longer than `PATIENCE`, batches are
    appended to a file, the spool, which the thread writes to the database as soon as that works
    again. The spools of processes that have ended are taken over. Batches are numbered, so that the
    database has each once, even if it is unknown whether a write succeeded.

    Rows that can be written to neither are counted as dropped, as an error of type
    ``log_overflow``; failed attempts are counted as ``log_failure``. One caller may add at a time.
    """

    def __init__(
        self, log: SqlPredictionLog, metrics: PredictionMetrics, spools: SpoolFolder
    ) -> None:
        self._log = log
        self._metrics = metrics
        self._spools = spools
        self._number = self._in_flight = 0
        self._jobs: SimpleQueue[tuple[Future[None], Callable[[], object]] | None] = SimpleQueue()
        self._writing: Future[None] = Future()
        self._writing.set_result(None)
        self._catching_up = self._writing
        self._last_attempt = -float("inf")  # monotonic time
        self._reason = ""  # of the last rows that were dropped
        self._report = every(
            _REPORT_SECONDS, lambda: logger.error("predictions are not logged: %s", self._reason)
        )
        threading.Thread(target=self._run, name="prediction-log", daemon=True).start()

    def add(self, *batches: PredictionBatch) -> bool:
        """Write predictions, or append them to the spool; without any, only try what waits.

        Returns:
            Whether the database has all predictions of this process.
        """
        if batches:
            self._number += 1
            is_free = self._writing.done() and not self._spools.rows
            if not (is_free and self._write(*batches)):
                self._spool(*batches)
        pause = RETRY_SECONDS if self._spools.rows else TAKE_OVER_SECONDS
        if self._catching_up.done() and time.monotonic() >= self._last_attempt + pause:
            self._catching_up = self._submit(self._catch_up)
        return self._writing.done() and not self._spools.rows

    def close(self) -> None:
        """Try once more to write what waits; the rest stays in its file for the next process."""
        if self._spools.rows:
            last = self._submit(self._catch_up)
            with suppress(TimeoutError):
                last.result(CLOSE_SECONDS)
        if self._spools.rows:
            logger.warning("%d predicted rows wait in a file for the next start", self._spools.rows)
        stopped = self._submit(self._spools.close)  # not while the thread uses the files
        with suppress(TimeoutError):
            stopped.result(PATIENCE)
        self._jobs.put(None)

    def _write(self, *batches: PredictionBatch) -> bool:
        """Write a batch, and return whether the database has it by now."""
        self._in_flight = self._number
        self._writing = self._submit(
            partial(self._log.add, *batches, writer=self._spools.name, number=self._number)
        )
        try:
            self._writing.result(PATIENCE)
        except PredictionLogError:
            self._metrics.record_error("log_failure")
            self._last_attempt = time.monotonic()
            return False
        except TimeoutError:
            self._last_attempt = -float("inf")  # the next attempt follows this write
            return False
        return True

    def _spool(self, *batches: PredictionBatch) -> None:
        rows = sum(len(batch.predicted) for batch in batches)
        try:
            self._spools.append(self._number, rows, encode([*map(self._log.stamp, batches)]))
        except OSError as error:
            drop = partial(self._drop, rows, error)
            if self._in_flight == self._number:  # the write may still succeed
                self._writing.add_done_callback(lambda done: drop() if done.exception() else None)
            else:
                drop()
        self._show_rows()

    def _drop(self, rows: int, error: Exception) -> None:
        self._metrics.record_error("log_overflow")
        self._metrics.record_dropped(rows)
        self._reason = reason_of(error)
        self._report()

    def _catch_up(self) -> None:
        """Write to the database what waits."""
        try:
            self._spools.take_over()
            for spool in self._spools.spools():
                while record := spool.first():
                    self._restore(spool, *record)
                self._spools.release(spool)
        except PredictionLogError:
            self._metrics.record_error("log_failure")
        except OSError as error:
            self._metrics.record_error("log_failure")
            logger.error("the predictions that wait cannot be read: %s", reason_of(error))
        finally:
            self._last_attempt = time.monotonic()
            self._show_rows()

    def _restore(self, spool: Spool, number: int, rows: int, content: bytes) -> None:
        try:
            self._log.add(*decode(content), writer=spool.name, number=number)
        except PredictionLogError:
            raise
        except Exception as error:  # pylint: disable=broad-exception-caught  # keep the others
            self._metrics.record_error("log_failure")
            self._metrics.record_dropped(rows)
            logger.exception("%d predicted rows were not logged: %s", rows, reason_of(error))
        spool.remove_first()
        self._show_rows()

    def _show_rows(self) -> None:
        """Set the gauge to the rows of all processes: the last one that sets it is right."""
        self._metrics.set_spooled(self._spools.totals()[0])

    def _submit(self, work: Callable[[], object]) -> Future[None]:
        future: Future[None] = Future()
        self._jobs.put((future, work))
        return future

    def _run(self) -> None:
        while job := self._jobs.get():
            future, work = job
            try:
                work()
            except BaseException as error:  # pylint: disable=broad-exception-caught  # its caller
                future.set_exception(error)
            else:
                future.set_result(None)
