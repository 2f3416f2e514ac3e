"""Totals of predictions by minute, hour and day, so that summaries of a large log are quick."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from application.ports.prediction_log import PredictionBatch
from infrastructure.storage.tables import COUNTS, LABEL_TOTALS, QUALITY_TOTALS, TOTALS

DAY, MINUTE = 86400, 60
WIDTHS = (DAY, 3600, MINUTE)  # seconds


class Span(NamedTuple):
    """A minute, an hour or a day of a version.

    Attributes:
        seconds: its length.
        start: seconds since the epoch.
        version: empty if unknown.
    """

    seconds: int
    start: int
    version: str


@dataclass(frozen=True)
class Totals:
    """Totals of at least one prediction, in the order of the columns of `TOTALS`.

    Attributes:
        since, until: times of the first and the last one.
        latest: time of the last prediction in a batch that has one of these.
        total_confidence, by_class: None for a regressor.
    """

    predictions: int
    since: float
    until: float
    latest: float
    total_latency: float
    total_predicted: float
    smallest: float
    largest: float
    total_confidence: float | None
    by_class: bytes | None

    @classmethod
    def of(cls, batch: PredictionBatch, requests: np.ndarray | None = None) -> Totals:
        """Totals of a batch.

        Args:
            requests: mask of the requests that count, at least one; None for all.
        """
        at, latency, rows = batch.at, batch.latency, batch.rows
        predicted, confidence = batch.predicted, batch.confidence
        if requests is not None:
            chosen = np.repeat(requests, rows)
            at, latency, rows = at[requests], latency[requests], rows[requests]
            predicted = predicted[chosen]
            confidence = None if confidence is None else confidence[chosen]
        by_class = None
        if confidence is not None:
            by_class = np.bincount(predicted.astype(np.int64)).astype(COUNTS).tobytes()
        return cls(
            len(predicted),
            float(at.min()),
            float(at.max()),
            float(batch.at.max()),
            float((latency * rows).sum(dtype=np.float64)),
            float(predicted.sum(dtype=np.float64)),
            float(predicted.min()),
            float(predicted.max()),
            None if confidence is None else float(confidence.sum(dtype=np.float64)),
            by_class,
        )

    @classmethod
    def join(cls, parts: Sequence[Totals]) -> Totals:
        """The totals of several ones, at least one."""
        if len(parts) == 1:
            return parts[0]
        columns = dict(zip((field.name for field in fields(cls)), zip(*map(_values, parts))))
        confidences, counts = columns["total_confidence"], columns["by_class"]
        return cls(
            sum(columns["predictions"]),
            min(columns["since"]),
            max(columns["until"]),
            max(columns["latest"]),
            math.fsum(columns["total_latency"]),
            math.fsum(columns["total_predicted"]),
            min(columns["smallest"]),
            max(columns["largest"]),
            None if None in confidences else math.fsum(confidences),
            None if None in counts else _sum_of_counts(counts),
        )

    def counts(self) -> list[int]:
        """How often each class was predicted; empty for a regressor."""
        return [] if self.by_class is None else np.frombuffer(self.by_class, COUNTS).tolist()


def _values(totals: Totals) -> tuple[Any, ...]:
    return tuple(vars(totals).values())


def _sum_of_counts(several: Sequence[bytes]) -> bytes:
    different = Counter(several)
    total = np.zeros(max(map(len, different)) // np.dtype(COUNTS).itemsize, np.int64)
    for counts, times in different.items():
        found = np.frombuffer(counts, COUNTS)
        total[: len(found)] += found.astype(np.int64) * times
    return total.astype(COUNTS).tobytes()


def spans_of(batches: Iterable[PredictionBatch]) -> dict[Span, Totals]:
    """The totals of batches by minute, hour and day."""
    parts: dict[Span, list[Totals]] = {}
    for batch in batches:
        minutes = (batch.at // MINUTE).astype(np.int64)
        several = np.unique(minutes).tolist()
        for minute in several:
            totals = Totals.of(batch, None if len(several) == 1 else minutes == minute)
            for span in spans_at(minute * MINUTE, batch.version):
                parts.setdefault(span, []).append(totals)
    return {span: Totals.join(several) for span, several in parts.items()}


def spans_at(at: float, version: str | None) -> list[Span]:
    """The minute, the hour and the day of a time."""
    return [Span(width, int(at // width) * width, version or "") for width in WIDTHS]


def pieces(
    since: float, until: float, widths: Sequence[int] = WIDTHS
) -> Iterator[tuple[int, float, float]]:
    """A period as few whole days, hours and minutes, and at its ends parts of a minute.

    Returns:
        For each piece the length of its spans, 0 for part of a minute, and its start and end.
    """
    if since >= until:
        return
    if not widths:
        yield 0, since, until
        return
    width, *finer = widths
    low, high = -(-since // width) * width, until // width * width
    if low > high:  # both are in one span
        yield from pieces(since, until, finer)
        return
    yield from pieces(since, low, finer)
    if low < high:
        yield width, low, high
    yield from pieces(high, until, finer)


def summed_pieces(
    connection: sa.Connection, table: sa.Table, model: str, since: float, until: float | None
) -> list[tuple[int, float, float]]:
    """The pieces of a period from which on a table has totals; those of removed rows are gone."""
    first = sa.select(sa.func.min(table.c.start)).where(
        table.c.model == model, table.c.seconds == MINUTE
    )
    start = connection.execute(first).scalar()
    if start is None:
        return []
    return list(pieces(max(since, start), _NEVER if until is None else until))


def rows_of(
    table: sa.Table, model: str, chosen: Sequence[tuple[int, float, float]], version: str | None
) -> list[sa.Select[Any]]:
    """Queries for the rows of whole spans of a version, or of all."""
    columns = table.c
    of_version = [] if version is None else [columns.version == version]
    return [
        sa.select(*columns[3:]).where(
            *(columns.model == model, columns.seconds == seconds),
            *(columns.start >= low, columns.start < high, *of_version),
        )
        for seconds, low, high in chosen
        if seconds
    ]


def latest_of_minute(connection: sa.Connection, model: str, at: float) -> float | None:
    """When the batches end that have predictions in the minute of a time; None without any."""
    columns = TOTALS.c
    query = sa.select(sa.func.max(columns.latest)).where(
        columns.model == model, columns.seconds == MINUTE, columns.start == at // MINUTE * MINUTE
    )
    return connection.execute(query).scalar()


def add_totals(connection: sa.Connection, model: str, added: Mapping[Span, Totals]) -> None:
    """Add totals to those on record."""
    if not added:
        return
    _lock(connection, model)
    wanted = {"its_model": model, "spans": [tuple(span) for span in added]}
    found = {Span(*row[:3]): Totals(*row[3:]) for row in connection.execute(_FIND, wanted)}
    new = [
        {"model": model, **span._asdict(), **vars(totals)}
        for span, totals in added.items()
        if span not in found
    ]
    changed = [
        dict(zip(_OLD_KEY, (model, *span))) | vars(Totals.join([totals, added[span]]))
        for span, totals in found.items()
    ]
    if new:
        connection.execute(TOTALS.insert(), new)
    if changed:
        connection.execute(_UPDATE, changed)


def _lock(connection: sa.Connection, model: str) -> None:
    """Let one process at a time change the totals of a model, as the last part of its transaction,
    so that no two processes wait for each other. In SQLite, only one writes anyway."""
    if connection.dialect.name == "postgresql":
        lock = sa.func.pg_advisory_xact_lock(_LOCK, sa.func.hashtext(model))
        connection.execute(sa.select(lock))


# pylint: disable-next=too-many-arguments,too-many-positional-arguments
def count_labels(
    connection: sa.Connection,
    model: str,
    since: float,
    labels: Iterable[Sequence[Any]],
    times: int = 1,
) -> None:
    """Add labels to the totals by the time of the prediction.

    Args:
        since: labels of earlier predictions are left out.
        labels: values of `LABEL_COLUMNS`.
        times: -1 to remove them.
    """
    counts = Counter(
        (made // MINUTE * MINUTE, version)
        for *_, version, made, summed, _ in labels
        if summed and made >= since
    )
    sums: Counter[Span] = Counter()
    for (minute, version), number in counts.items():
        sums.update(dict.fromkeys(spans_at(minute, version), number * times))
    rows = [{**span._asdict(), "labelled": sums[span]} for span in sorted(sums)]
    _add_sums(connection, LABEL_TOTALS, model, rows)


# pylint: disable-next=too-many-arguments,too-many-positional-arguments
def count_pairs(
    connection: sa.Connection,
    model: str,
    since: float,
    labels: Iterable[Sequence[Any]],
    times: int = 1,
) -> None:
    """As `count_labels`, by the time of the label."""
    counts = Counter(
        (at // MINUTE * MINUTE, version, predicted, actual)
        for _, _, _, at, predicted, actual, _, version, _, _, counted in labels
        if counted and at >= since
    )
    sums: dict[tuple[Span, int], np.ndarray] = {}
    for (minute, version, predicted, actual), number in counts.items():
        error, pair = abs(predicted - actual), pair_of(predicted, actual)
        added = number * times * np.array([1.0, error, error * error])
        for span in spans_at(minute, version):
            sums[span, pair] = sums.get((span, pair), 0) + added
    names = ("labelled", "absolute", "squared")
    rows = [
        {**span._asdict(), "pair": pair, **dict(zip(names, sums[span, pair].tolist()))}
        for span, pair in sorted(sums)
    ]
    _add_sums(connection, QUALITY_TOTALS, model, rows)


def _add_sums(
    connection: sa.Connection, table: sa.Table, model: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Add numbers to those on record, in the columns that are no key."""
    insert = insert_of(table, connection)
    sums = {
        column.name: column + insert.excluded[column.name]
        for column in table.c
        if not column.primary_key
    }
    insert = insert.on_conflict_do_update(index_elements=table.primary_key, set_=sums)
    if rows:
        _lock(connection, model)
        connection.execute(insert, [{"model": model, **row} for row in rows])


