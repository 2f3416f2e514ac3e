"""Backs up a clone with what its environments have served, and restores it on another machine.

A backup is an archive of the state (see `state_archive`) with, for each environment, the release
that serves, the one before it, and the prediction log. The service goes on meanwhile.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from domain.errors import StateError
from infrastructure.deployment.local import LocalEnvironment
from infrastructure.deployment.release import (
    STATES,
    DamagedStateError,
    adopt_states,
    read_release,
)
from infrastructure.registry.state_archive import Places, load, save, unpack
from infrastructure.tracking.database import database_file
from shared.files import locked

_ENVIRONMENTS = "environments"
_LOG = "predictions.db"
_LOCK_SECONDS = 600.0


def back_up(places: Places, environments: Path, archive: Path) -> list[str]:
    """Write a backup, readable only by its owner because it has the keys of the services.

    Args:
        environments: folder of the environments on this machine.

    Returns:
        The prediction logs that it lacks, because a database server has them.

    Raises:
        StateError: a prediction log cannot be read.
        TrackingError: the tracking database is locked or damaged.
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
    packages = places["application/registry/model_registry"]
    with (
        tempfile.TemporaryDirectory(prefix=".state-", dir=archive.parent) as folder,
        locked(packages.with_name(f".{packages.name}.lock"), _LOCK_SECONDS),
    ):
        more, lacking = dict(places), []
        for path in sorted(environments.glob("*/")):
            name, environment = f"{_ENVIRONMENTS}/{path.name}", LocalEnvironment(path)
            url = environment.log_url(None)
            log = database_file(url)
            if log is None:
                lacking.append(f"{path.name}: {url.partition(':')[0]}")
            elif log.exists():
                more[f"{name}/{_LOG}"] = _copied(log, Path(folder) / f"{path.name}.db")
            more |= {f"{name}/{part}": path / part for part in _parts_to_serve(path)}
        save(more, archive, private=True)
    return lacking


def restore(places: Places, environments: Path, archive: Path) -> list[str]:
    """Restore a backup; what is here already stays.

    Environments are restored as stopped: `make start` serves their releases again.

    Returns:
        What was done, in words.

    Raises:
        StateError: the archive cannot be read, or lacks state of this clone.
        RegistryError: one of the ledgers is damaged.
        TrackingError: one of the databases is locked or damaged.
    """
    done = [load(places, archive)]
    with tempfile.TemporaryDirectory(prefix=".state-", dir=archive.parent) as folder:
        unpack(archive, Path(folder), _ENVIRONMENTS)
        for saved in sorted(Path(folder, _ENVIRONMENTS).glob("*/")):
            target = environments / saved.name
            if target.exists():
                done.append(f"{saved.name}: left as it is here")
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(saved, target)
            adopt_states(target)
            done.append(f"{saved.name}: restored; make start ENV={saved.name} serves it again")
    return done


def _parts_to_serve(folder: Path) -> Iterator[str]:
    """State files of an environment, and the Bentos that they name."""
    for state in STATES:
        if not (folder / state).exists():
            continue
        yield state
        try:
            release = read_release(folder / state) if state != "front.json" else None
        except DamagedStateError:
            continue
        canary = release.canary.release if release and release.canary else None
        for each in (release, canary):
            if each and each.bento.exists():
                yield f"releases/{Path(each.folder).name}/bento"


def _copied(log: Path, copy: Path) -> Path:
    """A consistent copy of a prediction log, which is being written to."""
    try:
        with (
            closing(sqlite3.connect(f"file:{log}?mode=ro", uri=True)) as original,
            closing(sqlite3.connect(copy)) as target,
        ):
            original.backup(target)
    except sqlite3.Error as error:
        raise StateError(f"{log} cannot be backed up: {error}") from error
    return copy
