"""Moves state between clones, as one archive.

State is the receipts, packages, tracking database, Bento store and ledger. Receipts and exported
Bentos are replaced. Nothing else is lost: packages, Bentos and artifacts are added to those of the
clone, and the ledger and tracking database are replaced only by ones that continue them. On
request, others are added to them.
"""

from __future__ import annotations

import json
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
from infrastructure.compute.receipts import write_receipt
from infrastructure.registry.ledger import FileLedger
from infrastructure.tracking.database import (
    copy_database,
    database_file,
    merge_database,
    merged_numbers,
)
from shared.files import Draft
from shared.settings import Settings

_RECEIPTS, _LEDGER, _DATABASE = "build", "ledger.jsonl", "mlflow.db"
_ADDED = ("application/registry/model_registry", ".bentoml", "mlartifacts", "snapshots")
_STEPS = ("train", "champion", "validate", "bento-build", "containerize")

Places = Mapping[str, Path]
"""Where the parts of the state are stored, by their names in an archive."""


@dataclass(frozen=True)
class History:
    """Records that are only ever added: ledger entries, and runs and versions in MLflow."""

    entries: tuple[str, ...]
    records: dict[str, str]  # described by their runs, as versions get other numbers when merged
    merged: frozenset[str]  # entries, with those that were added from other ledgers

    def includes(self, other: History) -> bool:
        """Whether this history equals the other one, or continues it."""
        same_start = self.entries[: len(other.entries)] == other.entries
        is_merged = bool(other.entries) and self.merged >= set(other.entries)
        return (same_start or is_merged) and self.records.keys() >= other.records.keys()

    def lacks(self, other: History) -> str:
        """What the other history has and this one does not, in words."""
        entries = len(set(other.entries) - set(self.entries))
        records = sorted(other.records[key] for key in other.records.keys() - self.records.keys())
        listed = f"{', '.join(records[:3])}{' …' if len(records) > 3 else ''}"
        parts = (f"{entries} entries of the ledger" if entries else "", listed)
        return " and ".join(filter(None, parts)) or "the order of the ledger's entries"


def places_of(settings: Settings) -> dict[str, Path]:
    """The places of a clone, without a tracking database or snapshots if a server has them."""
    places = {
        _RECEIPTS: settings.receipts_dir,
        _LEDGER: settings.ledger,
        _ADDED[0]: settings.packages_dir,
        _ADDED[1]: settings.bento_home,
    }
    if "://" not in settings.snapshots:
        places[_ADDED[3]] = Path(settings.snapshots)
    if database := database_file(settings.tracking_uri):
        places |= {_DATABASE: database, _ADDED[2]: database.parent / "mlartifacts"}
    return places


def save(places: Places, archive: Path, private: bool = False) -> None:
    """Pack the state into an archive, without logged predictions in the Bento store.

    Args:
        private: whether only the owner may read the archive.

    Raises:
        TrackingError: the tracking database is locked or damaged; an existing archive is kept.
    """
    with (
        tempfile.TemporaryDirectory(prefix=".state-", dir=archive.parent) as folder,
        Draft(archive) as draft,
    ):
        database = places.get(_DATABASE)
        if database:
            places = {**places, _DATABASE: Path(folder) / _DATABASE}
            if database.exists() and database.stat().st_size:  # otherwise it was never written to
                copy_database(database, places[_DATABASE])
        if private:
            draft.path.touch(0o600)
        with tarfile.open(draft.path, "w:gz", compresslevel=6) as tar:
            for name, path in places.items():
                if path.exists():
                    tar.add(path, name, filter=_without_predictions if path.is_dir() else None)
        draft.publish()


def load(places: Places, archive: Path, merge: bool = False) -> str:
    """Unpack the state; its receipts count as new.

    Args:
        merge: whether to add the archive's ledger and tracking database to those of this clone, and
            to take over its receipts, if it does not continue this clone's state; if not, such an
            archive is refused.

    Returns:
        What was done, in words.

    Raises:
        StateError: the archive cannot be read, or lacks state of this clone.
        RegistryError: one of the ledgers is damaged.
        TrackingError: one of the databases is locked or damaged.
    """
    with tempfile.TemporaryDirectory(prefix=".state-", dir=archive.parent) as folder:
        loaded = _unpacked(archive, Path(folder), places)
        here, there = _history(places), _history(loaded)
        if not there.includes(here) and here.includes(there):
            if _DATABASE in loaded:
                _renumber(loaded, merged_numbers(loaded[_DATABASE], places[_DATABASE]))
            _load_receipts(places, loaded, missing_only=not merge)
            return "unchanged: this clone has everything in the archive, and more"
        if not there.includes(here) and not merge:
            raise StateError(
                f"{archive} lacks state that this clone has: {there.lacks(here)}; nothing was "
                "loaded. To add the archive to this clone's ledger and tracking database, and to "
                "replace its receipts, run make state-load MERGE=1"
            )
        for name in _ADDED:
            if name in loaded:
                _add(loaded[name], places[name])
        if there.includes(here):
            _replace(places, loaded)
            _load_receipts(places, loaded)
            return "loaded"
        _merge(places, loaded)
        _load_receipts(places, loaded)
        return "loaded; ledger and tracking database were added to those of this clone"


