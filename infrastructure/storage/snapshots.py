"""Snapshots of data in a folder, or in an object store of which the folder is a cache."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from application.ports.snapshots import Fetched
from domain.errors import DataError
from infrastructure.sources.filesystems import open_filesystem
from shared.digests import sha256_of
from shared.files import Draft
from shared.paths import ROOT
from shared.settings import Settings

NAME = re.compile(r"[0-9a-f]{64}(\.\w+)*")


class SnapshotStore:
    """Immutable files with the SHA-256 of their content as name, such as ``3fa9….parquet``.

    Args:
        location: a folder, or s3://bucket/folder or gs://bucket/folder.
        cache: the folder on this machine, if `location` is an object store.
        root: the clone that relative paths of sources start at.
    """

    def __init__(self, location: str, cache: Path, root: Path) -> None:
        self.location, self._root = location, root
        self._is_remote = "://" in location
        self.folder = cache if self._is_remote else Path(location)

    def fetch(self, address: str, query: str | None) -> Fetched:
        """Read a source and keep a snapshot: `application.ports.snapshots.Snapshots`."""
        # pylint: disable-next=import-outside-toplevel  # slow, and most data are local tables
        from infrastructure.sources.fetch import draft_of

        with self._scratch() as folder:
            draft, watched = draft_of(address, query, self._root, folder)
            name = self.keep(draft)
        return Fetched(address, name, self.folder / name, watched)

    def keep(self, file: Path) -> str:
        """Keep a copy of a file."""
        digest, suffixes = sha256_of(file), "".join(file.suffixes[-2:]).lower()
        name = digest + (suffixes if NAME.fullmatch(digest + suffixes) else file.suffix.lower())
        target = self.folder / name
        if not target.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            with Draft(target) as draft:
                shutil.copyfile(file, draft.path)
                draft.path.chmod(0o444)
                draft.publish()
        if self._is_remote:
            self._copy(str(target), self._address(name), unless_there=True)
        return name

    def find(self, snapshot: str) -> Path:
        """The file of a snapshot on this machine; an object store is asked if it is not here."""
        path = self.folder / snapshot
        if not path.exists() and self._is_remote:
            self.folder.mkdir(parents=True, exist_ok=True)
            with Draft(path) as draft:
                self._copy(self._address(snapshot), str(draft.path))
                draft.publish()
        if not path.exists():
            raise DataError(f"the snapshot {snapshot} is not in {self.location}: was it removed?")
        if sha256_of(path) != snapshot.partition(".")[0]:
            raise DataError(f"the snapshot {path} was changed: restore it, or train again")
        return path

    def size(self, snapshot: str) -> int | None:
        """Bytes of a snapshot; None if it is not there."""
        if (path := self.folder / snapshot).exists():
            return path.stat().st_size
        if not self._is_remote:
            return None
        filesystem, name = open_filesystem(self._address(snapshot))
        size: int | None = filesystem.get_file_info(name).size
        return size

    def remove(self, snapshot: str) -> None:
        """Remove a snapshot, if it is there."""
        (self.folder / snapshot).unlink(missing_ok=True)
        if self._is_remote:
            filesystem, name = open_filesystem(self._address(snapshot))
            filesystem.delete_file(name)

    def _address(self, snapshot: str) -> str:
        return f"{self.location.rstrip('/')}/{snapshot}"

    def _copy(self, source: str, target: str, unless_there: bool = False) -> None:
        # pylint: disable-next=import-outside-toplevel  # slow, and most stores are folders
        from pyarrow.fs import FileType, copy_files

        try:
            (reader, path), (writer, name) = open_filesystem(source), open_filesystem(target)
            if not (unless_there and writer.get_file_info(name).type == FileType.File):
                copy_files(path, name, source_filesystem=reader, destination_filesystem=writer)
        except OSError as error:
            raise DataError(f"cannot copy {source} to {target}: {error}") from error

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A temporary folder on the disk of the snapshots, which has room for one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=self.folder) as folder:
            yield Path(folder)


def open_snapshots(settings: Settings) -> SnapshotStore:
    """The store that the settings name."""
    return SnapshotStore(settings.snapshots, ROOT / "snapshots", ROOT)
