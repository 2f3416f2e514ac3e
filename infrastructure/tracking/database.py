"""MLflow's SQLite database: created and upgraded atomically, and usable after its folder was moved.

MLflow migrates a database step by step, without a lock or an overall transaction: two processes at
once, or a killed one, leave a database that MLflow cannot open again. It also records absolute
paths of artifacts. So everything that opens an SQLite tracking URI calls `prepare_database` first.
"""

# pylint: disable=import-outside-toplevel  # MLflow is slow to import

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.errors import TrackingError, reason_of
from shared.files import Draft, locked

if TYPE_CHECKING:
    from sqlalchemy import Engine

_SCHEME = "sqlite:///"
_LOCK_SECONDS = 120.0  # creating a database takes 2 s
_BUSY_SECONDS = 5.0
_LOCATIONS = (
    *(("experiments", "artifact_location"), ("runs", "artifact_uri")),
    *(("logged_models", "artifact_location"), ("trace_tags", "value")),
    *(("model_versions", "source"), ("model_versions", "storage_location")),
)
_MERGED = (  # datasets before the inputs that refer to them
    *("datasets", "inputs", "input_tags", "params", "metrics", "latest_metrics", "tags", "runs"),
    *("logged_models", "logged_model_params", "logged_model_metrics", "logged_model_tags"),
    *("registered_models", "registered_model_tags", "model_versions", "model_version_tags"),
    "registered_model_aliases",
)
_EXISTS = "SELECT 1 FROM {}.sqlite_master WHERE name = ?"
_ALL = "SELECT * FROM {}.{}"
_RELOCATE = """
    UPDATE {0} SET {1} = ?1 || substr({1}, length(?2) + 1)
    WHERE {1} = ?2 OR substr({1}, 1, length(?2) + 1) = ?2 || '/'
"""


def database_file(uri: str) -> Path | None:
    """The file of an SQLite tracking URI; None for every other URI."""
    name = uri.removeprefix(_SCHEME).partition("?")[0]
    return Path(name).absolute() if uri.startswith(_SCHEME) and name else None


def artifacts_uri(path: Path) -> str:
    """URI of the folder for the artifacts of a database."""
    return (path.parent / "mlartifacts").as_uri()


def prepare_database(uri: str) -> None:
    """Create, upgrade or relocate the database of an SQLite URI if necessary, under a lock.

    The database records the folder and the MLflow version that it was last prepared for, so that
    usually one query is enough.

    Raises:
        TrackingError: the file is locked, damaged or incomplete; the message says what to do.
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
            if prepared == wanted:  # done by another process in the meantime
                return
            if _is_empty(path):
                _create(path)
            elif prepared is None or prepared[1] != wanted[1]:
                _upgrade(path)
            with _opened(path) as database:
                home = prepared[0] if prepared else _previous_folder(database)
                _relocate(database, home or wanted[0], wanted)
    except (OSError, sqlite3.Error) as error:
        raise database_error(path, error) from error


def is_prepared(uri: str) -> bool:
    """Whether the database of a URI can be used as it is, or created.

    False means that only MLflow can tell: for a server, or for a database that needs an upgrade.
    The check takes a few ms per MB.

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
            database.execute("BEGIN IMMEDIATE")  # fails if locked, which a read does not notice
    except sqlite3.Error as error:
        raise database_error(path, error) from error
    return _prepared_for(path) == (str(path.parent), version("mlflow"))


def copy_database(path: Path, target: Path) -> None:
    """Copy a consistent snapshot of a database, even while others write to it.

    Raises:
        TrackingError: it is locked or damaged.
    """
    try:
        with _opened(path) as original, closing(sqlite3.connect(target)) as copy:
            original.backup(copy)
        check_database(target)
    except sqlite3.Error as error:
        raise database_error(path, error) from error


def merge_database(source: Path, target: Path) -> dict[tuple[str, int], int]:
    """Add the runs and registered versions of another database, with its aliases.

    A version whose number is taken gets the next one. The champion so far becomes `previous` unless
    the other database has a previous one itself.

    Args:
        source: a copy of the other database, which is changed.

    Returns:
        The number of each version of the other database, by model and number there.

    Raises:
        TrackingError: one of them is locked or damaged, or their schemas do not fit.
    """
    if _prepared_for(target):
        prepare_database(f"{_SCHEME}{target}")  # it may have the schema of an older MLflow
    try:
        if prepared := _prepared_for(source):
            with _opened(source) as copy:
                _relocate(copy, prepared[0], (str(target.parent), prepared[1]))
        with _both_opened(source, target) as merge:
            numbers = merge.numbers()
            merge.run(numbers)
            return numbers
    except sqlite3.Error as error:
        raise database_error(target, error) from error


