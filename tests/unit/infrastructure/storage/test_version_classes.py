"""The classes of each version are noted once."""

from __future__ import annotations

import sqlalchemy as sa

from infrastructure.storage.tables import create_missing
from infrastructure.storage.version_classes import note_classes, noted_classes


def test_classes_are_noted_once_for_each_model_and_version() -> None:
    engine = sa.create_engine("sqlite://")
    create_missing(engine)
    with engine.begin() as connection:
        assert noted_classes(connection, "pets", "1") is None
        for version, classes in (("1", ("cat", "dog")), ("2", ("bird", "cat")), ("1", ("x", "y"))):
            note_classes(connection, "pets", version, classes)
        assert noted_classes(connection, "pets", "1") == ["cat", "dog"]
        assert noted_classes(connection, "pets", "2") == ["bird", "cat"]
        assert noted_classes(connection, "wine", "1") is None


def test_a_regression_and_an_unknown_version_note_nothing() -> None:
    engine = sa.create_engine("sqlite://")
    create_missing(engine)
    with engine.begin() as connection:
        note_classes(connection, "rent", "1", ())
        note_classes(connection, "pets", None, ("cat", "dog"))
        assert noted_classes(connection, "rent", "1") is None
        assert noted_classes(connection, "pets", "") is None
