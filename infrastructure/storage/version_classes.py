"""What the numbers of classes mean in each version, as the services note it in the log."""

from __future__ import annotations

import json
from collections.abc import Sequence

import sqlalchemy as sa

from infrastructure.storage.tables import CLASSES
from infrastructure.storage.totals import insert_of


def note_classes(
    connection: sa.Connection, model: str, version: str | None, classes: Sequence[str]
) -> None:
    """Note the classes of a version, unless they are noted or there are none."""
    if version and classes:
        insert = insert_of(CLASSES, connection).on_conflict_do_nothing()
        values = {"model": model, "version": version, "classes": json.dumps(list(classes))}
        connection.execute(insert.values(values))


def noted_classes(connection: sa.Connection, model: str, version: str) -> list[str] | None:
    """The classes of a version, in order; None if they were not noted."""
    query = sa.select(CLASSES.c.classes).where(
        CLASSES.c.model == model, CLASSES.c.version == version
    )
    found = connection.execute(query).scalar()
    return None if found is None else list(json.loads(found))
