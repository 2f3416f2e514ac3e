"""The prediction log in a database, through SQLAlchemy; SQLite unless told otherwise."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa

from application.ports import LabelledPrediction, LiveErrors, LoggedPrediction, Traffic

RETENTION_DAYS = 90

_VALUE_TOLERANCE = 1e-5  # callers may round what they were answered

# Tables of an older layout have other names: they are left as they are, and not read.
_metadata = sa.MetaData()
_predictions = sa.Table(
    "predicted_rows",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model", sa.String(200), nullable=False),
    sa.Column("request_id", sa.String(200), nullable=False),
    sa.Column("row", sa.Integer, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("identity", sa.String(16), nullable=False),
    sa.Column("inputs", sa.Text, nullable=False),
    sa.Column("predicted", sa.Double, nullable=False),
    sa.Column("confidence", sa.Double),
    sa.Column("latency", sa.Double, nullable=False),
    sa.Index("predicted_rows_by_request", "model", "request_id", "row"),
    sa.Index("predicted_rows_by_identity", "model", "identity"),
    sa.Index("predicted_rows_by_time", "model", "at"),
)
_labels = sa.Table(
    "labelled_rows",
    _metadata,
    sa.Column("model", sa.String(200), primary_key=True),
    sa.Column("request_id", sa.String(200), primary_key=True),
    sa.Column("row", sa.Integer, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("predicted", sa.Double, nullable=False),
    sa.Column("actual", sa.Double, nullable=False),
    sa.Index("labelled_rows_by_time", "model", "at"),
)


class SqlPredictionLog:
    """Predictions and labels of one model, shared by all processes that open the same URL.

    Rows older than `retention_days` are removed when the log is opened.
    """

    def __init__(self, url: str, model: str, retention_days: float = RETENTION_DAYS) -> None:
        address = sa.make_url(url)
        if address.get_backend_name() == "sqlite" and address.database:
            Path(address.database).parent.mkdir(parents=True, exist_ok=True)
        self._engine = sa.create_engine(address)
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _prepare_sqlite)
        self._model = model
        with self._engine.begin() as connection:
            for table in (_predictions, _labels):
                connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
                for index in table.indexes:
                    connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))
                connection.execute(
                    table.delete().where(table.c.at < time.time() - retention_days * 86400)
                )

    def add(self, predictions: Sequence[LoggedPrediction]) -> None:
        """Append predictions in one transaction."""
        if not predictions:
            return
        rows = [
            {
                "model": self._model,
                "request_id": entry.request_id,
                "row": entry.row,
                "at": entry.at,
                "identity": entry.identity,
                "inputs": msgspec.json.encode(list(entry.inputs)).decode(),  # NaN becomes null
                "predicted": entry.predicted,
                "confidence": entry.confidence,
                "latency": entry.latency,
            }
            for entry in predictions
        ]
        with self._engine.begin() as connection:
            connection.execute(_predictions.insert(), rows)

    def find(self, request_id: str, row: int) -> LoggedPrediction | None:
        """A prediction by its identity."""
        return self._latest(_predictions.c.request_id == request_id, _predictions.c.row == row)

    def find_unlabelled(self, identity: str, predicted: float) -> LoggedPrediction | None:
        """The latest prediction of that class or value for those inputs that has no label yet."""
        margin = _VALUE_TOLERANCE * max(1.0, abs(predicted))
        labelled = sa.exists().where(
            _labels.c.model == _predictions.c.model,
            _labels.c.request_id == _predictions.c.request_id,
            _labels.c.row == _predictions.c.row,
        )
        return self._latest(
            _predictions.c.identity == identity,
            _predictions.c.predicted.between(predicted - margin, predicted + margin),
            ~labelled,
        )

    def label(self, labelled: LabelledPrediction, at: float) -> None:
        """Keep the truth of a prediction; a second label replaces the first."""
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
                    **identity, at=at, predicted=labelled.predicted, actual=labelled.actual
                )
            )

    def traffic(self, since: float) -> Traffic:
        """Totals since a time."""
        columns = _predictions.c
        query = sa.select(
            sa.func.count(),  # pylint: disable=not-callable
            sa.func.avg(columns.confidence),
            sa.func.avg(columns.latency),
            sa.func.avg(columns.predicted),
            sa.func.min(columns.predicted),
            sa.func.max(columns.predicted),
        ).where(columns.model == self._model, columns.at >= since)
        with self._engine.connect() as connection:
            return Traffic(*connection.execute(query).one())

    def by_class(self, since: float) -> Mapping[int, int]:
        """How often each class was predicted since a time."""
        found = self._count(_predictions, since, _predictions.c.predicted)
        return {int(predicted): count for predicted, count in found}

    def confusion(self, since: float) -> Mapping[tuple[int, int], int]:
        """How often each pair of classes (predicted, actual) was labelled since a time."""
        found = self._count(_labels, since, _labels.c.predicted, _labels.c.actual)
        return {(int(predicted), int(actual)): count for predicted, actual, count in found}

    def errors(self, since: float) -> LiveErrors | None:
        """Errors of the values that were labelled since a time; None where none was."""
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

    def recent(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and answers of the latest predictions, latest first.

        Those of a former version of the model that had another number of inputs are left out.

        Returns:
            float64 arrays of shape (n, n_monitored) and (n,), n being at most `rows`.
        """
        query = (
            sa.select(_predictions.c.inputs, _predictions.c.predicted)
            .where(_predictions.c.model == self._model)
            .order_by(_predictions.c.id.desc())
            .limit(rows)
        )
        with self._engine.connect() as connection:
            found = [(_decode(inputs), value) for inputs, value in connection.execute(query)]
        kept = [(inputs, value) for inputs, value in found if len(inputs) == len(found[0][0])]
        inputs = np.array([inputs for inputs, _ in kept], np.float64)
        return inputs, np.array([value for _, value in kept], np.float64)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _count(self, table: sa.Table, since: float, *by: sa.ColumnElement[float]) -> Sequence[Any]:
        """Values of the columns `by` and how many rows since a time have them."""
        query = (
            sa.select(*by, sa.func.count())  # pylint: disable=not-callable
            .where(table.c.model == self._model, table.c.at >= since)
            .group_by(*by)
        )
        with self._engine.connect() as connection:
            return connection.execute(query).all()

    def _latest(self, *conditions: sa.ColumnElement[bool]) -> LoggedPrediction | None:
        query = (
            sa.select(_predictions)
            .where(_predictions.c.model == self._model, *conditions)
            .order_by(_predictions.c.id.desc())
            .limit(1)
        )
        with self._engine.connect() as connection:
            found = connection.execute(query).mappings().first()
        if found is None:
            return None
        return LoggedPrediction(
            found["request_id"],
            found["row"],
            found["at"],
            found["identity"],
            _decode(found["inputs"]),
            found["predicted"],
            found["confidence"],
            found["latency"],
        )


def _decode(inputs: str) -> list[float]:
    values: list[float | None] = msgspec.json.decode(inputs)
    return [float("nan") if value is None else value for value in values]


def _prepare_sqlite(connection: sa.engine.interfaces.DBAPIConnection, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")  # workers read while one of them writes
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.close()