def merged_numbers(source: Path, target: Path) -> dict[tuple[str, int], int]:
    """What `merge_database` returned when it added this database.

    Raises:
        TrackingError: one of them is locked or damaged.
    """
    try:
        with _both_opened(source, target) as merge:
            return merge.numbers()
    except sqlite3.Error as error:
        raise database_error(target, error) from error


@contextmanager
def _both_opened(source: Path, target: Path) -> Iterator[_Merge]:
    with closing(sqlite3.connect(target, timeout=_BUSY_SECONDS)) as database:
        database.execute("ATTACH ? AS other", (str(source),))
        with database:
            yield _Merge(database)


class _Merge:
    """Copies rows from the attached database `other`."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def run(self, numbers: Mapping[tuple[str, int], int]) -> None:
        """Copy, with these numbers of the versions."""
        experiments, datasets = self._experiments(), dict[str, str]()
        runs = {row["run_uuid"] for row in self._rows("runs", "main")}
        aliases = {(row["name"], row["alias"]) for row in self._rows("registered_model_aliases")}
        for row in self._rows("registered_model_aliases", "main"):
            replaced = row["alias"] == "champion" and (row["name"], "champion") in aliases
            if replaced and (row["name"], "previous") not in aliases:
                self._insert("registered_model_aliases", {**row, "alias": "previous"}, "REPLACE")
        for table in _MERGED:
            for row in self._rows(table):
                if row.get("run_uuid", row.get("run_id")) in runs:
                    continue  # with all that belongs to it
                if "experiment_id" in row:
                    row["experiment_id"] = experiments[row["experiment_id"]]
                if "name" in row and "version" in row:
                    row["version"] = numbers[row["name"], row["version"]]
                if table == "datasets":
                    datasets[row["dataset_uuid"]] = self._dataset(row)
                if "source_id" in row:
                    row["source_id"] = datasets.get(row["source_id"], row["source_id"])
                replace = table in ("registered_model_tags", "registered_model_aliases")
                self._insert(table, row, "REPLACE" if replace else "IGNORE")

    def _rows(self, table: str, schema: str = "other") -> list[dict[str, Any]]:
        """All rows of a table; empty if it does not exist."""
        if not self._database.execute(_EXISTS.format(schema), (table,)).fetchone():
            return []
        found = self._database.execute(_ALL.format(schema, table))
        columns = [column[0] for column in found.description]
        return [dict(zip(columns, row)) for row in found]

    def _insert(self, table: str, row: dict[str, Any], conflict: str) -> int | None:
        """Insert a row; returns its number."""
        values = ", ".join("?" * len(row))
        into = f"INSERT OR {conflict} INTO main.{table} ({', '.join(row)})"
        return self._database.execute(f"{into} VALUES ({values})", tuple(row.values())).lastrowid

    def _experiments(self) -> dict[int, int]:
        """The number of each experiment, which is one with the same name or a new one."""
        known = {row["name"]: row["experiment_id"] for row in self._rows("experiments", "main")}
        numbers = {}
        for row in self._rows("experiments"):
            number, name = row.pop("experiment_id"), row["name"]
            numbers[number] = known.get(name) or self._insert("experiments", row, "IGNORE") or 0
        return numbers

    def numbers(self) -> dict[tuple[str, int], int]:
        """The number of each version, which is that of the same run or the next one."""
        here = self._rows("model_versions", "main")
        known = {(row["name"], row["run_id"]): row["version"] for row in here}
        last = {row["name"]: 0 for row in self._rows("model_versions")}
        for row in here:
            last[row["name"]] = max(last.get(row["name"], 0), row["version"])
        numbers = {}
        for row in sorted(self._rows("model_versions"), key=lambda row: row["version"]):
            name = row["name"]
            number = known.get((name, row["run_id"]))
            if number is None:
                last[name] += 1
                number = last[name]
            numbers[name, row["version"]] = number
        return numbers

    def _dataset(self, row: dict[str, Any]) -> str:
        """The identity of a dataset: that of an equal one if there is one."""
        key = ("experiment_id", "name", "digest")
        for known in self._rows("datasets", "main"):
            if all(known[column] == row[column] for column in key):
                return str(known["dataset_uuid"])
        return str(row["dataset_uuid"])


def check_database(path: Path) -> None:
    """Check all pages of a database.

    Raises:
        sqlite3.Error: a page cannot be read, or is inconsistent.
    """
    with _opened(path) as database:
        (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(f"malformed: {found.splitlines()[-1]}")


def database_error(path: Path, error: BaseException) -> TrackingError:
    """An error that says what a database failure means, and what to do."""
    reason = reason_of(error)
    if "database is locked" in reason:
        return TrackingError(
            f"{path} is locked by another process: wait for that process, or end it (find it with "
            f"lsof {path}), then try again"
        )
    if "malformed" in reason or "not a database" in reason:
        return TrackingError(f"{path} is damaged ({reason}): {_repair_advice(path)}")
    return TrackingError(f"{path} cannot be used: {reason}")


def _repair_advice(path: Path) -> str:
    return f"restore a backup, or start with a new database: mv {path} {path}.broken"


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open an existing database for one transaction."""
    opened = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS)
    with closing(opened), opened:
        yield opened


