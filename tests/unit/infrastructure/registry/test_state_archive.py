"""State moves between clones, and loading it loses nothing."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from domain.errors import RegistryError, StateError, TrackingError
from infrastructure.registry.ledger import FileLedger
from infrastructure.registry.state_archive import load, places_of, save
from shared.settings import Settings

RECEIPTS = ("train", "champion", "validate", "bento-build")


class Clone:
    """The state of a clone in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.ledger = FileLedger(folder / "ledger.jsonl")
        self.archive = folder / "state.tar.gz"
        self.places = {
            "build": folder / "build",
            "ledger.jsonl": self.ledger.path,
            "application/registry/model_registry": folder / "packages",
            ".bentoml": folder / "bentoml",
            "mlflow.db": folder / "mlflow.db",
            "mlartifacts": folder / "mlartifacts",
        }

    def train(self, version: int) -> None:
        """Register a version, promote it and build its Bento."""
        database = sqlite3.connect(self.folder / "mlflow.db")
        with closing(database), database:
            database.execute("CREATE TABLE IF NOT EXISTS runs (run_uuid)")
            database.execute("CREATE TABLE IF NOT EXISTS model_versions (name, version, run_id)")
            run = f"{self.folder.name}-{version}"
            database.execute("INSERT INTO runs VALUES (?)", (run,))
            database.execute("INSERT INTO model_versions VALUES ('iris', ?, ?)", (version, run))
            database.commit()
        self.ledger.append("promote", "iris", str(version))
        self.write(f"packages/iris/{run}/model.onnx")
        self.write(f"bentoml/models/iris/{run}/model.yaml")
        self.write("bentoml/models/iris/latest", run)
        self.write(f"mlartifacts/1/{run}/card.md")
        shutil.rmtree(self.folder / "build", ignore_errors=True)
        for number, step in enumerate(RECEIPTS):
            receipt = {"model_name": "iris", "registry_version": str(version), "run": run}
            self.write(f"build/iris/{step}.json", json.dumps(receipt))
            path = self.folder / f"build/iris/{step}.json"
            os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))
        self.write(f"build/iris/bento/{run}.py")

    def write(self, name: str, content: str = "content") -> None:
        """Write a file of the state."""
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(content, encoding="utf-8")

    def files(self) -> dict[str, bytes]:
        """All files of the clone except the archive and locks; of the database, its rows."""
        return {
            str(path.relative_to(self.folder)): content_of(path)
            for path in self.folder.rglob("*")
            if path.is_file() and not path.name.endswith((".lock", ".gz"))
        }

    def versions(self) -> Sequence[str]:
        """The runs of the registered versions."""
        with closing(sqlite3.connect(self.folder / "mlflow.db")) as database:
            return [run for (run,) in database.execute("SELECT run_id FROM model_versions")]

    def take_state_of(self, other: Clone, merge: bool = False) -> str:
        """Save another clone's state, and load it."""
        save(other.places, self.archive)
        return load(self.places, self.archive, merge)


def content_of(path: Path) -> bytes:
    """The content of a file; of a database, its rows, since a copy has other counters."""
    if path.name != "mlflow.db":
        return path.read_bytes()
    with closing(sqlite3.connect(path)) as database:
        return "\n".join(database.iterdump()).encode()


@pytest.fixture(name="here")
def _here(tmp_path: Path) -> Clone:
    """An empty clone."""
    return Clone(tmp_path / "here")


@pytest.fixture(name="there")
def _there(tmp_path: Path) -> Clone:
    """Another clone, with one version."""
    clone = Clone(tmp_path / "there")
    clone.train(1)
    return clone


def test_an_empty_clone_gets_the_whole_state(here: Clone, there: Clone) -> None:
    assert here.take_state_of(there) == "loaded"
    assert here.files() == there.files()


def test_loaded_receipts_get_current_times_in_the_order_of_the_steps(
    here: Clone, there: Clone
) -> None:
    source = here.folder / "source.py"
    source.touch()
    here.take_state_of(there)
    times = [(here.folder / f"build/iris/{step}.json").stat().st_mtime_ns for step in RECEIPTS]
    assert [source.stat().st_mtime_ns, *times] == sorted({source.stat().st_mtime_ns, *times})


def test_the_prediction_log_is_not_saved(here: Clone, there: Clone) -> None:
    there.write("bentoml/predictions.db")
    there.write("bentoml/predictions.db-wal")
    here.take_state_of(there)
    assert [name for name in here.files() if "predictions" in name] == []


