"""The prediction log in an SQL database, through SQLAlchemy."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from application.ports.prediction_log import (
    LabelledPrediction,
    LiveErrors,
    LoggedPrediction,
    PredictionBatch,
    Traffic,
)
from domain.contract import LONGEST_ROW_ID
from domain.errors import PredictionLogError, reason_of
from shared.request_id import time_of

logger = logging.getLogger(__name__)

RETENTION_DAYS = 90

_HOUR = 3600.0
_LONGEST_REQUEST = _HOUR  # seconds from the time in a request ID to the predictions
_BATCHES_PER_FETCH = 4  # usually the first ones are enough
_OLD_ROWS = 1000  # of a table that are removed at once
_POSTGRESQL = {"connect_timeout": 5, "tcp_user_timeout": 10_000, "keepalives_idle": 10}
_TEMPORARY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)
_BUSY_SECONDS = 10  # wait this long for other processes that write to an SQLite database
_VALUE_TOLERANCE = 1e-5  # clients may round predicted values

# Tables of older layouts have other names; they are kept, but not read.
_metadata = sa.MetaData()
# A batch is one row of the table: one row with a thousand numbers is far faster to write than a
# thousand rows. A request is found by its ID between line breaks, and a row by its position.
_batches = sa.Table(
    "prediction_batches",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model", sa.String(200), nullable=False),
    sa.Column("since", sa.Double, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
    # totals come before the large columns, so that a summary does not read those
    sa.Column("predictions", sa.Integer, nullable=False),
    sa.Column("total_latency", sa.Double, nullable=False),
    sa.Column("total_predicted", sa.Double, nullable=False),
    sa.Column("smallest", sa.Double, nullable=False),
    sa.Column("largest", sa.Double, nullable=False),
    sa.Column("total_confidence", sa.Double),
    sa.Column("by_class", sa.LargeBinary),
    sa.Column("request_ids", sa.Text, nullable=False),
    sa.Column("rows", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.LargeBinary, nullable=False),
    sa.Column("latency", sa.LargeBinary, nullable=False),
    sa.Column("identities", sa.LargeBinary, nullable=False),
    sa.Column("inputs", sa.LargeBinary, nullable=False),
    sa.Column("predicted", sa.LargeBinary, nullable=False),
    sa.Column("confidence", sa.LargeBinary),
    sa.Index("prediction_batches_by_time", "model", "until", "id"),
)
_ADD = _batches.insert()
_IN_ORDER = (_batches.c.until, _batches.c.id)  # the order of the index, so nothing is sorted
_TYPES = {
    **{"rows": "<u4", "at": "<f8", "latency": "<f4", "identities": "<u8"},
    **{"inputs": "<f4", "predicted": "<f4", "confidence": "<f4"},
}
_COUNTS = "<u4"  # type of the counts per class
_labels = sa.Table(
    "labelled_rows",
    _metadata,
    sa.Column("model", sa.String(200), primary_key=True),
    sa.Column("request_id", sa.String(200), primary_key=True),
    sa.Column("row", sa.Integer, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("predicted", sa.Double, nullable=False),
    sa.Column("actual", sa.Double, nullable=False),
    sa.Column("confidence", sa.Double),
    sa.Index("labelled_rows_by_time", "model", "at"),
)

# The rows with an ID of their caller, by their position in a batch.
_ids = sa.Table(
    "prediction_ids",
    _metadata,
    sa.Column("batch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("model", sa.String(200), nullable=False),
    sa.Column("text", sa.String(LONGEST_ROW_ID), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Index("prediction_ids_by_text", "model", "text", "at"),
    sa.Index("prediction_ids_by_time", "at"),
)

# The last write of each process, whose writes are numbered, so that none is repeated.
_writers = sa.Table(
    "prediction_writers",
    _metadata,
    sa.Column("writer", sa.String(40), primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)


class SqlPredictionLog:
    """Predictions and labels of one model, shared by all processes that open the same URL.

    Rows older than `retention_days` are removed when the log is opened, and every hour while
    predictions are added, few at a time. A database that is locked, full or not reachable is opened
    when it is used.

    Raises:
        PredictionLogError: the database can never be opened; from every method, it is locked or
            unavailable.
    """

    def __init__(self, url: str, model: str, retention_days: float = RETENTION_DAYS) -> None:
        address = sa.make_url(url)
        self._model = model
        self._retention = retention_days * 86400
        self._last_cleanup = 0.0
        self._is_open, self._opening = False, threading.Lock()
        try:
            self._connections = _connections_to(address)
            self._remove_old()
        except Exception as error:  # pylint: disable=broad-exception-caught  # drivers have their own
            place = sa.URL.create(  # without the user and the password
                address.drivername, None, None, address.host, address.port, address.database
            )
            reason = f"PREDICTION_LOG_URL {place}: {reason_of(error)}"
            if not _is_temporary(error):
                raise PredictionLogError(reason) from error
            logger.warning("%s: predictions wait until it works", reason)
        sa.event.listen(self._connections, "handle_error", _raise_if_unavailable)

    @property
    def _engine(self) -> sa.Engine:
        """The engine of the database, which then has all tables."""
        if not self._is_open:
            with self._opening:
                if not self._is_open:
                    _create_tables(self._connections)
                    self._is_open = True
        return self._connections

    def add(self, *batches: PredictionBatch, writer: str = "", number: int = 0) -> bool:
        """Append predictions in one transaction; returns True.

        Args:
            writer: unique name of a process that numbers its writes, or empty.
            number: of this write, higher than that of the previous one. Nothing is appended if the
                database has it already.
        """
        plain = [batch for batch in batches if not batch.ids]
        with self._engine.begin() as connection:
            if writer and not _is_new(connection, writer, number):
                return True
            if plain:
                connection.execute(_ADD, [self._record_of(batch) for batch in plain])
            for batch in batches:
                if batch.ids:
                    adding = _ADD.returning(_batches.c.id)
                    key = connection.execute(adding, self._record_of(batch)).scalar_one()
                    connection.execute(_ids.insert(), self._ids_of(batch, key))
        if time.time() > self._last_cleanup + _HOUR:
            self._remove_old()
        return True

    def _record_of(self, batch: PredictionBatch) -> dict[str, Any]:
        columns = {
            name: np.ascontiguousarray(values, kind).tobytes()
            for name, kind in _TYPES.items()
            if (values := getattr(batch, name)) is not None
        }
        return {
            "model": self._model,
            "since": float(batch.at.min()),
            "until": float(batch.at.max()),
            "request_ids": "\n".join(["", *batch.request_ids, ""]),
            "confidence": None,
            **_totals(batch),
            **columns,
        }

    def _ids_of(self, batch: PredictionBatch, number: int) -> list[dict[str, Any]]:
        """The rows of a batch that have an ID.

        Args:
            number: primary key of the batch.
        """
        times = np.repeat(batch.at, batch.rows).tolist()
        return [
            {
                "batch": number,
                "position": position,
                "model": self._model,
                "text": text,
                "at": times[position],
            }
            for position, text in batch.ids.items()
        ]

    def find(self, request_id: str, row: int, since: float = 0.0) -> LoggedPrediction | None:
        """A prediction by its request ID and row.

        If two requests have the same ID, usually the latest is found. IDs that begin with their
        time, as those from the services do, are found fast in a large log; for other IDs, the log
        is read from its end.

        Args:
            since: earlier predictions are left out. If it is not 0, predictions made more than an
                hour after the time in their request ID are left out, too.
        """
        made = time_of(request_id)
        has_id = _batches.c.request_ids.contains(f"\n{request_id}\n", autoescape=True)
        soon_after = _batches.c.since <= (made or 0) + _LONGEST_REQUEST
        searches = [[has_id, soon_after, _batches.c.until >= made]] if made else []
        if not made or not since:
            searches.append([has_id])
        for conditions in searches:
            for batch in self._batches(since, *conditions, latest_first=True):
                ends = batch.rows.cumsum(dtype=np.int64)
                for number in reversed(range(len(ends))):
                    # SQL compares case-insensitively
                    if batch.request_ids[number] == request_id and 0 <= row < batch.rows[number]:
                        return batch.prediction(int(ends[number] - batch.rows[number]) + row)
        return None

    def find_unlabelled(
        self, identity: int, predicted: float, since: float = 0.0
    ) -> LoggedPrediction | None:
        """The latest unlabelled prediction of this class or value for these inputs.

        Args:
            identity: hash of the inputs.
        """
        tolerance = _VALUE_TOLERANCE * max(1.0, abs(predicted))
        for batch in self._batches(since, latest_first=True):
            is_close = np.abs(batch.predicted - predicted) <= tolerance
            positions = np.flatnonzero((batch.identities == np.uint64(identity)) & is_close)
            if len(positions):
                found = [batch.prediction(position) for position in positions[::-1].tolist()]
                labelled = self._labelled({prediction.request_id for prediction in found})
                for prediction in found:
                    if (prediction.request_id, prediction.row) not in labelled:
                        return prediction
        return None

    def find_id(self, text: str, until: float | None = None) -> LoggedPrediction | None:
        """The latest prediction for a row with this ID; of rows in one request, the last.

        Args:
            until: later predictions are left out.
        """
        in_time = [] if until is None else [_ids.c.at <= until]
        query = (
            sa.select(_batches, _ids.c.position)
            .join_from(_ids, _batches, _batches.c.id == _ids.c.batch)
            .where(_ids.c.model == self._model, _ids.c.text == text, *in_time)
            .order_by(_ids.c.at.desc(), _ids.c.batch.desc(), _ids.c.position.desc())
            .limit(1)
        )
        with self._engine.connect() as connection:
            found = connection.execute(query).first()
        return _decode(found).prediction(found.position) if found else None

    def label(self, labelled: LabelledPrediction, at: float) -> None:
        """Record the true value of a prediction; a second label replaces the first."""
        identity = {
            "model": self._model,
            "request_id": labelled.request_id,
            "row": labelled.row,
        }
        with self._engine.begin() as connection:
            connection.execute(
                _labels.delete().where(
                    *(_labels.c[key] == value for key, value in identity.items())
                )
            )
            connection.execute(
                _labels.insert().values(
                    **identity,
                    at=at,
                    predicted=labelled.predicted,
                    actual=labelled.actual,
                    confidence=labelled.confidence,
                )
            )

    def traffic(self, since: float) -> Traffic:
        """Totals of the predictions since a time."""
        columns = _batches.c
        query = sa.select(
            sa.func.coalesce(sa.func.sum(columns.predictions), 0),
            sa.func.sum(columns.total_latency),
            sa.func.sum(columns.total_predicted),
            sa.func.min(columns.smallest),
            sa.func.max(columns.largest),
            sa.func.sum(columns.total_confidence),
        ).where(*self._fully_since(since))
        with self._engine.connect() as connection:
            totals = [tuple(connection.execute(query).one())]
        totals += [
            tuple(_totals(batch, recent).values())[:6]
            for batch, recent in self._partly_since(since)
        ]
        found = [total for total in totals if total[0]]
        if not found:
            return Traffic(0, None, None, None, None, None)
        counts, latencies, predicted, smallest, largest, confidences = zip(*found)
        count = int(sum(counts))
        return Traffic(
            count,
            None if None in confidences else sum(confidences) / count,
            sum(latencies) / count,
            sum(predicted) / count,
            min(smallest),
            max(largest),
        )

    def by_class(self, since: float) -> Mapping[int, int]:
        """How often each class was predicted since a time."""
        query = sa.select(_batches.c.by_class).where(*self._fully_since(since))
        with self._engine.connect() as connection:
            found = list(connection.execute(query).scalars())
        found += [_totals(batch, recent)["by_class"] for batch, recent in self._partly_since(since)]
        counts: Counter[int] = Counter()
        for numbers, times in Counter(found).items():
            for code, count in enumerate(np.frombuffer(numbers, _COUNTS).tolist()):
                counts[code] += count * times
        return +counts

    def confusion(self, since: float) -> Mapping[tuple[int, int], int]:
        """How often each pair of classes (predicted, actual) was labelled since a time."""
        by = (_labels.c.predicted, _labels.c.actual)
        query = (
            sa.select(*by, sa.func.count())  # pylint: disable=not-callable
            .where(_labels.c.model == self._model, _labels.c.at >= since)
            .group_by(*by)
        )
        with self._engine.connect() as connection:
            found = connection.execute(query).all()
        return {(int(predicted), int(actual)): count for predicted, actual, count in found}

    def errors(self, since: float) -> LiveErrors | None:
        """Errors of the values that were labelled since a time; None if there are none."""
        columns = _labels.c
        error = columns.predicted - columns.actual
        query = sa.select(
            sa.func.count(),  # pylint: disable=not-callable
            sa.func.avg(sa.func.abs(error)),
            sa.func.avg(error * error),
        ).where(columns.model == self._model, columns.at >= since)
        with self._engine.connect() as connection:
            labelled, absolute, squared = connection.execute(query).one()
        return LiveErrors(labelled, absolute, squared**0.5) if labelled else None

    def labelled(self, since: float, rows: int) -> np.ndarray:
        """Predicted, actual and confidence of what was labelled since a time, latest first.

        Returns:
            float64 array of shape (n, 3), n being at most `rows`; the confidence may be NaN.
        """
        columns = _labels.c
        query = (
            sa.select(columns.predicted, columns.actual, columns.confidence)
            .where(columns.model == self._model, columns.at >= since)
            .order_by(columns.at.desc())
            .limit(rows)
        )
        with self._engine.connect() as connection:
            found = connection.execute(query).all()
        return np.array([tuple(row) for row in found], np.float64).reshape(-1, 3)

    def recent(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and predicted values of the latest predictions, latest first.

        Predictions of an earlier version of the model with a different number of inputs are left
        out.

        Returns:
            float64 arrays of shape (n, n_monitored) and (n,), n being at most `rows`.
        """
        inputs: list[np.ndarray] = []
        predicted: list[np.ndarray] = []
        found = 0
        for batch in self._batches(0.0, latest_first=True):
            if inputs and batch.inputs.shape[1] != inputs[0].shape[1]:
                continue
            inputs.append(batch.inputs[::-1])
            predicted.append(batch.predicted[::-1])
            found += len(batch.predicted)
            if found >= rows:
                break
        if not found:
            return np.empty((0, 0)), np.empty(0)
        return (
            np.concatenate(inputs)[:rows].astype(np.float64),
            np.concatenate(predicted)[:rows].astype(np.float64),
        )

    def close(self) -> None:
        """Close the connections."""
        self._connections.dispose()

    def _remove_old(self) -> None:
        """Remove the oldest rows, so few that nobody waits for long; the next call goes on."""
        now, most = time.time(), 0
        for last in (_batches.c.until, _ids.c.at, _labels.c.at, _writers.c.at):
            key = sa.tuple_(*last.table.primary_key)
            old = sa.select(*last.table.primary_key).where(last < now - self._retention)
            with self._engine.connect() as connection:  # found without a lock
                found = [tuple(row) for row in connection.execute(old.limit(_OLD_ROWS))]
            if found:
                with self._engine.begin() as connection:
                    connection.execute(sa.delete(last.table).where(key.in_(found)))
            most = max(most, len(found))
        if most < _OLD_ROWS:
            self._last_cleanup = now

    def _fully_since(self, since: float) -> tuple[sa.ColumnElement[bool], ...]:
        """Conditions for batches whose rows are all since a time."""
        columns = _batches.c
        return columns.model == self._model, columns.until >= since, columns.since >= since

    def _partly_since(self, since: float) -> Iterator[tuple[PredictionBatch, np.ndarray]]:
        """Batches with some rows since a time, and the mask of these rows."""
        for batch in self._batches(since, _batches.c.since < since):
            yield batch, np.repeat(batch.at >= since, batch.rows)

    def _batches(
        self, since: float, *conditions: sa.ColumnElement[bool], latest_first: bool = False
    ) -> Iterator[PredictionBatch]:
        """Batches whose last predictions were made since a time."""
        query = (
            sa.select(_batches)
            .where(_batches.c.model == self._model, _batches.c.until >= since, *conditions)
            .order_by(*((key.desc() if latest_first else key) for key in _IN_ORDER))
            .execution_options(yield_per=_BATCHES_PER_FETCH)
        )
        with self._engine.connect() as connection:
            for found in connection.execute(query):
                yield _decode(found)

    def _labelled(self, request_ids: Collection[str]) -> set[tuple[str, int]]:
        """The request IDs and rows, among these requests, that have a label."""
        query = sa.select(_labels.c.request_id, _labels.c.row).where(
            _labels.c.model == self._model, _labels.c.request_id.in_(request_ids)
        )
        with self._engine.connect() as connection:
            return {tuple(found) for found in connection.execute(query)}