def _prepared_for(path: Path) -> tuple[str, str] | None:
    """Folder and MLflow version that the database was last prepared for; None if never."""
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
    """Whether there is no database: no file, or an empty one that was opened but not written."""
    return not path.exists() or path.stat().st_size == 0


def _create(path: Path) -> None:
    from mlflow.store.db.utils import _initialize_tables
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with Draft(path) as draft:
        with _engine(draft.path) as engine:
            _initialize_tables(engine)
        # adds the default experiment, whose artifacts would otherwise go to the working directory
        SqlAlchemyStore(f"{_SCHEME}{draft.path}", artifacts_uri(path)).engine.dispose()
        draft.publish()


def _upgrade(path: Path) -> None:
    """Upgrade an older schema in a copy, then replace the content in one transaction.

    The file itself is not replaced: a process that has it open sees the new content, instead of
    writing to a deleted file.
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
                f"{path} cannot be upgraded to MLflow {version('mlflow')} and was left unchanged "
                f"({reason_of(error)}): {_repair_advice(path)}"
            ) from error
        copy.backup(original)


def _revision(path: Path) -> str:
    """Revision of the schema.

    Raises:
        TrackingError: the database is incomplete.
    """
    with _opened(path) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        incomplete = any(name.startswith("_alembic_tmp_") for name in tables)
        found = None
        if "alembic_version" in tables and not incomplete:
            found = database.execute("SELECT version_num FROM alembic_version").fetchone()
    if found is None:
        raise TrackingError(
            f"{path} is incomplete: a process was killed while it created or upgraded this "
            f"database; {_repair_advice(path)}"
        )
    return str(found[0])


@contextmanager
def _engine(path: Path) -> Iterator[Engine]:
    """An engine without syncing, for drafts, which are synced when they are published.

    MLflow's 70 migrations would take three times as long with a sync after each step.
    """
    from sqlalchemy import create_engine, event

    engine = create_engine(f"{_SCHEME}{path}")

    @event.listens_for(engine, "connect")
    def _disable_sync(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = MEMORY")

    try:
        yield engine
    finally:
        engine.dispose()


def _previous_folder(database: sqlite3.Connection) -> str | None:
    """The folder of a database that does not record it: the parent of its experiments' artifacts.

    None if they are not all in one place.
    """
    places = database.execute(
        "SELECT DISTINCT artifact_location FROM experiments "
        "WHERE artifact_location LIKE 'file:///%/mlartifacts'"
    ).fetchall()
    if len(places) != 1:
        return None
    from mlflow.utils.file_utils import local_file_uri_to_path

    return os.path.dirname(local_file_uri_to_path(places[0][0]))


def _relocate(database: sqlite3.Connection, home: str, wanted: tuple[str, str]) -> None:
    """Change every location in the previous folder to the current folder, and record that."""
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