def test_state_that_continues_that_of_the_clone_is_loaded(here: Clone, there: Clone) -> None:
    here.take_state_of(there)
    there.train(2)
    assert here.take_state_of(there) == "loaded"
    assert here.files() == there.files()  # also of the Bento, whose previous files are gone
    assert len(here.ledger.entries()) == 2


def test_a_clone_that_is_ahead_keeps_its_state(here: Clone, there: Clone) -> None:
    here.take_state_of(there)
    here.train(2)
    before = here.files()
    assert "has everything in the archive, and more" in here.take_state_of(there)
    assert here.files() == before


def test_missing_receipts_are_loaded_even_if_the_clone_is_ahead(here: Clone, there: Clone) -> None:
    here.take_state_of(there)
    here.ledger.append("deploy", "iris", "1")
    shutil.rmtree(here.folder / "build")
    here.take_state_of(there)
    assert (here.folder / "build/iris/bento-build.json").exists()
    assert len(here.ledger.entries()) == 2


def test_diverged_state_is_refused_and_nothing_changes(here: Clone, there: Clone) -> None:
    here.train(1)
    here.train(2)
    before = here.files()
    with pytest.raises(StateError) as refusal:
        here.take_state_of(there)
    assert "2 entries of the ledger and iris version 1 (run here-1), iris" in str(refusal.value)
    assert "make state-load MERGE=1" in str(refusal.value)
    assert here.files() == before
    assert not list(here.folder.glob(".state-*"))


@pytest.mark.parametrize("only", ["ledger.jsonl", "mlflow.db"])
def test_a_diverged_ledger_or_diverged_versions_alone_are_refused(
    here: Clone, there: Clone, only: str
) -> None:
    here.train(1)
    here.places[{"ledger.jsonl": "mlflow.db", "mlflow.db": "ledger.jsonl"}[only]].unlink()
    with pytest.raises(StateError):
        here.take_state_of(there)


def test_a_merged_archive_is_added_and_replaces_only_receipts(here: Clone, there: Clone) -> None:
    """As on a machine where each deployment loads the state of a different CI run."""
    here.train(1)
    here.ledger.append("deploy", "iris", "1", env="staging")
    there.ledger.append("deploy", "iris", "1", env="staging")  # on another machine
    before, (promoted, *_) = here.files(), there.ledger.entries()
    assert "added to those of this clone" in here.take_state_of(there, merge=True)
    after = here.files()
    assert here.versions() == ["here-1", "there-1"]
    assert after["ledger.jsonl"].startswith(before["ledger.jsonl"])
    added = here.ledger.entries()[2:]
    assert [(entry.event, entry.version) for entry in added] == [("promote", "1")]
    origin = {"since": promoted.at.isoformat(), "author": promoted.who, "entry": promoted.hash}
    assert added[0].details == origin
    assert {name for name in after if name.startswith("build")} == {
        name for name in there.files() if name.startswith("build")
    }
    receipt = json.loads(after["build/iris/train.json"])
    assert receipt == {"model_name": "iris", "registry_version": "2", "run": "there-1"}
    for name, content in before.items():
        if name.startswith(("packages", "bentoml", "mlart")) and not name.endswith("latest"):
            assert after[name] == content, name
    assert after["bentoml/models/iris/latest"] == b"there-1"


def test_deployments_in_an_environment_of_another_machine_are_added(
    here: Clone, there: Clone, tmp_path: Path
) -> None:
    """As on a machine for production, which refuses what staging has not accepted."""
    here.train(1)
    here.ledger.append("deploy", "iris", "1", env="production")
    there.ledger.append("deploy", "iris", "1", env="staging", port=3000)
    here.take_state_of(there, merge=True)
    added = here.ledger.entries()[-1]
    assert (added.event, added.details["env"], added.details["port"]) == ("deploy", "staging", 3000)
    assert added.details["entry"] == there.ledger.entries()[-1].hash
    later = Clone(tmp_path / "later")
    later.ledger.append("deploy", "iris", "2", env="staging")
    here.take_state_of(later, merge=True)
    assert here.ledger.entries()[-1].version == "2"  # staging did not become one of its own