def _connections_to(address: sa.URL) -> sa.Engine:
    """An engine that has no connection yet."""
    path = address.database or ""
    options: dict[str, Any] = {}
    if address.get_backend_name() == "sqlite" and path and not path.startswith("file:"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    elif address.drivername.startswith("postgresql+psycopg"):
        options["pool_pre_ping"] = True  # connections end when the server restarts
        options["connect_args"] = {
            name: value for name, value in _POSTGRESQL.items() if name not in address.query
        }
    engine = sa.create_engine(address, **options)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _create_tables(engine: sa.Engine) -> None:
    """Create what the database lacks."""
    with engine.begin() as connection:
        for table in (_batches, _ids, _labels, _writers):
            connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
            for index in table.indexes:
                connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))
        connection.execute(_writers.delete().where(sa.false()))  # fails if it is read-only
    _add_confidence(engine)


def _is_new(connection: sa.Connection, writer: str, number: int) -> bool:
    """Whether the database does not have this write yet; it has after this transaction."""
    is_writer = _writers.c.writer == writer
    newer = sa.update(_writers).where(is_writer, _writers.c.number < number)
    if connection.execute(newer.values(number=number, at=time.time())).rowcount:
        return True
    if connection.execute(sa.select(_writers.c.number).where(is_writer)).first():
        return False
    values = {"writer": writer, "number": number, "at": time.time()}
    connection.execute(_writers.insert().values(**values))
    return True


