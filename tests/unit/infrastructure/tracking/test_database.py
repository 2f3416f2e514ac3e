"""MLflow's database is created atomically, has useful errors, and can be moved."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from mlflow.artifacts import download_artifacts
from mlflow.store.db import utils
from mlflow.store.tracking.dbmodels.initial_models import Base
from sqlalchemy import create_engine

from domain.errors import TrackingError
from infrastructure.tracking import database
from infrastructure.tracking.database import (
    database_file,
    is_prepared,
    merge_database,
    merged_numbers,
    prepare_database,
)
from infrastructure.tracking.mlflow_tracker import open_client
from shared.paths import ROOT

AT_ONCE = """
import os, sys
from infrastructure.tracking.mlflow_tracker import open_client
import mlflow.store.tracking.sqlalchemy_store, mlflow.store.model_registry.sqlalchemy_store
start, go = os.pipe()
children = []
for _ in range(3):
    if not (child := os.fork()):
        os.close(go)
        os.read(start, 1)
        open_client(sys.argv[1]).search_experiments()
        os._exit(0)
    children.append(child)
os.close(go)
sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""
ALONE = (
    "import sys; from infrastructure.tracking import database as d; d.prepare_database(sys.argv[1])"
)


def uri_of(path: Path) -> str:
    """The tracking URI of a database."""
    return f"sqlite:///{path}"


def rows(path: Path, statement: str) -> list[Any]:
    """The rows of an SQL statement."""
    opened = sqlite3.connect(path)
    with closing(opened), opened:
        return opened.execute(statement).fetchall()


@pytest.fixture(scope="module", name="made")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "mlflow.db"
    path.touch()  # as SQLite leaves a database that was opened and never written to
    prepare_database(uri_of(path))
    return path


@pytest.fixture(name="copy")
def _copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path / "mlflow.db"))


def test_a_new_database_is_complete_and_keeps_artifacts_next_to_it(made: Path) -> None:
    (default,) = open_client(uri_of(made)).search_experiments()
    assert default.artifact_location == f"{made.parent.as_uri()}/mlartifacts/0"
    assert sorted(path.name for path in made.parent.iterdir()) == [".mlflow.db.lock", "mlflow.db"]


def test_preparing_a_prepared_database_neither_locks_nor_writes(made: Path) -> None:
    (made.parent / ".mlflow.db.lock").unlink(missing_ok=True)
    before = made.stat().st_mtime_ns
    prepare_database(uri_of(made))
    assert made.stat().st_mtime_ns == before
    assert not (made.parent / ".mlflow.db.lock").exists()


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1", "sqlite://", "postgresql://host/name"])
def test_a_uri_that_is_not_a_file_is_left_to_mlflow(uri: str) -> None:
    assert database_file(uri) is None
    prepare_database(uri)


