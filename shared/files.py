"""Files and folders that are replaced atomically, and locks between processes."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Draft:
    """A file that is written under a hidden name in the folder of its target.

    A context manager: unless it is published, nothing is left. The next draft of the same file
    removes drafts of killed processes.

    Attributes:
        target: path of the published file.
        path: path to write to.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        unique = f"{os.getpid()}.{secrets.token_hex(4)}"
        self.path = target.with_name(f".{_short(target.name)}.{unique}.part")

    def __enter__(self) -> Draft:
        for left in self.target.parent.glob(f".{glob.escape(_short(self.target.name))}.*.*.part"):
            process = left.name.split(".")[-3]
            if process.isdecimal() and not is_running(int(process)):
                left.unlink(missing_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)

    def publish(self) -> None:
        """Sync the file to disk and move it to its target, which it replaces."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(self.path, self.target)
        sync_folder(self.target.parent)


def write_atomically(path: Path, content: str | bytes, private: bool = False) -> None:
    """Write a file so that readers see its previous content or all of the new, even after a crash.

    Args:
        private: whether only the owner may read the file, from its first byte on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with Draft(path) as draft:
        mode = 0o600 if private else 0o666
        handle = os.open(draft.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        draft.publish()


@contextmanager
def drafts_folder(folder: Path, timeout: float = 600) -> Iterator[Path]:
    """An empty folder for drafts of folders, for one process at a time; removed at the end.

    Drafts of a killed process are removed first.

    Args:
        folder: on the same file system as the targets of `publish_folder`.
        timeout: seconds to wait for another process.
    """
    with locked(folder.with_name(f"{folder.name}.lock"), timeout):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def publish_folder(draft: Path, target: Path) -> None:
    """Sync a folder to disk and move it to its target, which it replaces.

    If the process is killed meanwhile, the target is the previous folder, the new one or missing,
    but never incomplete.

    Args:
        draft: in a `drafts_folder`, into which the previous folder is moved.
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
def locked(path: Path, timeout: float) -> Iterator[None]:
    """Hold the lock of this file; the lock is reentrant.

    The lock ends with the process. The file remains, and its existence means nothing.

    Args:
        timeout: seconds to wait for another process.

    Raises:
        TimeoutError: another process held the lock for longer.
    """
    # pylint: disable-next=import-outside-toplevel  # services import this module without filelock
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, is_singleton=True)
    try:
        lock.acquire(timeout=timeout)
    except Timeout as error:
        raise TimeoutError(
            f"another process has held {path} for {timeout:g} s: wait for it or end it, "
            "then try again"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _short(name: str) -> str:
    """A name shortened to 200 bytes, so that a suffix fits into the 255 bytes of a file's name."""
    return name.encode()[:200].decode(errors="ignore")


def is_running(process: int) -> bool:
    """Whether there is a process with this number, of whichever user."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to another user
        return True
    return True