def _add_confidence(engine: sa.Engine) -> None:
    """Add the column that labels had not before version 0.5; another worker may do it, too."""

    def is_missing() -> bool:
        return "confidence" not in {
            each["name"] for each in sa.inspect(engine).get_columns(_labels.name)
        }

    if not is_missing():
        return
    try:
        with engine.begin() as connection:
            connection.execute(sa.text(f"ALTER TABLE {_labels.name} ADD COLUMN confidence FLOAT"))
    except sa.exc.DBAPIError:
        if is_missing():
            raise


def _is_temporary(error: Exception) -> bool:
    """Whether a database that could not be opened may work later."""
    if not isinstance(error, sa.exc.OperationalError):
        return False
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code is None or code & 0xFF in _TEMPORARY  # without the reason that SQLite adds


def _raise_if_unavailable(context: sa.engine.ExceptionContext) -> None:
    """Only values that the database refuses are not its fault."""
    error = context.sqlalchemy_exception
    if context.is_pre_ping or not isinstance(error, sa.exc.DBAPIError):
        return
    if not isinstance(error, sa.exc.DataError | sa.exc.NotSupportedError):
        logger.warning("the prediction log: %s", reason_of(context.original_exception))
        raise PredictionLogError("the prediction log is busy or unavailable: retry later")


