"""The prediction log in a database, through SQLAlchemy; SQLite unless told otherwise."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from application.ports import LabelledPrediction, LoggedPrediction, Traffic

RETENTION_DAYS = 90

_metadata = sa.MetaData()
_predictions = sa.Table(
    "predictions",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model", sa.String(200), nullable=False),
    sa.Column("request_id", sa.String(200), nullable=False),
    sa.Column("row", sa.Integer, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("inputs", sa.Text, nullable=False),
    sa.Column("predicted", sa.Integer, nullable=False),
    sa.Column("confidence", sa.Float, nullable=False),
    sa.Column("latency", sa.Float, nullable=False),
    sa.Index("predictions_by_identity", "model", "request_id", "row"),
    sa.Index("predictions_by_time", "model", "at"),
)
_labels = sa.Table(
    "labels",
    _metadata,
    sa.Column("model", sa.String(200), primary_key=True),
    sa.Column("request_id", sa.String(200), primary_key=True),
    sa.Column("row", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("predicted", sa.Integer, nullable=False),
    sa.Column("actual", sa.Integer, nullable=False),
    sa.Index("labels_by_time", "model", "at"),
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
                "inputs": _encode(entry.inputs),
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

    def find_unlabelled(self, inputs: Sequence[float], predicted: int) -> LoggedPrediction | None:
        """The latest prediction of that class for those inputs that has no label yet."""
        labelled = sa.exists().where(
            _labels.c.model == _predictions.c.model,
            _labels.c.request_id == _predictions.c.request_id,
            _labels.c.row == _predictions.c.row,
        )
        return self._latest(
            _predictions.c.inputs == _encode(inputs),
            _predictions.c.predicted == predicted,
            ~labelled,
        )

    def label(self, labelled: LabelledPrediction, at: float) -> None:
        """Keep the true class of a prediction; a second label replaces the first."""
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
        query = (
            sa.select(
                columns.predicted,
                sa.func.count(),  # pylint: disable=not-callable
                sa.func.sum(columns.confidence),
                sa.func.sum(columns.latency),
            )
            .where(columns.model == self._model, columns.at >= since)
            .group_by(columns.predicted)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        total = sum(count for _, count, _, _ in rows)
        return Traffic(
            total,
            sum(confidence for _, _, confidence, _ in rows) / total if total else None,
            sum(latency for _, _, _, latency in rows) / total if total else None,
            {predicted: count for predicted, count, _, _ in rows},
        )

    def confusion(self, since: float) -> Mapping[tuple[int, int], int]:
        """How often each pair (predicted, actual) was labelled since a time."""
        columns = _labels.c
        query = (
            sa.select(
                columns.predicted, columns.actual, sa.func.count()  # pylint: disable=not-callable
            )
            .where(columns.model == self._model, columns.at >= since)
            .group_by(columns.predicted, columns.actual)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return {(predicted, actual): count for predicted, actual, count in rows}

    def recent_inputs(self, rows: int) -> np.ndarray:
        """Inputs of the latest predictions, float64 array of shape (at most `rows`, n_features)."""
        query = (
            sa.select(_predictions.c.inputs)
            .where(_predictions.c.model == self._model)
            .order_by(_predictions.c.id.desc())
            .limit(rows)
        )
        with self._engine.connect() as connection:
            return np.array([json.loads(text) for text in connection.execute(query).scalars()])

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

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
            json.loads(found["inputs"]),
            found["predicted"],
            found["confidence"],
            found["latency"],
        )


def _encode(inputs: Sequence[float]) -> str:
    return json.dumps(list(inputs))


def _prepare_sqlite(connection: sa.engine.interfaces.DBAPIConnection, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")  # workers read while one of them writes
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.close()