def test_concurrent_first_trainings_share_one_database(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    done = subprocess.run(
        [sys.executable, "-c", AT_ONCE, uri_of(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert len(open_client(uri_of(path)).search_experiments()) == 1


def test_a_process_killed_while_creating_a_database_leaves_none(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with subprocess.Popen([sys.executable, "-c", ALONE, uri_of(path)], cwd=ROOT) as process:
        while not any(part.stat().st_size for part in tmp_path.glob(".mlflow.db.*.part")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not path.exists()
    prepare_database(uri_of(path))
    assert len(open_client(uri_of(path)).search_experiments()) == 1
    assert not list(tmp_path.glob("*.part"))


def test_an_older_database_is_upgraded_even_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    engine = create_engine(uri_of(path))
    Base.metadata.create_all(engine)
    config = utils._get_alembic_config(uri_of(path))  # pylint: disable=protected-access
    revisions = [found.revision for found in ScriptDirectory.from_config(config).walk_revisions()]
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revisions[20])
    engine.dispose()
    rows(path, "INSERT INTO experiments (name, lifecycle_stage) VALUES ('old', 'active')")
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("SELECT name FROM experiments").fetchall()
        prepare_database(uri_of(path))
        assert opened.execute("SELECT version_num FROM alembic_version").fetchone()[0] == (
            revisions[0]
        )
    names = {found.name for found in open_client(uri_of(path)).search_experiments()}
    assert names == {"old", "Default"}


def incomplete(path: Path) -> None:
    """Only the first tables: the first migration was interrupted."""
    path.unlink()
    Base.metadata.create_all(create_engine(uri_of(path)))


def cut_off(path: Path) -> None:
    """A migration was interrupted while it replaced a table."""
    rows(path, "CREATE TABLE _alembic_tmp_runs (run_uuid TEXT)")
    forget(path)


def forget(path: Path) -> None:
    """A database that MLflow itself created."""
    rows(path, "DROP TABLE prepared_for")


def of_the_future(path: Path) -> None:
    """A newer MLflow has upgraded it."""
    forget(path)
    rows(path, "UPDATE alembic_version SET version_num = 'f00000000000'")


def damaged(path: Path) -> None:
    """It is not a database."""
    path.write_bytes(b"no database" * 1000)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (incomplete, "is incomplete: a process was killed"),
        (cut_off, "is incomplete: a process was killed"),
        (of_the_future, "cannot be upgraded to MLflow .*Can't locate revision"),
        (damaged, "is damaged .*not a database"),
    ],
)
def test_an_unusable_database_is_reported_with_a_solution_and_left_unchanged(
    copy: Path, harm: Callable[[Path], None], message: str
) -> None:
    harm(copy)
    before = copy.read_bytes()
    with pytest.raises(TrackingError, match=message) as raised:
        open_client(uri_of(copy))
    assert f"mv {copy} {copy}.broken" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert copy.read_bytes() == before
    assert not list(copy.parent.glob("*.part"))


def test_a_locked_database_is_reported(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.1)
    with closing(sqlite3.connect(copy)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrackingError, match=f"{copy} is locked by another process"):
            open_client(uri_of(copy))


def test_a_database_in_use_by_a_writer_is_reported_as_locked(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.1)
    prepare_database(uri_of(copy))
    assert is_prepared(uri_of(copy))
    with closing(sqlite3.connect(copy)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(TrackingError, match=f"{copy} is locked by another process"):
            is_prepared(uri_of(copy))


@pytest.mark.parametrize("content", [b"no database" * 1000, None])
def test_damage_in_any_part_of_a_database_is_found(copy: Path, content: bytes | None) -> None:
    whole = copy.read_bytes()
    third = len(whole) // 3
    copy.write_bytes(content or whole[:third] + bytes(third) + whole[2 * third :])
    with pytest.raises(TrackingError, match=f"{copy} is damaged") as raised:
        is_prepared(uri_of(copy))
    assert "\n" not in str(raised.value)


def test_servers_and_older_databases_are_left_to_mlflow(copy: Path) -> None:
    assert not is_prepared("http://127.0.0.1:1")
    forget(copy)
    assert not is_prepared(uri_of(copy))


def test_a_database_can_be_created_in_a_writable_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_prepared(uri_of(tmp_path / "a/b/mlflow.db"))
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path or mode != os.W_OK)
    assert not is_prepared(uri_of(tmp_path / "a/b/mlflow.db"))


@pytest.fixture(name="home")
def _home(copy: Path, tracking: Any) -> Any:
    """A separate tracking database with one training."""
    home = copy.parent / "first home"
    home.mkdir()
    shutil.move(copy, home)
    own = type(tracking)(home, tracking.make_package)
    own.record("moving", "1.0.0-a")
    return own


def check_elsewhere(home: Any, folder: Path) -> None:
    """Check that this folder has all records, and that new ones go there."""
    moved = type(home)(folder, home.make_package)
    client = open_client(moved.uri)
    version = client.get_model_version_by_alias("moving", "candidate")
    run = client.get_run(version.run_id)
    for uri in (run.info.artifact_uri, client.get_model_version_download_uri("moving", "1")):
        assert uri.startswith(f"{folder.as_uri()}/mlartifacts")
    for name in ("card.md", "MANIFEST.sha256"):
        assert Path(download_artifacts(f"runs:/{version.run_id}/package/{name}")).is_file()
    assert Path(download_artifacts("models:/moving@candidate"), "MLmodel").is_file()
    _, second = moved.record("moving", "1.0.0-b")
    assert client.get_run(second.run_id).info.artifact_uri.startswith(folder.as_uri())
    with closing(sqlite3.connect(database_file(moved.uri) or "")) as opened:
        dump = "\n".join(opened.iterdump())
    assert str(home.folder) not in dump
    assert home.folder.as_uri() not in dump


def test_a_database_moved_with_its_artifacts_works_in_its_new_place(
    home: Any, tmp_path: Path
) -> None:
    home.folder.rename(tmp_path / "moved")
    check_elsewhere(home, tmp_path / "moved")
    assert not home.folder.exists()


def test_a_database_without_a_recorded_path_can_be_moved(home: Any, tmp_path: Path) -> None:
    forget(home.folder / "mlflow.db")
    home.folder.rename(tmp_path / "moved")
    check_elsewhere(home, tmp_path / "moved")


def test_a_copy_and_its_original_are_separate(home: Any, tmp_path: Path) -> None:
    shutil.copytree(home.folder, tmp_path / "copied")
    before = sorted(home.folder.rglob("*"))
    check_elsewhere(home, tmp_path / "copied")
    assert sorted(home.folder.rglob("*")) == before
    run_id = open_client(home.uri).get_model_version("moving", "1").run_id
    assert open_client(home.uri).get_run(run_id).info.artifact_uri.startswith(home.folder.as_uri())


def test_a_merged_database_has_the_runs_and_versions_of_both(home: Any, tmp_path: Path) -> None:
    here = type(home)(tmp_path / "here", home.make_package)
    here.folder.mkdir()
    shutil.copytree(home.folder, here.folder, dirs_exist_ok=True)
    here.record("moving", "1.0.0-b")
    home.record("other", "1.0.0-c", experiment="another")
    home.record("moving", "1.0.0-d", experiment="another")
    home.make_champion("moving", "1.0.0-d")
    here.make_champion("moving", "1.0.0-b")
    copy = Path(shutil.copy(home.folder / "mlflow.db", tmp_path / "copy.db"))
    shutil.copytree(home.folder / "mlartifacts", here.folder / "mlartifacts", dirs_exist_ok=True)
    numbers = merge_database(copy, here.folder / "mlflow.db")
    assert numbers == {("moving", 1): 1, ("moving", 2): 3, ("other", 1): 1}
    assert merged_numbers(copy, here.folder / "mlflow.db") == numbers
    there, client = open_client(home.uri), open_client(here.uri)
    champion = client.get_model_version_by_alias("moving", "champion")
    assert (int(champion.version), champion.tags["package_version"]) == (3, "1.0.0-d")
    assert int(client.get_model_version_by_alias("moving", "previous").version) == 2
    run, original = client.get_run(champion.run_id), there.get_run(champion.run_id)
    assert run.data.to_dictionary() == original.data.to_dictionary()
    assert [each.dataset.digest for each in run.inputs.dataset_inputs] == ["d1" * 16]
    assert client.get_experiment(run.info.experiment_id).name == "another"
    assert run.info.artifact_uri.startswith(here.folder.as_uri())
    assert Path(download_artifacts("models:/moving@champion"), "MLmodel").is_file()
    _, next_version = here.record("moving", "1.0.0-e")
    assert int(next_version.version) == 4
