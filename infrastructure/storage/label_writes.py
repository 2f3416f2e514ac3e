"""Writes labels to the log's database, and keeps the totals in step."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from application.ports.prediction_log import LabelCounts
from infrastructure.storage.tables import LABEL_COLUMNS, LABEL_KEY, LABELS, REPLACED
from infrastructure.storage.totals import count_labels, count_pairs

IDS_PER_QUERY = 500


def set_labels(
    connection: sa.Connection,
    model: str,
    since: float,
    labels: Mapping[tuple[str, int], tuple[Any, ...]],
) -> LabelCounts | None:
    """Set labels of different rows, and return how many have changed; None if another process was
    faster.

    Args:
        since: labels of earlier predictions are not part of the totals.
        labels: values of `LABEL_COLUMNS`, by request ID and row.
    """
    counts = (connection, model, since)
    if _insert_all(connection, labels.values()):
        count_labels(*counts, labels.values())
        count_pairs(*counts, labels.values())
        return LabelCounts(new=len(labels))
    found = _labels_on_record(connection, model, labels)
    new = [label for key, label in labels.items() if key not in found]
    changed = [
        (old, labels[key])
        for key, old in found.items()
        if key in labels and old[5] != labels[key][5]
    ]
    insert, keep, correct, move = _statements(connection.dialect.name)
    if new and connection.exec_driver_sql(insert, new).rowcount < len(new):
        return None
    if changed:
        kept = [(*old[:4], old[5], label[3]) for old, label in changed]
        connection.exec_driver_sql(keep, kept)
        corrected = [(*label[3:7], *label[:3]) for _, label in changed]
        connection.exec_driver_sql(correct, corrected)
    # of a later prediction with the same request ID
    moved = [(old, label) for old, label in changed if old[7:] != label[7:]]
    if moved:
        connection.exec_driver_sql(move, [(*label[7:], *label[:3]) for _, label in moved])
    count_labels(*counts, [*new, *(label for _, label in moved)])
    count_labels(*counts, [old for old, _ in moved], -1)
    count_pairs(*counts, [*new, *(label for _, label in changed)])
    count_pairs(*counts, [old for old, _ in changed], -1)
    return LabelCounts(len(new), len(changed), len(labels) - len(new) - len(changed))


def _insert_all(connection: sa.Connection, labels: Collection[tuple[Any, ...]]) -> bool:
    """Insert labels if none of them is on record, which saves a search, and return whether that
    was so."""
    insert, *_ = _statements(connection.dialect.name)
    savepoint = connection.begin_nested()
    if connection.exec_driver_sql(insert, list(labels)).rowcount < len(labels):
        savepoint.rollback()
        return False
    savepoint.commit()
    return True


def _labels_on_record(
    connection: sa.Connection, model: str, keys: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], Sequence[Any]]:
    """The labels on record of the requests of these labels, which stay locked."""
    columns = LABELS.c
    query = (
        sa.select(*(columns[name] for name in LABEL_COLUMNS))
        .where(columns.model == model)
        .order_by(columns.request_id, columns.row)
        .with_for_update()
    )
    found: dict[tuple[str, int], Sequence[Any]] = {}
    names = list(dict.fromkeys(name for name, _ in keys))
    for start in range(0, len(names), IDS_PER_QUERY):
        few = columns.request_id.in_(names[start : start + IDS_PER_QUERY])
        rows = connection.execute(query.where(few)).all()
        found.update(((row[1], row[2]), row) for row in rows)
    return found


@cache
def _statements(dialect: str) -> tuple[str, str, str, str]:
    """Statements for the driver, which executes them with many labels three times as fast as
    SQLAlchemy: they insert new labels, keep previous ones, correct labels, and move them to another
    prediction."""
    library: Any = postgresql if dialect == "postgresql" else sqlite
    style = library.dialect(paramstyle="format" if library is postgresql else "qmark")
    key = [LABELS.c[name] == sa.bindparam(f"its_{name}") for name in LABEL_KEY]
    names, kept = LABEL_COLUMNS, [name for name in REPLACED.c.keys() if name != "id"]

    def update(columns: Sequence[str]) -> sa.Update:
        values: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in columns}
        return LABELS.update().where(*key).values(values)

    insert = library.insert(LABELS).on_conflict_do_nothing()
    return (
        str(insert.compile(dialect=style, column_keys=names)),
        str(REPLACED.insert().compile(dialect=style, column_keys=kept)),
        str(update(names[3:7]).compile(dialect=style)),
        str(update(names[7:]).compile(dialect=style)),
    )