def test_an_archive_that_was_merged_before_only_replaces_receipts(
    here: Clone, there: Clone, tmp_path: Path
) -> None:
    """As when an earlier deployment is run again."""
    here.train(1)
    here.take_state_of(there, merge=True)
    newer = Clone(tmp_path / "newer")
    newer.train(1)
    here.take_state_of(newer, merge=True)
    assert (here.folder / "build/iris/bento/newer-1.py").exists()
    before = here.files()
    assert "has everything in the archive" in here.take_state_of(there, merge=True)
    after = here.files()
    assert {name for name in after if "bento/" in name} == {"build/iris/bento/there-1.py"}
    assert json.loads(after["build/iris/train.json"])["registry_version"] == "2"
    assert {name: content for name, content in after.items() if not name.startswith("build")} == {
        name: content for name, content in before.items() if not name.startswith("build")
    }


def test_nothing_is_merged_if_the_archive_continues_the_state(here: Clone, there: Clone) -> None:
    here.take_state_of(there, merge=True)
    there.train(2)
    here.take_state_of(there, merge=True)
    assert here.files() == there.files()


def test_a_broken_ledger_is_not_replaced(here: Clone, there: Clone) -> None:
    here.write("ledger.jsonl", "{}\n")
    with pytest.raises(RegistryError, match=r"ledger\.jsonl, line 1"):
        here.take_state_of(there)


def test_a_missing_archive_is_reported_with_the_command_that_creates_one(here: Clone) -> None:
    with pytest.raises(
        StateError, match="state.tar.gz does not exist: write it with make state-save"
    ):
        load(here.places, here.archive)


def test_a_truncated_archive_changes_nothing(here: Clone, there: Clone) -> None:
    there.write("packages/iris/large", os.urandom(100_000).hex())
    save(there.places, here.archive)
    content = here.archive.read_bytes()
    here.archive.write_bytes(content[: len(content) // 2])
    with pytest.raises(StateError, match="cannot be unpacked"):
        load(here.places, here.archive)
    assert here.files() == {}


@pytest.mark.parametrize(
    "content",
    [b"no archive\n" * 99, gzip.compress(b"no archive\n" * 99, mtime=0)],
    ids=["text", "compressed"],
)
def test_a_file_that_is_not_an_archive_is_reported_with_one_reason(
    here: Clone, content: bytes
) -> None:
    here.archive.write_bytes(content)
    with pytest.raises(StateError) as refusal:
        load(here.places, here.archive)
    message = str(refusal.value)
    assert message.startswith(f"{here.archive} cannot be unpacked: ")
    assert message.endswith("; write it again")
    assert "\n" not in message and "ReadError" not in message
    assert here.files() == {}


def test_a_damaged_database_is_not_saved_and_the_previous_archive_is_kept(there: Clone) -> None:
    path = there.folder / "mlflow.db"
    database = sqlite3.connect(path)
    with closing(database), database:
        database.executemany("INSERT INTO runs VALUES (?)", ((f"{n:0>500}",) for n in range(99)))
    save(there.places, there.archive)
    archive, content = there.archive.read_bytes(), path.read_bytes()
    third = len(content) // 3
    path.write_bytes(content[:third] + bytes(third) + content[2 * third :])
    with pytest.raises(TrackingError, match=f"^{path} is damaged .*: restore a backup") as refusal:
        save(there.places, there.archive)
    assert "\n" not in str(refusal.value)
    assert there.archive.read_bytes() == archive
    assert not list(there.folder.glob(".state*"))


def test_a_database_in_use_is_saved_as_a_consistent_snapshot(here: Clone, there: Clone) -> None:
    """Its latest rows are still in the file next to it, which is not part of the archive."""
    with closing(sqlite3.connect(there.folder / "mlflow.db")) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("INSERT INTO model_versions VALUES ('iris', 2, 'there-2')")
        writer.commit()
        here.take_state_of(there)
    assert here.versions() == ["there-1", "there-2"]


def test_an_empty_database_counts_as_missing(here: Clone, there: Clone) -> None:
    (there.folder / "mlflow.db").write_bytes(b"")
    assert here.take_state_of(there) == "loaded"
    assert "mlflow.db" not in here.files()


def test_a_file_that_is_not_a_tracking_database_is_reported(here: Clone, there: Clone) -> None:
    here.write("mlflow.db", "no database")
    with pytest.raises(StateError, match=r"mlflow\.db is not a tracking database"):
        here.take_state_of(there)


def test_paths_come_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////state/mlflow.db")
    monkeypatch.setenv("BENTOML_HOME", "/state/bentos")
    places = places_of(Settings())
    assert places["mlflow.db"] == Path("/state/mlflow.db")
    assert places["mlartifacts"] == Path("/state/mlartifacts")
    assert places[".bentoml"] == Path("/state/bentos")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert {"mlflow.db", "mlartifacts"}.isdisjoint(places_of(Settings()))