def _replace(places: Places, loaded: Places) -> None:
    for name in (_DATABASE, _LEDGER):
        if name in loaded:
            for suffix in ("-wal", "-shm", "-journal"):  # files of the replaced database
                places[name].with_name(f"{places[name].name}{suffix}").unlink(missing_ok=True)
            _move(loaded[name], places[name])


def _merge(places: Places, loaded: Places) -> None:
    """Add ledger and tracking database, and number the versions in the receipts as there."""
    missing = {name for name in (_DATABASE, _LEDGER) if not places[name].exists()}
    _replace(places, {name: path for name, path in loaded.items() if name in missing})
    if _DATABASE in loaded and _DATABASE not in missing:
        _renumber(loaded, merge_database(loaded[_DATABASE], places[_DATABASE]))
    if _LEDGER in loaded and _LEDGER not in missing:
        ledger = FileLedger(places[_LEDGER])
        entries = ledger.entries()
        known = {value for entry in entries for value in entry.hashes}
        # What another machine deployed in an environment of this one, such as a rehearsal, is not
        # what serves in it.
        own = {
            e.details["env"] for e in entries if "env" in e.details and "author" not in e.details
        }
        for entry in FileLedger(loaded[_LEDGER]).entries():
            if known.isdisjoint(entry.hashes) and entry.details.get("env") not in own:
                origin = {"since": entry.at.isoformat(), "author": entry.who, "entry": entry.hash}
                details = {**origin, **entry.details}
                ledger.append(entry.event, entry.model_name, entry.version, **details)


def _renumber(loaded: Places, numbers: Mapping[tuple[str, int], int]) -> None:
    """Change the numbers of versions in receipts."""
    for receipt in loaded[_RECEIPTS].glob("*/*.json") if _RECEIPTS in loaded else ():
        content = json.loads(receipt.read_text(encoding="utf-8"))
        if old := content.get("registry_version"):
            written = receipt.stat().st_mtime_ns
            number = numbers.get((content["model_name"], int(old)), old)
            write_receipt(receipt, **{**content, "registry_version": str(number)})
            os.utime(receipt, ns=(written, written))


def _unpacked(archive: Path, folder: Path, places: Places) -> dict[str, Path]:
    unpack(archive, folder, *places)
    return {name: folder / name for name in places if (folder / name).exists()}


def unpack(archive: Path, folder: Path, *names: str) -> None:
    """Unpack parts of an archive.

    Args:
        names: files, and folders with what is below them.

    Raises:
        StateError: the archive cannot be read.
    """

    def wanted(member: tarfile.TarInfo) -> bool:
        return any(member.name == name or member.name.startswith(f"{name}/") for name in names)

    try:
        with tarfile.open(archive, "r:gz") as tar:  # "r" would report an error for every format
            tar.extractall(folder, filter(wanted, tar), filter="data")
    except FileNotFoundError as error:
        raise StateError(
            f"{archive} does not exist: write it with make state-save or make backup"
        ) from error
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise StateError(
            f"{archive} cannot be unpacked: {reason_of(error)}; write it again"
        ) from error


def _history(places: Places) -> History:
    ledger = places.get(_LEDGER)
    entries = FileLedger(ledger).entries() if ledger else []
    database, records = places.get(_DATABASE), dict[str, str]()
    if database and database.exists():
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            try:
                for name, version, run in connection.execute(
                    "SELECT name, version, run_id FROM model_versions"
                ):
                    records[f"{name} of run {run}"] = f"{name} version {version} (run {run})"
                for (run,) in connection.execute("SELECT run_uuid FROM runs"):
                    records[f"run {run}"] = f"run {run}"
            except sqlite3.Error as error:
                raise StateError(f"{database} is not a tracking database: {error}") from error
    merged = {value for entry in entries for value in entry.hashes}
    return History(tuple(entry.hash for entry in entries), records, frozenset(merged))


def _load_receipts(places: Places, loaded: Places, missing_only: bool = False) -> None:
    """Replace the receipts folder of each model in the archive."""
    if _RECEIPTS not in loaded:
        return
    for model in sorted(loaded[_RECEIPTS].iterdir()):
        target = places[_RECEIPTS] / model.name
        if target.exists() and missing_only:
            continue
        _touch_in_order(model)
        if target.exists():
            _move(target, loaded[_RECEIPTS].parent / "replaced" / model.name)
        _move(model, target)


def _touch_in_order(folder: Path) -> None:
    """Set the modification times of files to now, in the order in which they were written.

    make then finds each receipt newer than the sources and newer than the previous receipt.
    """

    def written(path: Path) -> tuple[int, int]:
        is_receipt = path.parent == folder and path.stem in _STEPS
        return path.stat().st_mtime_ns, _STEPS.index(path.stem) if is_receipt else -1

    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    now = time.time_ns()
    for number, path in enumerate(sorted(files, key=written)):
        os.utime(path, ns=(now + 1000 * number,) * 2)


def _add(source: Path, target: Path) -> None:
    """Move what `target` lacks; BentoML's file `latest`, which names the newest, is replaced."""
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
