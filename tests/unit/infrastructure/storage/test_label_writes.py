"""Labels are written once each, and new ones without a search for previous ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from infrastructure.storage.label_writes import set_labels
from infrastructure.storage.tables import LABELS, QUALITY_TOTALS, REPLACED, create_missing

MINUTE = 60.0


@pytest.fixture(name="connection")
def _connection() -> Iterator[sa.Connection]:
    engine = sa.create_engine("sqlite://")
    create_missing(engine)
    with engine.begin() as connection:
        yield connection


def _labels(at: float, **actual: float) -> dict[tuple[str, int], tuple[Any, ...]]:
    return {
        (name, 0): ("pets", name, 0, at, 1.0, value, 0.9, "1", MINUTE, True, True)
        for name, value in actual.items()
    }


def _on_record(connection: sa.Connection) -> dict[str, tuple[float, float]]:
    query = sa.select(LABELS.c.request_id, LABELS.c.at, LABELS.c.actual)
    return {name: (at, actual) for name, at, actual in connection.execute(query)}


def _errors(connection: sa.Connection) -> tuple[int, float]:
    """Number of labels and sum of their errors, by minute."""
    columns = QUALITY_TOTALS.c
    query = sa.select(sa.func.sum(columns.labelled), sa.func.sum(columns.absolute))
    labelled, absolute = connection.execute(query.where(columns.seconds == MINUTE)).one()
    return labelled, absolute


def test_new_labels_are_inserted_without_a_search(connection: sa.Connection) -> None:
    statements: list[str] = []
    sa.event.listen(
        connection, "before_cursor_execute", lambda *arguments: statements.append(arguments[2])
    )
    assert set_labels(connection, "pets", 0.0, _labels(120.0, a=1.0, b=0.0)) == (2, 0, 0)
    assert not any(statement.startswith("SELECT labelled_rows") for statement in statements)
    assert _on_record(connection) == {"a": (120.0, 1.0), "b": (120.0, 0.0)}
    assert _errors(connection) == (2, 1.0)


def test_among_new_labels_those_on_record_are_corrected_or_stay(connection: sa.Connection) -> None:
    assert set_labels(connection, "pets", 0.0, _labels(120.0, a=1.0, b=0.0))
    assert set_labels(connection, "pets", 0.0, _labels(180.0, a=0.0, b=0.0, c=0.0)) == (1, 1, 1)
    assert _on_record(connection) == {"a": (180.0, 0.0), "b": (120.0, 0.0), "c": (180.0, 0.0)}
    assert _errors(connection) == (3, 3.0)
    kept = connection.execute(sa.select(REPLACED.c.request_id, REPLACED.c.actual)).all()
    assert [tuple(row) for row in kept] == [("a", 1.0)]


def test_earlier_predictions_are_no_part_of_the_totals(connection: sa.Connection) -> None:
    assert set_labels(connection, "pets", 3600.0, _labels(120.0, a=1.0))
    assert connection.execute(sa.select(QUALITY_TOTALS)).first() is None
