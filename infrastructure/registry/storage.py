"""What uses disk space on this machine: packages, drafts, and the Bento store's entries."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from application.registry.collection import Stored
from infrastructure.packaging.model_package import training_lock
from shared.files import locked

_DRAFT = ".draft"


def stored_in(packages_dir: Path, bento_home: Path) -> Iterator[Stored]:
    """Everything that is stored in these folders."""
    for path in _folders(packages_dir):
        draft = path.name.startswith(".") and path.name.endswith(_DRAFT)
        if draft or not path.name.startswith("."):
            version = path.name.removeprefix(".").removesuffix(_DRAFT) if draft else path.name
            yield from _stored(
                "draft" if draft else "package",
                path,
                version,
                _is_held(training_lock(path.with_name(version))),
            )
    for kind in ("model", "bento"):
        for path in _folders(bento_home / f"{kind}s"):
            yield from _stored(kind, path, path.name)


def remove(item: Stored) -> None:
    """Remove an item; a package becomes a draft first, so that it is never there partially.

    BentoML reads BENTOML_HOME when it is imported: set it in the environment before.
    """
    match item.kind:
        case "model" | "bento":
            # pylint: disable-next=import-outside-toplevel  # slow to import
            from infrastructure.packaging.bento_store import remove_entry

            remove_entry(item.path)
        case _:
            shutil.rmtree(item.path.rename(item.path.with_name(f".{item.version}{_DRAFT}")))
            training_lock(item.path.with_name(item.version)).unlink(missing_ok=True)


def _folders(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.glob("*/*") if path.is_dir())


def _is_held(lock: Path) -> bool | None:
    """Whether a process holds a lock; None if there is no lock file."""
    if not lock.exists():
        return None
    try:
        with locked(lock, 0):
            return False
    except TimeoutError:
        return True


def _stored(
    kind: str, path: Path, version: str, in_training: bool | None = None
) -> Iterator[Stored]:
    """The folder as one item; nothing if it was removed in the meantime."""
    stats = list(_stats(path))
    if stats:
        newest = datetime.fromtimestamp(max(stat.st_mtime for stat in stats), UTC)
        size = sum(stat.st_size for stat in stats)
        yield Stored(kind, path.parent.name, version, path, size, newest, in_training)


def _stats(folder: Path) -> Iterator[os.stat_result]:
    """Stats of a folder and everything in it, except what is removed in the meantime."""
    walk = os.walk(folder)
    inside = (os.path.join(at, name) for at, folders, files in walk for name in folders + files)
    for path in (str(folder), *inside):
        with suppress(FileNotFoundError):
            yield os.lstat(path)
