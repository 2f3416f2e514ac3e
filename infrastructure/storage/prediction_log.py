"""The prediction log in an SQL database, through SQLAlchemy."""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from application.ports.prediction_log import (
    LabelCounts,
    LabelledPrediction,
    LiveErrors,
    LoggedPrediction,
    PredictionBatch,
    Traffic,
    VersionTraffic,
)
from domain.errors import PredictionLogError, reason_of
from infrastructure.storage.label_writes import IDS_PER_QUERY, set_labels
from infrastructure.storage.tables import (
    BATCHES,
    COLUMN_TYPES,
    DRIFT,
    IDS,
    LABEL_COLUMNS,
    LABEL_TOTALS,
    LABELS,
    NOT_SUMMED,
    QUALITY_TOTALS,
    REPLACED,
    TOTALS,
    WATCH,
    WRITERS,
    create_missing,
)
from infrastructure.storage.totals import (
    DAY,
    WIDTHS,
    Totals,
    add_totals,
    classes_of,
    count_labels,
    count_pairs,
    latest_of_minute,
    rows_of,
    spans_of,
    summed_pieces,
)
from infrastructure.storage.version_classes import note_classes, noted_classes
from shared.request_id import time_of

logger = logging.getLogger(__name__)

RETENTION_DAYS = 90

_HOUR = 3600.0
LONGEST_REQUEST = _HOUR  # seconds from the time in a request ID to the predictions
_BATCHES_PER_FETCH = 4  # usually the first ones are enough
_OLD_ROWS = 1000  # of a table that are removed at once
_SUMMED_BATCHES = 100  # that are added to the totals at once
_FAULTY_VALUES = (sa.exc.DataError, sa.exc.IntegrityError, sa.exc.NotSupportedError)
_POSTGRESQL = {"connect_timeout": 5, "tcp_user_timeout": 10_000, "keepalives_idle": 10}
_TEMPORARY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)
_BATCHES_PER_PAGE = 64  # where all are read
_BUSY_SECONDS = 10  # wait this long for other processes that write to an SQLite database
_VALUE_TOLERANCE = 1e-5  # clients may round predicted values

_ADD = BATCHES.insert()
_TOTALS = sa.select(  # the version, and the arguments of `Totals`
    *(BATCHES.c[name] for name in ("version", "predictions", "since", "until", "until")),
    *(BATCHES.c[name] for name in ("total_latency", "total_predicted", "smallest", "largest")),
    *(BATCHES.c.total_confidence, BATCHES.c.by_class),
)
_IN_ORDER = (BATCHES.c.until, BATCHES.c.id)  # the order of the index, so nothing is sorted

