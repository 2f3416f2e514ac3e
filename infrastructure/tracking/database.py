"""MLflow's SQLite database: made and upgraded as a whole or not at all, and moved with its folder.

MLflow migrates a database step by step, without a lock and without a transaction around the steps:
two processes at once, or one that is killed, leave a database that MLflow cannot open again. It
also records absolute paths of artifacts. So everything that opens an SQLite tracking URI calls
`prepare_database` first.
"""

# pylint: disable=import-outside-toplevel  # MLflow is slow to import

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.errors import TrackingError, reason_of
from shared.files import Draft, locked

if TYPE_CHECKING:
    from sqlalchemy import Engine

_SCHEME = "sqlite:///"
_LOCK_SECONDS = 120.0  # making a database takes 2 s
_BUSY_SECONDS = 5.0
_LOCATIONS = (
    *(("experiments", "artifact_location"), ("runs", "artifact_uri")),
    *(("logged_models", "artifact_location"), ("trace_tags", "value")),
    *(("model_versions", "source"), ("model_versions", "storage_location")),
)
_RELOCATE = """
    UPDATE {0} SET {1} = ?1 || substr({1}, length(?2) + 1)
    WHERE {1} = ?2 OR substr({1}, 1, length(?2) + 1) = ?2 || '/'
"""


def database_file(uri: str) -> Path | None:
    """The file of an SQLite tracking URI; None for every other URI."""
    name = uri.removeprefix(_SCHEME).partition("?")[0]
    return Path(name).absolute() if uri.startswith(_SCHEME) and name else None


def artifacts_uri(path: Path) -> str:
    """Where the artifacts of a database are kept, as a URI."""
    return (path.parent / "mlartifacts").as_uri()


def prepare_database(uri: str) -> None:
    """Make, upgrade or relocate the database of an SQLite URI, under a lock, if it needs that.

    The database itself records the folder and the version of MLflow that it was last prepared for,
    so that it usually costs one query.

    Raises:
        TrackingError: the file is locked, damaged or half made; the message says what to do.
    """
    path = database_file(uri)
    if path is None:
        return
    wanted = (str(path.parent), version("mlflow"))
    if _prepared_for(path) == wanted:
        return
    try:
        with locked(path.with_name(f".{path.name}.lock"), _LOCK_SECONDS):
            prepared = _prepared_for(path)
            if prepared == wanted:  # another process has done it meanwhile
                return
            if _is_empty(path):
                _make(path)
            elif prepared is None or prepared[1] != wanted[1]:
                _upgrade(path)
            with _opened(path) as database:
                home = prepared[0] if prepared else _former_folder(database)
                _relocate(database, home or wanted[0], wanted)
    except (OSError, sqlite3.Error) as error:
        raise database_error(path, error) from error


def is_prepared(uri: str) -> bool:
    """Whether the database of a URI can be used as it is, or made; False where only MLflow can
    tell, as of a server or an older database. It costs a few ms for each MB.

    Raises:
        TrackingError: the file is locked or damaged; the message says what to do.
    """
    path = database_file(uri)
    if path is None:
        return False
    if _is_empty(path):
        folder = next(parent for parent in path.parents if parent.exists())
        return os.access(folder, os.W_OK)
    try:
        check_database(path)
        with _opened(path) as database:
            database.execute("BEGIN IMMEDIATE")  # reading alone works while another one writes
    except sqlite3.Error as error:
        raise database_error(path, error) from error
    return _prepared_for(path) == (str(path.parent), version("mlflow"))


def copy_database(path: Path, target: Path) -> None:
    """Copy a database as it is at one moment, also while others write to it.

    Raises:
        TrackingError: it is locked or damaged.
    """
    try:
        with _opened(path) as original, closing(sqlite3.connect(target)) as copy:
            original.backup(copy)
        check_database(target)
    except sqlite3.Error as error:
        raise database_error(path, error) from error


