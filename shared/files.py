"""Files that appear whole or not at all, and locks between processes."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Draft:
    """A file that is being written under a hidden name in the folder of its final place.

    Used as a context manager, it leaves nothing behind unless it is published. The next draft of
    the same file removes what a killed process has left.

    Attributes:
        target: the final place.
        path: where to write until then.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        unique = f"{os.getpid()}.{secrets.token_hex(4)}"
        self.path = target.with_name(f".{_short(target.name)}.{unique}.part")

    def __enter__(self) -> Draft:
        for left in self.target.parent.glob(f".{glob.escape(_short(self.target.name))}.*.*.part"):
            process = left.name.split(".")[-3]
            if process.isdecimal() and not _is_running(int(process)):
                left.unlink(missing_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)

    def publish(self) -> None:
        """Sync it to disk and move it to its final place, replacing what was there."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(self.path, self.target)
        sync_folder(self.target.parent)


def write_atomically(path: Path, content: str | bytes, private: bool = False) -> None:
    """Write a file so that a reader, or a restart, sees its previous content or all of the new.

    Args:
        private: only the owner may read the file, from its first byte on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with Draft(path) as draft:
        mode = 0o600 if private else 0o666
        handle = os.open(draft.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        draft.publish()


@contextmanager
def drafts_folder(folder: Path, patience: float = 600) -> Iterator[Path]:
    """An empty folder to write other folders in, for one process at a time; removed at the end.

    What a killed process has left in it is removed first.

    Args:
        folder: on the file system of what `publish_folder` replaces.
        patience: seconds to wait for another process.
    """
    with locked(folder.with_name(f"{folder.name}.lock"), patience):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def publish_folder(draft: Path, target: Path) -> None:
    """Sync a folder to disk and move it to its final place, replacing what was there.

    A process that is killed meanwhile leaves the previous folder, the new one or none, and never a
    part of one.

    Args:
        draft: in a `drafts_folder`, which takes the previous folder too.
    """
    sync_tree(draft)
    target.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        os.rename(target, draft.with_name(f".{secrets.token_hex(4)}.previous"))
    os.rename(draft, target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Make every file and folder below a folder durable, and the folder itself."""
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        elif path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


@contextmanager
def locked(path: Path, patience: float) -> Iterator[None]:
    """Hold the lock of this file; a thread that already holds it goes on.

    The lock ends with the process. The file stays and means nothing by itself.

    Args:
        patience: seconds to wait for another process.

    Raises:
        TimeoutError: another process held the lock for longer.
    """
    # pylint: disable-next=import-outside-toplevel  # services read this module and take no lock
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, is_singleton=True)
    try:
        lock.acquire(timeout=patience)
    except Timeout as error:
        raise TimeoutError(
            f"another process has held {path} for {patience:g} s: wait for it or end it, "
            "then try again"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _short(name: str) -> str:
    """A name that leaves room for more within the 255 bytes of a file's name."""
    return name.encode()[:200].decode(errors="ignore")


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to somebody else
        return True
    return True