def pair_of(predicted: float, actual: float) -> int:
    """The number of a pair of classes; -1 for values."""
    is_pair = predicted >= 0 <= actual and predicted == int(predicted) and actual == int(actual)
    if is_pair and max(predicted, actual) < _CLASSES:
        return int(predicted) * _CLASSES + int(actual)
    return -1


def classes_of(pair: int) -> tuple[int, int]:
    """Predicted and actual class of a pair."""
    return divmod(pair, _CLASSES)


def insert_of(table: sa.Table, connection: sa.Connection) -> Any:
    """An insert that knows what to do about a conflict."""
    library: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    return library.insert(table)


_CLASSES = 2**31
_LOCK = 42078  # of totals, among the locks of the database
_NEVER = DAY * 10**7  # whole days, so that the last piece has no end
_OLD_KEY = [f"old_{column.name}" for column in TOTALS.c[:4]]
_FIND = sa.select(*TOTALS.c[1:]).where(
    TOTALS.c.model == sa.bindparam("its_model"),
    sa.tuple_(TOTALS.c.seconds, TOTALS.c.start, TOTALS.c.version).in_(
        sa.bindparam("spans", expanding=True)
    ),
)
_UPDATE = TOTALS.update().where(
    *(column == sa.bindparam(name) for column, name in zip(TOTALS.c[:4], _OLD_KEY))
)
