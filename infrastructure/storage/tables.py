"""The tables of the prediction log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from domain.contract import LONGEST_ROW_ID

_NAME = 200  # characters of a name or version
COLUMN_TYPES = {  # of the arrays of a batch
    **{"rows": "<u4", "at": "<f8", "latency": "<f4", "identities": "<u8"},
    **{"inputs": "<f4", "predicted": "<f4", "confidence": "<f4"},
}
COUNTS = "<u4"  # type of the counts per class

# Tables of older layouts have other names; they are kept, but not read.
METADATA = sa.MetaData()


def _sums() -> list[sa.Column[Any]]:
    """Columns with what `Totals` has of some predictions."""
    return [
        sa.Column("total_latency", sa.Double, nullable=False),
        sa.Column("total_predicted", sa.Double, nullable=False),
        sa.Column("smallest", sa.Double, nullable=False),
        sa.Column("largest", sa.Double, nullable=False),
        sa.Column("total_confidence", sa.Double),
        sa.Column("by_class", sa.LargeBinary),
    ]


def _span() -> list[sa.Column[Any]]:
    """Columns of the key of totals: a minute, an hour or a day of a version."""
    return [
        sa.Column("model", sa.String(_NAME), primary_key=True),
        sa.Column("seconds", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("version", sa.String(_NAME), primary_key=True),  # empty if unknown
    ]


def _index_missing(name: str, flag: sa.Column[Any], *keys: sa.Column[Any]) -> None:
    """Index the few rows in which a flag is missing."""
    missing = flag.is_(None)
    sa.Index(name, *keys, sqlite_where=missing, postgresql_where=missing)


# A batch is one row of the table: one row with a thousand numbers is far faster to write than a
# thousand rows. A request is found by its ID between line breaks, and a row by its position.
BATCHES = sa.Table(
    "prediction_batches",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model", sa.String(_NAME), nullable=False),
    sa.Column("since", sa.Double, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
    # totals come before the large columns, so that a summary does not read those
    sa.Column("predictions", sa.Integer, nullable=False),
    *_sums(),
    sa.Column("version", sa.String(_NAME)),  # NULL if unknown, as the environment
    sa.Column("environment", sa.String(_NAME)),
    sa.Column("summed", sa.Boolean),  # whether it is part of `TOTALS`; else NULL
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
NOT_SUMMED = BATCHES.c.summed.is_(None)
_index_missing("prediction_batches_not_summed", BATCHES.c.summed, BATCHES.c.model, BATCHES.c.until)
LABEL_KEY = ("model", "request_id", "row")  # of a label
LABELS = sa.Table(
    "labelled_rows",
    METADATA,
    sa.Column("model", sa.String(_NAME), primary_key=True),
    sa.Column("request_id", sa.String(_NAME), primary_key=True),
    sa.Column("row", sa.Integer, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("predicted", sa.Double, nullable=False),
    sa.Column("actual", sa.Double, nullable=False),
    sa.Column("confidence", sa.Double),
    sa.Column("version", sa.String(_NAME)),  # of the prediction; NULL if unknown, as its time
    sa.Column("made", sa.Double),
    sa.Column("summed", sa.Boolean),  # whether it is part of `LABEL_TOTALS`; else NULL
    sa.Column("counted", sa.Boolean),  # whether it is part of `QUALITY_TOTALS`; else NULL
    sa.Index("labelled_rows_by_time", "model", "at"),
    sa.Index("labelled_rows_by_prediction", "model", "made", "version"),
)
_index_missing("labelled_rows_not_summed", LABELS.c.summed, LABELS.c.model, LABELS.c.made)
_index_missing("labelled_rows_not_counted", LABELS.c.counted, LABELS.c.model, LABELS.c.at)
LABEL_COLUMNS = tuple(LABELS.c.keys())
REPLACED = sa.Table(
    "replaced_labels",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    *(sa.Column(name, LABELS.c[name].type, nullable=False) for name in LABEL_KEY),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("actual", sa.Double, nullable=False),
    sa.Column("replaced_at", sa.Double, nullable=False),
)

# The rows with an ID of their caller, by their position in a batch.
IDS = sa.Table(
    "prediction_ids",
    METADATA,
    sa.Column("batch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("model", sa.String(_NAME), nullable=False),
    sa.Column("text", sa.String(LONGEST_ROW_ID), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Index("prediction_ids_by_text", "model", "text", "at"),
    sa.Index("prediction_ids_by_time", "at"),
)

# What the numbers of classes mean: noted by each service that opens the log.
CLASSES = sa.Table(
    "version_classes",
    METADATA,
    sa.Column("model", sa.String(_NAME), primary_key=True),
    sa.Column("version", sa.String(_NAME), primary_key=True),
    sa.Column("classes", sa.Text, nullable=False),  # a JSON array
)

# What is known of the drift of a service, whose workers update it in turn.
DRIFT = sa.Table(
    "drift_states",
    METADATA,
    sa.Column("model", sa.String(_NAME), primary_key=True),
    sa.Column("version", sa.String(_NAME), primary_key=True),  # empty if unknown
    sa.Column("environment", sa.String(_NAME), primary_key=True),
    sa.Column("batch", sa.Integer, nullable=False),  # the last one that was evaluated
    sa.Column("state", sa.Text, nullable=False),
)

# What `make watch` has seen of a model in an environment.
WATCH = sa.Table(
    "watch_states",
    METADATA,
    sa.Column("model", sa.String(_NAME), primary_key=True),
    sa.Column("environment", sa.String(_NAME), primary_key=True),  # empty if unknown
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("retraining_failed", sa.Boolean, nullable=False),
)

# The last write of each process, whose writes are numbered, so that none is repeated.
WRITERS = sa.Table(
    "prediction_writers",
    METADATA,
    sa.Column("writer", sa.String(40), primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)

# One row for each minute, hour and day in which a version made predictions. Every batch that is
# marked as summed is part of these rows; summaries read the others themselves.
TOTALS = sa.Table(
    "prediction_totals",
    METADATA,
    *_span(),
    sa.Column("predictions", sa.BigInteger, nullable=False),
    sa.Column("since", sa.Double, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
    sa.Column("latest", sa.Double, nullable=False),
    *_sums(),
    sqlite_with_rowid=False,
)
# How many labels arrived for the predictions that a version made in a minute, an hour, a day. As
# above, this has the labels that are marked as summed.
LABEL_TOTALS = sa.Table(
    "label_totals",
    METADATA,
    *_span(),
    sa.Column("labelled", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
# The labels that arrived in a minute, an hour, a day, by predicted and actual class, with the sums
# of absolute and squared errors. As above, this has the labels that are marked as counted.
QUALITY_TOTALS = sa.Table(
    "quality_totals",
    METADATA,
    *_span(),
    sa.Column("pair", sa.BigInteger, primary_key=True, autoincrement=False),  # -1: values
    sa.Column("labelled", sa.BigInteger, nullable=False),
    sa.Column("absolute", sa.Double, nullable=False),
    sa.Column("squared", sa.Double, nullable=False),
    sqlite_with_rowid=False,
)

_SCHEMA_LOCKS = {  # one process at a time changes the tables
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": "SELECT pg_advisory_xact_lock(4207849484)",
}


def create_missing(engine: sa.Engine) -> None:
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
    for table in METADATA.tables.values():
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