def check_database(path: Path) -> None:
    """Look through all pages of a database.

    Raises:
        sqlite3.Error: they cannot be read, or contradict each other.
    """
    with _opened(path) as database:
        (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(f"malformed: {found.splitlines()[-1]}")


def database_error(path: Path, error: BaseException) -> TrackingError:
    """What a failure of a database means, and what to do."""
    reason = reason_of(error)
    if "database is locked" in reason:
        return TrackingError(
            f"{path} is locked by another process: wait for it, or end it (lsof {path} names it), "
            "then try again"
        )
    if "malformed" in reason or "not a database" in reason:
        return TrackingError(f"{path} is damaged ({reason}): {_way_out(path)}")
    return TrackingError(f"{path} cannot be used: {reason}")


def _way_out(path: Path) -> str:
    return f"restore a copy, or begin anew with: mv {path} {path}.broken"


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The database in one transaction, closed at the end; it must exist."""
    opened = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS)
    with closing(opened), opened:
        yield opened


def _prepared_for(path: Path) -> tuple[str, str] | None:
    """Folder and version of MLflow that the database was last prepared for; None if never."""
    if _is_empty(path):
        return None
    try:
        with _opened(path) as database:
            found = database.execute("SELECT folder, mlflow_version FROM prepared_for").fetchone()
    except sqlite3.Error as error:
        if "no such table" in str(error):
            return None
        raise database_error(path, error) from error
    return found if found is None else (str(found[0]), str(found[1]))


def _is_empty(path: Path) -> bool:
    """Whether there is no database: no file, or one that was opened and never written to."""
    return not path.exists() or path.stat().st_size == 0


def _make(path: Path) -> None:
    from mlflow.store.db.utils import _initialize_tables
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with Draft(path) as draft:
        with _engine(draft.path) as engine:
            _initialize_tables(engine)
        # adds the default experiment, whose artifacts would otherwise go to the working directory
        SqlAlchemyStore(f"{_SCHEME}{draft.path}", artifacts_uri(path)).engine.dispose()
        draft.publish()


def _upgrade(path: Path) -> None:
    """Bring an older schema up to date in a copy, then replace the content in one transaction.

    The file itself stays: a process that has it open sees the new content, instead of writing into
    a file that nobody will read.
    """
    from alembic.util import CommandError
    from mlflow.store.db.utils import _get_latest_schema_revision, _upgrade_db
    from sqlalchemy.exc import SQLAlchemyError

    if _revision(path) == _get_latest_schema_revision():
        return
    with (
        Draft(path) as draft,
        closing(sqlite3.connect(path)) as original,
        closing(sqlite3.connect(draft.path)) as copy,
    ):
        original.backup(copy)
        try:
            with _engine(draft.path) as engine:
                _upgrade_db(engine)
        except (CommandError, SQLAlchemyError) as error:
            raise TrackingError(
                f"{path} cannot be upgraded to MLflow {version('mlflow')} and was left as it is "
                f"({reason_of(error)}): {_way_out(path)}"
            ) from error
        copy.backup(original)


def _revision(path: Path) -> str:
    """Revision of the schema.

    Raises:
        TrackingError: the database is half made.
    """
    with _opened(path) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        half_made = any(name.startswith("_alembic_tmp_") for name in tables)
        found = None
        if "alembic_version" in tables and not half_made:
            found = database.execute("SELECT version_num FROM alembic_version").fetchone()
    if found is None:
        raise TrackingError(
            f"{path} is half made: a process was killed while it made or upgraded this database; "
            f"{_way_out(path)}"
        )
    return str(found[0])


@contextmanager
def _engine(path: Path) -> Iterator[Engine]:
    """An engine that leaves the syncing of a draft to its publication: MLflow's 70 migrations take
    three times as long with a sync after each step."""
    from sqlalchemy import create_engine, event

    engine = create_engine(f"{_SCHEME}{path}")

    @event.listens_for(engine, "connect")
    def _unsynced(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = MEMORY")

    try:
        yield engine
    finally:
        engine.dispose()


def _former_folder(database: sqlite3.Connection) -> str | None:
    """The folder that a database lay in before it recorded that: where the artifacts of its
    experiments are, if that is one place."""
    places = database.execute(
        "SELECT DISTINCT artifact_location FROM experiments "
        "WHERE artifact_location LIKE 'file:///%/mlartifacts'"
    ).fetchall()
    if len(places) != 1:
        return None
    from mlflow.utils.file_utils import local_file_uri_to_path

    return os.path.dirname(local_file_uri_to_path(places[0][0]))


def _relocate(database: sqlite3.Connection, home: str, wanted: tuple[str, str]) -> None:
    """Let every location below the former folder lie below the present one, and record that."""
    if home != wanted[0]:
        here = wanted[0]
        for old, new in ((home, here), (Path(home).as_uri(), Path(here).as_uri())):
            for table, column in _LOCATIONS:
                database.execute(_RELOCATE.format(table, column), (new, old))
    database.execute(
        "CREATE TABLE IF NOT EXISTS prepared_for (folder TEXT NOT NULL, mlflow_version TEXT)"
    )
    database.execute("DELETE FROM prepared_for")
    database.execute("INSERT INTO prepared_for VALUES (?, ?)", wanted)
