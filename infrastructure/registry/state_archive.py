"""State that moves between clones as one archive.

State is receipts, packages, tracking database, Bento store and ledger. Loading loses nothing that the clone has: packages, Bentos and
artifacts are added to those that are there, and ledger and tracking database are replaced only by
ones that go on from them.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
import zlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from domain.errors import StateError, reason_of
from infrastructure.registry.ledger import FileLedger
from infrastructure.tracking.database import copy_database, database_file
from shared.files import Draft
from shared.settings import Settings

_RECEIPTS, _LEDGER, _DATABASE = "build", "ledger.jsonl", "mlflow.db"
_ADDED = ("application/registry/model_registry", ".bentoml", "mlartifacts")
_STEPS = ("train", "champion", "validate", "bento-build", "containerize")

Places = Mapping[str, Path]
"""Where the parts of the state lie, by their names in an archive."""


@dataclass(frozen=True)
class History:
    """What only grows: entries of the ledger, runs and versions of the tracking database."""

    entries: tuple[str, ...]
    records: frozenset[str]

    def includes(self, other: History) -> bool:
        """Whether it is the other one, or goes on from it."""
        begins_alike = self.entries[: len(other.entries)] == other.entries
        return begins_alike and self.records >= other.records

    def lacks(self, other: History) -> str:
        """What of the other one it does not have, in words."""
        entries = len(set(other.entries) - set(self.entries))
        records = sorted(other.records - self.records)
        named = f"{', '.join(records[:3])}{' …' if len(records) > 3 else ''}"
        parts = (f"{entries} entries of the ledger" if entries else "", named)
        return " and ".join(filter(None, parts)) or "the order of the ledger's entries"


def places_of(settings: Settings) -> dict[str, Path]:
    """The places of a clone; without a tracking database, where a server has it."""
    places = {
        _RECEIPTS: settings.receipts_dir,
        _LEDGER: settings.ledger,
        _ADDED[0]: settings.packages_dir,
        _ADDED[1]: settings.bento_home,
    }
    if database := database_file(settings.tracking_uri):
        places |= {_DATABASE: database, _ADDED[2]: database.parent / "mlartifacts"}
    return places


def save(places: Places, archive: Path) -> None:
    """Pack the state; nobody's predictions are in it.

    Raises:
        TrackingError: the tracking database is locked or damaged; a former archive stays.
    """
    with (
        tempfile.TemporaryDirectory(prefix=".state-", dir=archive.parent) as folder,
        Draft(archive) as draft,
    ):
        database = places.get(_DATABASE)
        if database:
            places = {**places, _DATABASE: Path(folder) / _DATABASE}
            if database.exists() and database.stat().st_size:  # else nothing was written to it
                copy_database(database, places[_DATABASE])
        with tarfile.open(draft.path, "w:gz", compresslevel=6) as tar:
            for name, path in places.items():
                if path.exists():
                    tar.add(path, name, filter=_without_predictions)
        draft.publish()


def load(places: Places, archive: Path, set_aside: Path | None = None) -> str:
    """Unpack the state, whose receipts count as made now; what was done, in words.

    Args:
        set_aside: a folder into which ledger, tracking database and receipts are moved where the
            archive does not go on from them.

    Raises:
        StateError: the archive cannot be read, or lacks what is here.
        RegistryError: one of the ledgers is broken.
    """
    with tempfile.TemporaryDirectory(prefix=".state-", dir=archive.parent) as folder:
        loaded = _unpacked(archive, Path(folder), places)
        here, there = _history(places), _history(loaded)
        if not there.includes(here) and here.includes(there):
            _load_receipts(places, loaded, missing_only=True)
            return "this clone has all of it, and more: its ledger and registry stay"
        result = "loaded"
        if not there.includes(here):
            if set_aside is None:
                raise StateError(
                    f"{archive} lacks what this clone has: {there.lacks(here)}; nothing was "
                    "loaded. To move the clone's ledger, tracking database and receipts into "
                    ".set-aside first: make state-load SET_ASIDE=1"
                )
            for name in (_DATABASE, _LEDGER, _RECEIPTS):
                if name in places and places[name].exists():
                    _move(places[name], set_aside / name)
            result = f"loaded; what was here is in {set_aside}"
        for name in _ADDED:
            if name in loaded:
                _add(loaded[name], places[name])
        for name in (_DATABASE, _LEDGER):
            if name in loaded:
                for left in ("-wal", "-shm", "-journal"):  # of the database that is replaced
                    places[name].with_name(f"{places[name].name}{left}").unlink(missing_ok=True)
                _move(loaded[name], places[name])
        _load_receipts(places, loaded)
        return result


def _unpacked(archive: Path, folder: Path, places: Places) -> dict[str, Path]:
    try:
        with tarfile.open(archive, "r:gz") as tar:  # any form would give the reason of each
            tar.extractall(folder, filter="data")
    except FileNotFoundError as error:
        raise StateError(
            f"{archive} is not there: make state-save writes it where the state is"
        ) from error
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise StateError(
            f"{archive} cannot be unpacked: {reason_of(error)}; make state-save writes one"
        ) from error
    return {name: folder / name for name in places if (folder / name).exists()}


def _history(places: Places) -> History:
    ledger = places.get(_LEDGER)
    entries = FileLedger(ledger).entries() if ledger else []
    database, records = places.get(_DATABASE), set()
    if database and database.exists():
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            try:
                for name, version, run in connection.execute(
                    "SELECT name, version, run_id FROM model_versions"
                ):
                    records.add(f"{name} version {version} (run {run})")
                for (run,) in connection.execute("SELECT run_uuid FROM runs"):
                    records.add(f"run {run}")
            except sqlite3.Error as error:
                raise StateError(f"{database} is not a tracking database: {error}") from error
    return History(tuple(entry.hash for entry in entries), frozenset(records))


def _load_receipts(places: Places, loaded: Places, missing_only: bool = False) -> None:
    """Replace the receipts of each model in the archive, with all that lies beside them."""
    if _RECEIPTS not in loaded:
        return
    for model in sorted(loaded[_RECEIPTS].iterdir()):
        target = places[_RECEIPTS] / model.name
        if target.exists() and missing_only:
            continue
        _count_as_new(model)
        if target.exists():
            _move(target, loaded[_RECEIPTS].parent / "replaced" / model.name)
        _move(model, target)


def _count_as_new(folder: Path) -> None:
    """Give files the time of now, in the order in which they were made.

    make then finds each receipt newer than the sources, and than the receipt before it.
    """

    def made(path: Path) -> tuple[int, int]:
        is_receipt = path.parent == folder and path.stem in _STEPS
        return path.stat().st_mtime_ns, _STEPS.index(path.stem) if is_receipt else -1

    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    now = time.time_ns()
    for number, path in enumerate(sorted(files, key=made)):
        os.utime(path, ns=(now + 1000 * number,) * 2)


def _add(source: Path, target: Path) -> None:
    """Move what `target` has not; BentoML's file `latest`, which names the newest, is replaced."""
    if not target.exists() or source.name == "latest":
        _move(source, target)
    elif source.is_dir():
        for part in source.iterdir():
            _add(part, target / part.name)


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)


def _without_predictions(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if Path(member.name).name.startswith("predictions.db") else member
