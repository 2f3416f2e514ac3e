"""The prediction log in an SQL database, through SQLAlchemy."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from application.ports.prediction_log import (
    LabelledPrediction,
    LiveErrors,
    LoggedPrediction,
    PredictionBatch,
    Traffic,
    VersionTraffic,
)
from domain.contract import LONGEST_ROW_ID
from domain.errors import PredictionLogError, reason_of
from shared.request_id import time_of

logger = logging.getLogger(__name__)

RETENTION_DAYS = 90

_HOUR = 3600.0
LONGEST_REQUEST = _HOUR  # seconds from the time in a request ID to the predictions
_BATCHES_PER_FETCH = 4  # usually the first ones are enough
_OLD_ROWS = 1000  # of a table that are removed at once
_FAULTY_VALUES = (sa.exc.DataError, sa.exc.IntegrityError, sa.exc.NotSupportedError)
_POSTGRESQL = {"connect_timeout": 5, "tcp_user_timeout": 10_000, "keepalives_idle": 10}
_TEMPORARY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)
_BATCHES_PER_PAGE = 64  # where all are read
_IDS_PER_QUERY = 500
_BUSY_SECONDS = 10  # wait this long for other processes that write to an SQLite database
_NAME = 200  # characters of a name or version
_VALUE_TOLERANCE = 1e-5  # clients may round predicted values

# Tables of older layouts have other names; they are kept, but not read.
_metadata = sa.MetaData()
# A batch is one row of the table: one row with a thousand numbers is far faster to write than a
# thousand rows. A request is found by its ID between line breaks, and a row by its position.
_batches = sa.Table(
    "prediction_batches",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model", sa.String(_NAME), nullable=False),
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
    sa.Column("version", sa.String(_NAME)),  # NULL if unknown, as the environment
    sa.Column("environment", sa.String(_NAME)),
    sa.Column("request_ids", sa.Text, nullable=False),
    sa.Column("rows", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.LargeBinary, nullable=False),
    sa.Column("latency", sa.LargeBinary, nullable=False),
    sa.Column("identities", sa.LargeBinary, nullable=False),
    sa.Column("inputs", sa.LargeBinary, nullable=False),
    sa.Column("predicted", sa.LargeBinary, nullable=False),
    sa.Column("confidence", sa.LargeBinary),
    sa.Column("callers", sa.Text),  # one line for each request; NULL if no request has one
    sa.Index("prediction_batches_by_time", "model", "until", "id"),
)
_ADD = _batches.insert()
_IN_ORDER = (_batches.c.until, _batches.c.id)  # the order of the index, so nothing is sorted
COLUMN_TYPES = {
    **{"rows": "<u4", "at": "<f8", "latency": "<f4", "identities": "<u8"},
    **{"inputs": "<f4", "predicted": "<f4", "confidence": "<f4"},
}
_SCHEMA_LOCKS = {  # one process at a time changes the tables
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": "SELECT pg_advisory_xact_lock(4207849484)",
}
_COUNTS = "<u4"  # type of the counts per class
_KEY = ("model", "request_id", "row")  # of a label
_labels = sa.Table(
    "labelled_rows",
    _metadata,
    sa.Column("model", sa.String(_NAME), primary_key=True),
    sa.Column("request_id", sa.String(_NAME), primary_key=True),
    sa.Column("row", sa.Integer, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("predicted", sa.Double, nullable=False),
    sa.Column("actual", sa.Double, nullable=False),
    sa.Column("confidence", sa.Double),
    sa.Column("version", sa.String(_NAME)),  # of the prediction; NULL if unknown, as its time
    sa.Column("made", sa.Double),
    sa.Index("labelled_rows_by_time", "model", "at"),
    sa.Index("labelled_rows_by_prediction", "model", "made", "version"),
)
_replaced = sa.Table(
    "replaced_labels",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    *(sa.Column(name, _labels.c[name].type, nullable=False) for name in _KEY),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("actual", sa.Double, nullable=False),
    sa.Column("replaced_at", sa.Double, nullable=False),
)
_KEEP_REPLACED = _replaced.insert().from_select(
    [*_KEY, "at", "actual", "replaced_at"],
    sa.select(
        *(_labels.c[name] for name in (*_KEY, "at", "actual")),
        sa.bindparam("new_at", type_=sa.Double),
    )
    .where(
        *(_labels.c[name] == sa.bindparam(f"new_{name}") for name in _KEY),
        _labels.c.actual != sa.bindparam("new_actual"),
    )
    .with_for_update(),
)

# The rows with an ID of their caller, by their position in a batch.
_ids = sa.Table(
    "prediction_ids",
    _metadata,
    sa.Column("batch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("model", sa.String(_NAME), nullable=False),
    sa.Column("text", sa.String(LONGEST_ROW_ID), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Index("prediction_ids_by_text", "model", "text", "at"),
    sa.Index("prediction_ids_by_time", "at"),
)

# What is known of the drift of a service, whose workers update it in turn.
_drift = sa.Table(
    "drift_states",
    _metadata,
    sa.Column("model", sa.String(_NAME), primary_key=True),
    sa.Column("version", sa.String(_NAME), primary_key=True),  # empty if unknown
    sa.Column("environment", sa.String(_NAME), primary_key=True),
    sa.Column("batch", sa.Integer, nullable=False),  # the last one that was evaluated
    sa.Column("state", sa.Text, nullable=False),
)

# What `make watch` has seen of a model in an environment.
_watch = sa.Table(
    "watch_states",
    _metadata,
    sa.Column("model", sa.String(_NAME), primary_key=True),
    sa.Column("environment", sa.String(_NAME), primary_key=True),  # empty if unknown
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("retraining_failed", sa.Boolean, nullable=False),
)

# The last write of each process, whose writes are numbered, so that none is repeated.
_writers = sa.Table(
    "prediction_writers",
    _metadata,
    sa.Column("writer", sa.String(40), primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)
_NOTE_WRITE = (
    sa.update(_writers)
    .where(_writers.c.writer == sa.bindparam("name"), _writers.c.number < sa.bindparam("write"))
    .values(number=sa.bindparam("write"), at=sa.bindparam("now"))
)
TABLES = _metadata.tables


@dataclass(frozen=True)
class _Period:
    """From `since` until before `until`, of one version; None means without end, and all."""

    since: float
    until: float | None = None
    version: str | None = None

    def has(self, at: np.ndarray) -> np.ndarray:
        """Which of these times it contains."""
        return (at >= self.since) & (True if self.until is None else at < self.until)


class SqlPredictionLog:  # pylint: disable=too-many-public-methods  # those of several ports
    """Predictions and labels of one model, shared by all processes that open the same URL.

    Rows older than `retention_days` are removed when the log is opened, and every hour while
    predictions are added, few at a time. Missing tables and columns are added; what was written
    before a column existed has NULL there. A database that is locked, full or not reachable is
    opened when it is used.

    Args:
        version, environment: of the service, recorded with each batch that has none of its own;
            None if unknown.

    Raises:
        PredictionLogError: the database can never be opened; from every method, it is locked or
            unavailable.
    """

    def __init__(
        self,
        url: str,
        model: str,
        retention_days: float = RETENTION_DAYS,
        *,
        version: str | None = None,
        environment: str | None = None,
    ) -> None:
        address = sa.make_url(url)
        self._model = model
        self._service = {"version": version, "environment": environment}
        self._retention = retention_days * 86400
        self._last_cleanup = 0.0
        self._is_open, self._opening = False, threading.Lock()
        try:
            self._connections = _connections_to(address)
            self._remove_old()
        # drivers raise errors of their own, too
        except Exception as error:  # pylint: disable=broad-exception-caught
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
                    _create_missing(self._connections)
                    with self._connections.begin() as connection:  # fails if it is read-only
                        connection.execute(_writers.delete().where(sa.false()))
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

    def stamp(self, batch: PredictionBatch) -> PredictionBatch:
        """A batch with its version and environment: another process may write it later."""
        return replace(batch, **self._service_of(batch))

    def _service_of(self, batch: PredictionBatch) -> dict[str, Any]:
        return {name: getattr(batch, name) or own for name, own in self._service.items()}

    def _record_of(self, batch: PredictionBatch) -> dict[str, Any]:
        columns = {
            name: np.ascontiguousarray(values, kind).tobytes()
            for name, kind in COLUMN_TYPES.items()
            if (values := getattr(batch, name)) is not None
        }
        return {
            "model": self._model,
            "since": float(batch.at.min()),
            "until": float(batch.at.max()),
            "request_ids": "\n".join(["", *batch.request_ids, ""]),
            "confidence": None,
            "callers": "\n".join(name or "" for name in batch.callers) if batch.callers else None,
            **self._service_of(batch),
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
        soon_after = _batches.c.since <= (made or 0) + LONGEST_REQUEST
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

    def label(self, *labelled: LabelledPrediction, at: float) -> None:
        """Record the true values of predictions, in order, in one transaction.

        Another value for the same row replaces the previous one, which moves to the table
        `replaced_labels`; the same value again changes nothing.
        """
        rounds: list[dict[tuple[str, int], LabelledPrediction]] = []
        earlier: Counter[tuple[str, int]] = Counter()
        for label in labelled:
            key = (label.request_id, label.row)
            if earlier[key] == len(rounds):
                rounds.append({})
            rounds[earlier[key]][key] = label  # each row once in each round
            earlier[key] += 1
        with self._engine.begin() as connection:
            for chosen in rounds:
                # in order, so that no two processes wait for each other's rows
                records = [self._label_of(chosen[key], at) for key in sorted(chosen)]
                for statement in _label_statements(connection.dialect.name):
                    connection.exec_driver_sql(statement, records)

    def _label_of(self, label: LabelledPrediction, at: float) -> dict[str, Any]:
        return {
            "new_model": self._model,
            "new_request_id": label.request_id,
            "new_row": label.row,
            "new_at": at,
            "new_predicted": label.predicted,
            "new_actual": label.actual,
            "new_confidence": label.confidence,
            "new_version": label.version,
            "new_made": label.made,
        }

    def traffic(
        self, since: float, until: float | None = None, version: str | None = None
    ) -> Traffic:
        """Totals of the predictions of a period."""
        period = _Period(since, until, version)
        columns = _batches.c
        query = sa.select(
            sa.func.coalesce(sa.func.sum(columns.predictions), 0),
            sa.func.sum(columns.total_latency),
            sa.func.sum(columns.total_predicted),
            sa.func.min(columns.smallest),
            sa.func.max(columns.largest),
            sa.func.sum(columns.total_confidence),
        ).where(*self._fully_in(period))
        with self._engine.connect() as connection:
            totals = [tuple(connection.execute(query).one())]
        totals += [
            tuple(_totals(batch, chosen).values())[:6] for batch, chosen in self._partly_in(period)
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

    def by_class(
        self, since: float, until: float | None = None, version: str | None = None
    ) -> Mapping[int, int]:
        """How often each class was predicted in a period."""
        period = _Period(since, until, version)
        query = sa.select(_batches.c.by_class).where(*self._fully_in(period))
        with self._engine.connect() as connection:
            found = list(connection.execute(query).scalars())
        found += [_totals(batch, chosen)["by_class"] for batch, chosen in self._partly_in(period)]
        counts: Counter[int] = Counter()
        for numbers, times in Counter(found).items():
            for code, count in enumerate(np.frombuffer(numbers, _COUNTS).tolist()):
                counts[code] += count * times
        return +counts

    def versions(self, since: float, until: float | None = None) -> list[VersionTraffic]:
        """The versions that made predictions in a period, by the time of their first one."""
        period, columns = _Period(since, until), _batches.c
        query = (
            sa.select(
                columns.version,
                sa.func.sum(columns.predictions),
                sa.func.min(columns.since),
                sa.func.max(columns.until),
            )
            .where(*self._fully_in(period))
            .group_by(columns.version)
        )
        labels = (
            sa.select(_labels.c.version, sa.func.count())  # pylint: disable=not-callable
            .where(*self._conditions(period, _labels.c.made, _labels.c.version))
            .group_by(_labels.c.version)
        )
        with self._engine.connect() as connection:
            found = [tuple(row) for row in connection.execute(query)]
            labelled = dict(map(tuple, connection.execute(labels)))
        for batch, chosen in self._partly_in(period):
            times = np.repeat(batch.at, batch.rows)[chosen]
            if len(times):
                found.append((batch.version, len(times), times.min(), times.max()))
        parts: dict[str | None, list[tuple[Any, ...]]] = {}
        for version, *totals in found:
            parts.setdefault(version, []).append(tuple(totals))
        traffic = []
        for version, several in parts.items():
            counts, first, last = zip(*several)
            times = (float(min(first)), float(max(last)))
            traffic.append(
                VersionTraffic(version, int(sum(counts)), labelled.get(version, 0), *times)
            )
        return sorted(traffic, key=lambda each: (each.first, each.version or ""))

    def confusion(
        self, since: float, until: float | None = None, version: str | None = None
    ) -> Mapping[tuple[int, int], int]:
        """How often each pair of classes (predicted, actual) was labelled in a period."""
        by = (_labels.c.predicted, _labels.c.actual)
        query = (
            sa.select(*by, sa.func.count())  # pylint: disable=not-callable
            .where(*self._labelled_in(_Period(since, until, version)))
            .group_by(*by)
        )
        with self._engine.connect() as connection:
            found = connection.execute(query).all()
        return {(int(predicted), int(actual)): count for predicted, actual, count in found}

    def errors(
        self, since: float, until: float | None = None, version: str | None = None
    ) -> LiveErrors | None:
        """Errors of the values that were labelled in a period; None if there are none."""
        error = _labels.c.predicted - _labels.c.actual
        query = sa.select(
            sa.func.count(),  # pylint: disable=not-callable
            sa.func.avg(sa.func.abs(error)),
            sa.func.avg(error * error),
        ).where(*self._labelled_in(_Period(since, until, version)))
        with self._engine.connect() as connection:
            labelled, absolute, squared = connection.execute(query).one()
        return LiveErrors(labelled, absolute, squared**0.5) if labelled else None

    def labelled(
        self,
        since: float,
        rows: int,
        until: float | None = None,
        version: str | None = None,
        by_prediction: bool = False,
    ) -> np.ndarray:
        """Predicted, actual and confidence of what was labelled in a period, latest first.

        Args:
            by_prediction: whether the period is that of the predictions; else, of the labels.

        Returns:
            float64 array of shape (n, 3), n being at most `rows`; the confidence may be NaN.
        """
        columns = _labels.c
        time_of_row = columns.made if by_prediction else columns.at
        query = (
            sa.select(columns.predicted, columns.actual, columns.confidence)
            .where(*self._conditions(_Period(since, until, version), time_of_row, columns.version))
            .order_by(time_of_row.desc())
            .limit(rows)
        )
        with self._engine.connect() as connection:
            found = connection.execute(query).all()
        return np.array([tuple(row) for row in found], np.float64).reshape(-1, 3)

    def confidences(
        self, since: float, rows: int, until: float | None = None, version: str | None = None
    ) -> np.ndarray:
        """Predicted class and its probability of the latest predictions of a period.

        Returns:
            float64 array of shape (n, 2), n being at most `rows`; none of regressions.
        """
        period = _Period(since, until, version)
        names = ("rows", "at", "predicted", "confidence")
        query = (
            sa.select(*(_batches.c[name] for name in names))
            .where(*self._overlapping(period), _batches.c.confidence.is_not(None))
            .order_by(*(key.desc() for key in _IN_ORDER))
            .execution_options(yield_per=_BATCHES_PER_PAGE)
        )
        found, missing = [np.empty((0, 2))], rows
        with self._engine.connect() as connection:
            for page in connection.execute(query).partitions() if rows else ():
                lengths, at, predicted, confidence = (
                    np.frombuffer(b"".join(values), COLUMN_TYPES[name])
                    for name, values in zip(names, zip(*reversed(page)))
                )
                chosen = np.repeat(period.has(at), lengths)
                found.append(np.column_stack([predicted, confidence])[chosen][::-1])
                missing -= len(found[-1])
                if missing <= 0:
                    break
        return np.concatenate(found)[:rows]

    def read(
        self, since: float, until: float, version: str | None = None
    ) -> Iterator[PredictionBatch]:
        """Batches with predictions of a period, each with the IDs of its rows.

        They are read a few at a time, so that no transaction stays open: a long one would keep
        SQLite from reusing its write-ahead log.
        """
        chosen = self._overlapping(_Period(since, until, version))
        for found in self._pages(_batches.c, since, chosen):
            numbers = [record.id for record in found]
            ids: dict[int, dict[int, str]] = {number: {} for number in numbers}
            named = sa.select(_ids.c.batch, _ids.c.position, _ids.c.text)
            with self._engine.connect() as connection:
                for batch, position, text in connection.execute(
                    named.where(_ids.c.batch.in_(numbers))
                ):
                    ids[batch][position] = text
            for record in found:
                yield replace(_decode(record), ids=ids[record.id])

    def _pages(
        self,
        columns: Iterable[sa.ColumnElement[Any]],
        since: float,
        conditions: Sequence[sa.ColumnElement[bool]],
    ) -> Iterator[Sequence[sa.Row[Any]]]:
        """Some columns, also the number, of batches in order of time, a few batches at a time."""
        last, until, number = (since, 0), _batches.c.until, _batches.c.id
        query = sa.select(*dict.fromkeys((number, until, *columns))).where(*conditions)
        query = query.order_by(*_IN_ORDER).limit(_BATCHES_PER_PAGE)
        while True:
            # the first condition finds the place in the index
            after = (until >= last[0], sa.tuple_(until, number) > last)
            with self._engine.connect() as connection:
                found = connection.execute(query.where(*after)).all()
            if not found:
                return
            yield found
            last = (found[-1].until, found[-1].id)

    def labels_of(self, request_ids: Collection[str]) -> dict[tuple[str, int], tuple[float, float]]:
        """The labels of requests: actual and time of the label, by request ID and row."""
        columns, names = _labels.c, list(request_ids)
        labels: dict[tuple[str, int], tuple[float, float]] = {}
        query = sa.select(columns.request_id, columns.row, columns.actual, columns.at)
        with self._engine.connect() as connection:
            for start in range(0, len(names), _IDS_PER_QUERY):
                few = columns.request_id.in_(names[start : start + _IDS_PER_QUERY])
                found = connection.execute(query.where(columns.model == self._model, few))
                labels |= {(name, row): (actual, at) for name, row, actual, at in found}
        return labels

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

    def drift_state(self) -> tuple[int, str | None]:
        """The number of the last batch that was evaluated, and the state after it; 0 and None at
        first."""
        query = sa.select(_drift.c.batch, _drift.c.state).where(*self._drift_key())
        with self._engine.connect() as connection:
            found = connection.execute(query).first()
        return (found.batch, found.state) if found else (0, None)

    def batches_after(self, number: int, most: int) -> tuple[int, list[PredictionBatch]]:
        """The next batches of this version after a number, and the number of the last one."""
        columns = _batches.c
        query = (
            sa.select(_batches)
            .where(
                *(columns.model == self._model, columns.id > number),
                *(
                    columns[name].is_not_distinct_from(value)
                    for name, value in self._service.items()
                ),
            )
            .order_by(columns.id)
            .limit(most)
        )
        with self._engine.connect() as connection:
            found = connection.execute(query).all()
        return (found[-1].id if found else number), [_decode(record) for record in found]

    def save_drift_state(self, previous: int, number: int, state: str) -> bool:
        """Keep the state after a batch, unless another process has meanwhile evaluated batches
        after `previous`; returns whether it was kept."""
        after = {"batch": number, "state": state}
        update = _drift.update().where(*self._drift_key(), _drift.c.batch == previous).values(after)
        with self._engine.begin() as connection:
            if connection.execute(update).rowcount:
                return True
        try:
            with self._engine.begin() as connection:
                connection.execute(_drift.insert().values(**self._drift_names(), **after))
        except sa.exc.IntegrityError:  # another process was faster
            return False
        return True

    def retraining_failed(self) -> bool:
        """Whether the last retraining by `make watch` failed or was refused."""
        query = sa.select(_watch.c.retraining_failed).where(
            _watch.c.model == self._model,
            _watch.c.environment == (self._service["environment"] or ""),
        )
        with self._engine.connect() as connection:
            return bool(connection.execute(query).scalar())

    def _drift_names(self) -> dict[str, str]:
        return {"model": self._model} | {name: text or "" for name, text in self._service.items()}

    def _drift_key(self) -> list[sa.ColumnElement[bool]]:
        return [_drift.c[name] == text for name, text in self._drift_names().items()]

    def close(self) -> None:
        """Close the connections."""
        self._connections.dispose()

    def _remove_old(self) -> None:
        """Remove the oldest rows, so few that nobody waits for long; the next call goes on."""
        now, most = time.time(), 0
        labels = (_labels.c.at, _replaced.c.replaced_at)
        for last in (_batches.c.until, _ids.c.at, *labels, _writers.c.at):
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

    def _conditions(
        self, period: _Period, at: sa.Column[Any], version: sa.Column[Any]
    ) -> list[sa.ColumnElement[bool]]:
        """Conditions for rows of a period, whose time is in the column `at`."""
        conditions = [at.table.c.model == self._model, at >= period.since]
        if period.until is not None:
            conditions.append(at < period.until)
        if period.version is not None:
            conditions.append(version == period.version)
        return conditions

    def _labelled_in(self, period: _Period) -> list[sa.ColumnElement[bool]]:
        """Conditions for what was labelled in a period."""
        return self._conditions(period, _labels.c.at, _labels.c.version)

    def _fully_in(self, period: _Period) -> list[sa.ColumnElement[bool]]:
        """Conditions for batches whose rows all belong to a period."""
        conditions = self._conditions(period, _batches.c.until, _batches.c.version)
        return [*conditions, _batches.c.since >= period.since]

    def _overlapping(self, period: _Period) -> list[sa.ColumnElement[bool]]:
        """Conditions for batches with rows of a period; some of their rows may not belong to it."""
        conditions = self._conditions(
            replace(period, until=None), _batches.c.until, _batches.c.version
        )
        return (
            conditions if period.until is None else [*conditions, _batches.c.since < period.until]
        )

    def _partly_in(self, period: _Period) -> Iterator[tuple[PredictionBatch, np.ndarray]]:
        """Batches of which not all rows belong to a period, and the mask of those that do."""
        outside = _batches.c.since < period.since
        if period.until is not None:
            outside = outside | (_batches.c.until >= period.until)
        for batch in self._batches(period.since, *self._overlapping(period), outside):
            chosen = period.has(batch.at)
            if chosen.any():
                yield batch, np.repeat(chosen, batch.rows)

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


def sqlite_file(url: str | sa.URL) -> Path | None:
    """The file of an SQLite database; None for other databases, and if only SQLite knows it."""
    address = sa.make_url(url)
    path = address.database or ""
    is_file = address.get_backend_name() == "sqlite" and path and not path.startswith("file:")
    return Path(path) if is_file else None


def _connections_to(address: sa.URL) -> sa.Engine:
    """An engine that has no connection yet."""
    options: dict[str, Any] = {}
    if file := sqlite_file(address):
        file.parent.mkdir(parents=True, exist_ok=True)
    elif address.drivername.startswith("postgresql+psycopg"):
        options["pool_pre_ping"] = True  # connections end when the server restarts
        options["connect_args"] = {
            name: value for name, value in _POSTGRESQL.items() if name not in address.query
        }
    engine = sa.create_engine(address, **options)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _is_new(connection: sa.Connection, writer: str, number: int) -> bool:
    """Whether the database does not have this write yet; it has after this transaction."""
    write = {"name": writer, "write": number, "now": time.time()}
    if connection.execute(_NOTE_WRITE, write).rowcount:
        return True
    if connection.execute(sa.select(_writers).where(_writers.c.writer == writer)).first():
        return False
    try:
        connection.execute(_writers.insert().values(writer=writer, number=number, at=write["now"]))
    except sa.exc.IntegrityError as error:  # the server still handles it for a killed process
        raise PredictionLogError("the same predictions are being written: retry later") from error
    return True


@cache
def _label_statements(dialect: str) -> tuple[str, str]:
    """Statements for the driver, which executes them with many labels three times as fast as
    SQLAlchemy: the first keeps previous labels with another value, the second sets the new ones."""
    library: Any = postgresql if dialect == "postgresql" else sqlite
    insert = library.insert(_labels)
    insert = insert.values({name: sa.bindparam(f"new_{name}") for name in _labels.c.keys()})
    others = {name: insert.excluded[name] for name in _labels.c.keys() if name not in _KEY}
    insert = insert.on_conflict_do_update(
        index_elements=_KEY, set_=others, where=_labels.c.actual != insert.excluded.actual
    )
    style = library.dialect(paramstyle="pyformat" if library is postgresql else "named")
    keep, set_ = (str(statement.compile(dialect=style)) for statement in (_KEEP_REPLACED, insert))
    return keep, set_


def _create_missing(engine: sa.Engine) -> None:
    """Create the tables, columns and indexes that the database lacks.

    Several workers, also of an older version of this project, may do this at once.
    """
    with engine.connect() as connection:
        if not list(_missing(connection)):
            return
    with engine.begin() as connection:
        if lock := _SCHEMA_LOCKS.get(engine.dialect.name):
            connection.exec_driver_sql(lock)
        for statement in list(_missing(connection)):
            connection.execute(statement)


def _missing(connection: sa.Connection) -> Iterator[sa.Executable]:
    """The statements that create what the database lacks."""
    found = sa.inspect(connection)
    existing = set(found.get_table_names())
    for table in _metadata.tables.values():
        if table.name not in existing:
            yield sa.schema.CreateTable(table)
            yield from map(sa.schema.CreateIndex, table.indexes)
            continue
        columns = {column["name"] for column in found.get_columns(table.name)}
        for column in table.columns:
            if column.name not in columns:
                text = sa.schema.CreateColumn(column).compile(connection)
                yield sa.text(f"ALTER TABLE {table.name} ADD COLUMN {text}")
        indexes = {index["name"] for index in found.get_indexes(table.name)}
        for index in table.indexes:
            if index.name not in indexes:
                yield sa.schema.CreateIndex(index)


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
    if not isinstance(error, _FAULTY_VALUES):
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
        for name, kind in COLUMN_TYPES.items()
    }
    columns["inputs"] = columns["inputs"].reshape(len(columns["predicted"]), -1)
    callers = stored["callers"].split("\n") if stored["callers"] else ()
    return PredictionBatch(
        stored["request_ids"].split("\n")[1:-1],
        **columns,
        callers=[name or None for name in callers],
        version=stored["version"],
        environment=stored["environment"],
    )


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