def _totals(batch: PredictionBatch, rows: Any = slice(None)) -> dict[str, Any]:
    """Totals of some rows of a batch, by column."""
    predicted = batch.predicted[rows]
    latency = np.repeat(batch.latency, batch.rows)[rows]
    confidence, by_class = None, None
    if batch.confidence is not None:
        confidence = float(batch.confidence[rows].sum(dtype=np.float64))
        by_class = np.bincount(predicted.astype(np.int64)).astype(_COUNTS).tobytes()
    return {
        "predictions": len(predicted),
        "total_latency": float(latency.sum(dtype=np.float64)),
        "total_predicted": float(predicted.sum(dtype=np.float64)),
        "smallest": float(predicted.min()),
        "largest": float(predicted.max()),
        "total_confidence": confidence,
        "by_class": by_class,
    }


def _decode(record: sa.Row[Any]) -> PredictionBatch:
    stored = record._mapping  # pylint: disable=protected-access  # public in SQLAlchemy
    columns: dict[str, Any] = {
        name: None if stored[name] is None else np.frombuffer(stored[name], kind)
        for name, kind in _TYPES.items()
    }
    columns["inputs"] = columns["inputs"].reshape(len(columns["predicted"]), -1)
    return PredictionBatch(stored["request_ids"].split("\n")[1:-1], **columns)


def _use_wal(cursor: sa.engine.interfaces.DBAPICursor) -> None:
    """Let workers read while another one writes.

    SQLite refuses to switch a new database while another process writes to it, and does so at
    once, whatever busy_timeout says.
    """
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _prepare_sqlite(connection: sa.engine.interfaces.DBAPIConnection, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")
    _use_wal(cursor)
    cursor.execute("PRAGMA synchronous=NORMAL")
    # KiB per connection; with SQLite's default, 2000, a worker uses 5 to 10 MB more without gain
    cursor.execute("PRAGMA cache_size=-256")
    cursor.close()