_NOTE_WRITE = (
    sa.update(WRITERS)
    .where(WRITERS.c.writer == sa.bindparam("name"), WRITERS.c.number < sa.bindparam("write"))
    .values(number=sa.bindparam("write"), at=sa.bindparam("now"))
)


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
        classes: of the version, which are noted in the log; empty to note none.

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
        classes: Sequence[str] = (),
    ) -> None:
        address = sa.make_url(url)
        self._model = model
        self._service = {"version": version, "environment": environment}
        self._classes = classes
        self._retention = retention_days * 86400
        self._last_tidied = 0.0
        self._is_open, self._opening = False, threading.Lock()
        try:
            self._connections = _connections_to(address)
            self._tidy()
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
                    create_missing(self._connections)
                    with self._connections.begin() as connection:  # fails if it is read-only
                        connection.execute(WRITERS.delete().where(sa.false()))
                        own = (self._service["version"], self._classes)
                        note_classes(connection, self._model, *own)
                    self._is_open = True
        return self._connections

    def classes_of(self, version: str) -> list[str] | None:
        """The classes of a version, in order; None if no service has noted them."""
        with self._engine.connect() as connection:
            return noted_classes(connection, self._model, version)

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
                    adding = _ADD.returning(BATCHES.c.id)
                    key = connection.execute(adding, self._record_of(batch)).scalar_one()
                    connection.execute(IDS.insert(), self._ids_of(batch, key))
            since = self._summed_since
            summed = [self.stamp(batch) for batch in batches if batch.at.min() >= since]
            add_totals(connection, self._model, spans_of(summed))
        if time.time() > self._last_tidied + _HOUR:
            self._tidy()
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
            "summed": True if batch.at.min() >= self._summed_since else None,
            "request_ids": "\n".join(["", *batch.request_ids, ""]),
            "confidence": None,
            "callers": "\n".join(name or "" for name in batch.callers) if batch.callers else None,
            **self._service_of(batch),
            **{name: value for name, value in vars(Totals.of(batch)).items() if name != "latest"},
            **columns,
        }

    @property
    def _summed_since(self) -> float:
        """From when on predictions are part of the totals: from the first day that is kept as a
        whole, as the others have no totals soon."""
        return math.ceil(max(0.0, time.time() - self._retention) / DAY) * DAY

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
        has_id = BATCHES.c.request_ids.contains(f"\n{request_id}\n", autoescape=True)
        soon_after = BATCHES.c.since <= (made or 0) + LONGEST_REQUEST
        searches = [[has_id, soon_after, BATCHES.c.until >= made]] if made else []
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
        in_time = [] if until is None else [IDS.c.at <= until]
        query = (
            sa.select(BATCHES, IDS.c.position)
            .join_from(IDS, BATCHES, BATCHES.c.id == IDS.c.batch)
            .where(IDS.c.model == self._model, IDS.c.text == text, *in_time)
            .order_by(IDS.c.at.desc(), IDS.c.batch.desc(), IDS.c.position.desc())
            .limit(1)
        )
        with self._engine.connect() as connection:
            found = connection.execute(query).first()
        return _decode(found).prediction(found.position) if found else None

    def label(self, *labelled: LabelledPrediction, at: float) -> LabelCounts:
        """Record the true values of predictions, in order, in one transaction.

        Another value for the same row replaces the previous one, which moves to the table
        `replaced_labels`; the same value again changes nothing.
        """
        if not labelled:
            return LabelCounts()
        rounds = [{(label.request_id, label.row): label for label in labelled}]
        if len(rounds[0]) < len(labelled):  # each row once in each round
            rounds, earlier = [], Counter[tuple[str, int]]()
            for label in labelled:
                key = (label.request_id, label.row)
                if earlier[key] == len(rounds):
                    rounds.append({})
                rounds[earlier[key]][key] = label
                earlier[key] += 1
        while (counts := self._add_labels(rounds, at)) is None:
            pass  # again, as another process has added one of them
        return counts

    def _add_labels(
        self, rounds: Iterable[Mapping[tuple[str, int], LabelledPrediction]], at: float
    ) -> LabelCounts | None:
        """Record labels in one transaction, and return how many have changed; None if another
        process was faster."""
        since, counts = self._summed_since, LabelCounts()
        with self._engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            for chosen in rounds:
                labels = {}
                for key in sorted(chosen):  # so that no two processes wait for each other's rows
                    _, _, predicted, actual, confidence, version, made = chosen[key]
                    summed = True if made is not None and made >= since else None
                    counted = True if at >= since else None
                    values = (at, predicted, actual, confidence, version, made, summed, counted)
                    labels[key] = (self._model, *key, *values)
                written = set_labels(connection, self._model, since, labels)
                if written is None:
                    return None
                counts = counts.plus(written)
            connection.commit()
        return counts

    def traffic(
        self, since: float, until: float | None = None, version: str | None = None
    ) -> Traffic:
        """Totals of the predictions of a period."""
        found = self._totals(_Period(since, until, version)).values()
        if not found:
            return Traffic(0, None, None, None, None, None)
        total = Totals.join(list(found))
        count, confidence = total.predictions, total.total_confidence
        return Traffic(
            count,
            None if confidence is None else confidence / count,
            total.total_latency / count,
            total.total_predicted / count,
            total.smallest,
            total.largest,
        )

    def by_class(
        self, since: float, until: float | None = None, version: str | None = None
    ) -> Mapping[int, int]:
        """How often each class was predicted in a period."""
        counts: Counter[int] = Counter()
        for total in self._totals(_Period(since, until, version)).values():
            counts.update(dict(enumerate(total.counts())))
        return +counts

    def versions(self, since: float, until: float | None = None) -> list[VersionTraffic]:
        """The versions that made predictions in a period, by the time of their first one."""
        period = _Period(since, until)
        labelled = self._labelled_by_version(period)
        traffic = [
            VersionTraffic(version, total.predictions, labelled[version], total.since, total.until)
            for version, total in self._totals(period).items()
        ]
        return sorted(traffic, key=lambda each: (each.first, each.version or ""))

    def confusion(
        self, since: float, until: float | None = None, version: str | None = None
    ) -> Mapping[tuple[int, int], int]:
        """How often each pair of classes (predicted, actual) was labelled in a period."""
        by, counts = (LABELS.c.predicted, LABELS.c.actual), Counter[tuple[int, int]]()
        with self._snapshot() as connection:
            period = _Period(since, until, version)
            others, totals = self._label_sources(connection, period, QUALITY_TOTALS)
            for conditions in others:
                query = sa.select(*by, sa.func.count())  # pylint: disable=not-callable
                for predicted, actual, count in connection.execute(
                    query.where(*conditions).group_by(*by)
                ):
                    counts[int(predicted), int(actual)] += count
            for query in totals:
                for _, pair, count, *_ in connection.execute(query):
                    counts[classes_of(pair)] += count
        return +counts

    def errors(
        self, since: float, until: float | None = None, version: str | None = None
    ) -> LiveErrors | None:
        """Errors of the values that were labelled in a period; None if there are none."""
        error, sums = LABELS.c.predicted - LABELS.c.actual, [0.0, 0.0, 0.0]
        columns = (sa.func.count(), sa.func.sum(sa.func.abs(error)), sa.func.sum(error * error))
        with self._snapshot() as connection:
            period = _Period(since, until, version)
            others, totals = self._label_sources(connection, period, QUALITY_TOTALS)
            queries = [sa.select(*columns).where(*conditions) for conditions in others]
            for query in (*queries, *totals):
                for *_, labelled, absolute, squared in connection.execute(query):
                    more = (labelled, absolute or 0.0, squared or 0.0)
                    sums = [total + number for total, number in zip(sums, more)]
        labelled, absolute, squared = int(sums[0]), *sums[1:]
        if not labelled:
            return None
        return LiveErrors(labelled, absolute / labelled, (squared / labelled) ** 0.5)

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
        columns = LABELS.c
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
            sa.select(*(BATCHES.c[name] for name in names))
            .where(*self._overlapping(period), BATCHES.c.confidence.is_not(None))
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
        for found in self._pages(BATCHES.c, since, chosen):
            numbers = [record.id for record in found]
            ids: dict[int, dict[int, str]] = {number: {} for number in numbers}
            named = sa.select(IDS.c.batch, IDS.c.position, IDS.c.text)
            with self._engine.connect() as connection:
                for batch, position, text in connection.execute(
                    named.where(IDS.c.batch.in_(numbers))
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
        last, until, number = (since, 0), BATCHES.c.until, BATCHES.c.id
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
        columns, names = LABELS.c, list(request_ids)
        labels: dict[tuple[str, int], tuple[float, float]] = {}
        query = sa.select(columns.request_id, columns.row, columns.actual, columns.at)
        with self._engine.connect() as connection:
            for start in range(0, len(names), IDS_PER_QUERY):
                few = columns.request_id.in_(names[start : start + IDS_PER_QUERY])
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
        query = sa.select(DRIFT.c.batch, DRIFT.c.state).where(*self._key(DRIFT))
        with self._engine.connect() as connection:
            found = connection.execute(query).first()
        return (found.batch, found.state) if found else (0, None)

    def batches_after(self, number: int, most: int) -> tuple[int, list[PredictionBatch]]:
        """The next batches of this version after a number, and the number of the last one."""
        columns = BATCHES.c
        query = (
            sa.select(BATCHES)
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
        return self._replace(DRIFT.c.batch, previous, {"batch": number, "state": state})

    def retraining_failed(self) -> bool:
        """Whether the last retraining by `make watch` failed or was refused."""
        query = sa.select(WATCH.c.retraining_failed).where(*self._key(WATCH))
        with self._engine.connect() as connection:
            return bool(connection.execute(query).scalar())

    def _names(self, table: sa.Table) -> dict[str, str]:
        """The key of this service's row in a table of states."""
        names = {"model": self._model, **self._service}
        return {key.name: names[key.name] or "" for key in table.primary_key}

    def _key(self, table: sa.Table) -> list[sa.ColumnElement[bool]]:
        return [table.c[name] == text for name, text in self._names(table).items()]

    def _replace(self, column: sa.Column[Any], previous: Any, after: Mapping[str, Any]) -> bool:
        """Replace this service's row in a table of states, or add it, unless another process has
        meanwhile changed a column's value from the previous one; returns whether it was replaced.
        """
        table = column.table
        update = table.update().where(*self._key(table), column == previous).values(after)
        with self._engine.begin() as connection:
            if connection.execute(update).rowcount:
                return True
        try:
            with self._engine.begin() as connection:
                connection.execute(table.insert().values(**self._names(table), **after))
        except sa.exc.IntegrityError:  # another process was faster
            return False
        return True

    def close(self) -> None:
        """Close the connections."""
        self._connections.dispose()

    def _tidy(self) -> None:
        """Remove the oldest rows, and sum what another version of this project has written: so
        few that nobody waits for long; the next call goes on."""
        now = time.time()
        is_done = self._remove_old(now - self._retention)
        if self._sum_batches() and self._sum_labels() and is_done:
            self._last_tidied = now

    def _remove_old(self, before: float) -> bool:
        """Remove the oldest rows, and return whether all are removed."""
        with self._engine.begin() as connection:  # all at once: see `summed_pieces`
            for table in (TOTALS, LABEL_TOTALS, QUALITY_TOTALS):
                columns = table.c
                old = (columns.seconds.in_(WIDTHS), columns.start < before)
                connection.execute(table.delete().where(columns.model == self._model, *old))
        most = 0
        labels = (LABELS.c.at, REPLACED.c.replaced_at)
        for last in (BATCHES.c.until, IDS.c.at, *labels, WRITERS.c.at):
            columns = last.table.c
            own = [columns.model == self._model] if "model" in columns else []
            old_rows = sa.select(*last.table.primary_key).where(last < before, *own)
            with self._engine.connect() as connection:  # found without a lock
                found = [tuple(row) for row in connection.execute(old_rows.limit(_OLD_ROWS))]
            if found:
                key = sa.tuple_(*last.table.primary_key)
                with self._engine.begin() as connection:
                    connection.execute(sa.delete(last.table).where(key.in_(found)))
            most = max(most, len(found))
        return most < _OLD_ROWS

    def _sum_batches(self) -> bool:
        """Add batches to the totals that are not part of them; return whether all are."""
        columns = BATCHES.c
        chosen = (columns.model == self._model, NOT_SUMMED, columns.until >= self._summed_since)
        some = sa.select(columns.id).where(*chosen, columns.since >= self._summed_since)
        some = some.limit(_SUMMED_BATCHES)
        claim = BATCHES.update().where(columns.id.in_(some), NOT_SUMMED).values(summed=True)
        with self._engine.begin() as connection:
            found = connection.execute(claim.returning(*columns)).all()
            add_totals(connection, self._model, spans_of(map(_decode, found)))
        return len(found) < _SUMMED_BATCHES

    def _sum_labels(self) -> bool:
        """Add labels to the totals that are not part of them; return whether all are."""
        columns, keys, numbers = LABELS.c, LABELS.primary_key, []
        for flag, time_of_row, count in (
            (columns.summed, columns.made, count_labels),
            (columns.counted, columns.at, count_pairs),
        ):
            chosen = (columns.model == self._model, time_of_row >= self._summed_since)
            some = sa.select(*keys).where(*chosen, flag.is_(None)).limit(_OLD_ROWS)
            claim = LABELS.update().where(sa.tuple_(*keys).in_(some), flag.is_(None))
            claim = claim.values({flag.name: True})
            with self._engine.begin() as connection:
                read = [columns[name] for name in LABEL_COLUMNS]
                found = connection.execute(claim.returning(*read)).all()
                count(connection, self._model, self._summed_since, found)
            numbers.append(len(found))
        return max(numbers) < _OLD_ROWS

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

    def _overlapping(self, period: _Period) -> list[sa.ColumnElement[bool]]:
        """Conditions for batches with rows of a period; some of their rows may not belong to it."""
        conditions = self._conditions(
            replace(period, until=None), BATCHES.c.until, BATCHES.c.version
        )
        return conditions if period.until is None else [*conditions, BATCHES.c.since < period.until]

    @contextmanager
    def _snapshot(self) -> Iterator[sa.Connection]:
        """A connection whose queries all see the same state."""
        with self._engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")
            else:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    def _totals(self, period: _Period) -> dict[str | None, Totals]:
        """The totals of the versions that made predictions in a period."""
        parts: dict[str | None, list[Totals]] = {}
        with self._snapshot() as connection:
            for version, totals in self._parts_of(connection, period):
                parts.setdefault(version or None, []).append(totals)
        return {version: Totals.join(several) for version, several in parts.items()}

    def _parts_of(
        self, connection: sa.Connection, period: _Period
    ) -> Iterator[tuple[str | None, Totals]]:
        """Totals of a period, with their versions: of whole minutes, hours and days, and of the
        batches at its ends or that are not summed."""
        yield from self._parts_of_batches(connection, period, NOT_SUMMED)
        chosen = summed_pieces(connection, TOTALS, self._model, period.since, period.until)
        for seconds, since, until in chosen:
            latest = None if seconds else latest_of_minute(connection, self._model, since)
            if latest is not None:
                ends = (BATCHES.c.summed.is_not(None), BATCHES.c.until <= latest)
                within = replace(period, since=since, until=until)
                yield from self._parts_of_batches(connection, within, *ends)
        for query in rows_of(TOTALS, self._model, chosen, period.version):
            for version, *totals in connection.execute(query):
                yield version, Totals(*totals)

    def _parts_of_batches(
        self, connection: sa.Connection, period: _Period, *conditions: sa.ColumnElement[bool]
    ) -> Iterator[tuple[str | None, Totals]]:
        """Totals of what belongs to a period in some batches, and their versions."""
        chosen = [*self._overlapping(period), *conditions]
        is_partial = BATCHES.c.since < period.since
        if period.until is not None:
            is_partial = is_partial | (BATCHES.c.until >= period.until)
        for version, *totals in connection.execute(_TOTALS.where(*chosen, ~is_partial)):
            yield version, Totals(*totals)
        partial = sa.select(BATCHES).where(*chosen, is_partial)
        for record in connection.execute(partial.execution_options(yield_per=_BATCHES_PER_FETCH)):
            batch = _decode(record)
            requests = batch.at >= period.since
            if period.until is not None:
                requests &= batch.at < period.until
            if requests.any():
                yield batch.version, Totals.of(batch, requests)

    def _labelled_by_version(self, period: _Period) -> Counter[str | None]:
        """How many of the predictions of a period have a label."""
        version, found = LABELS.c.version, Counter[str | None]()
        with self._snapshot() as connection:
            others, totals = self._label_sources(connection, period, LABEL_TOTALS)
            queries: list[sa.Select[Any]] = [
                sa.select(version, sa.func.count())  # pylint: disable=not-callable
                .where(*conditions)
                .group_by(version)
                for conditions in others
            ]
            for query in (*queries, *totals):
                for name, labelled in connection.execute(query):
                    found[name or None] += labelled
        return found

    def _label_sources(
        self, connection: sa.Connection, period: _Period, table: sa.Table
    ) -> tuple[list[list[sa.ColumnElement[bool]]], list[sa.Select[Any]]]:
        """Where the labels of a period are: conditions for those to be read one by one, and
        queries for totals."""
        columns = LABELS.c
        time_of_row, flag = columns.made, columns.summed
        if table is QUALITY_TOTALS:
            time_of_row, flag = columns.at, columns.counted
        chosen = summed_pieces(connection, table, self._model, period.since, period.until)
        parts = [(period, flag.is_(None))] + [
            (replace(period, since=since, until=until), flag.is_not(None))
            for seconds, since, until in chosen
            if not seconds
        ]
        others = [
            [*self._conditions(part, time_of_row, columns.version), condition]
            for part, condition in parts
        ]
        return others, rows_of(table, self._model, chosen, period.version)

    def _batches(
        self, since: float, *conditions: sa.ColumnElement[bool], latest_first: bool = False
    ) -> Iterator[PredictionBatch]:
        """Batches whose last predictions were made since a time."""
        query = (
            sa.select(BATCHES)
            .where(BATCHES.c.model == self._model, BATCHES.c.until >= since, *conditions)
            .order_by(*((key.desc() if latest_first else key) for key in _IN_ORDER))
            .execution_options(yield_per=_BATCHES_PER_FETCH)
        )
        with self._engine.connect() as connection:
            for found in connection.execute(query):
                yield _decode(found)

    def _labelled(self, request_ids: Collection[str]) -> set[tuple[str, int]]:
        """The request IDs and rows, among these requests, that have a label."""
        query = sa.select(LABELS.c.request_id, LABELS.c.row).where(
            LABELS.c.model == self._model, LABELS.c.request_id.in_(request_ids)
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
    if connection.execute(sa.select(WRITERS).where(WRITERS.c.writer == writer)).first():
        return False
    try:
        connection.execute(WRITERS.insert().values(writer=writer, number=number, at=write["now"]))
    except sa.exc.IntegrityError as error:  # the server still handles it for a killed process
        raise PredictionLogError("the same predictions are being written: retry later") from error
    return True


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
