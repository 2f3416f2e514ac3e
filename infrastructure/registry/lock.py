"""One process at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from domain.errors import RegistryError


@contextmanager
def held(path: Path, patience: float) -> Iterator[None]:
    """Hold the lock of this file; a thread that holds it already goes on.

    The lock ends with the process; the file stays, and means nothing by itself.

    Args:
        patience: seconds to wait for another process.

    Raises:
        RegistryError: the other one held it for longer.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, is_singleton=True)
    try:
        lock.acquire(timeout=patience)
    except Timeout as error:
        raise RegistryError(
            f"another process has held {path} for {patience:g} s: wait for it or end it, "
            "then try again"
        ) from error
    try:
        yield
    finally:
        lock.release()
