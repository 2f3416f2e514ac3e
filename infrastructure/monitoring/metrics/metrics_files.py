"""The files in which the workers of a service keep their metrics.

prometheus_client maps sparse files into memory: if their disk is full, the first write to a new
page kills the process with SIGBUS. Therefore they are in memory (`/dev/shm`) where there is room,
and each worker allocates its own before it writes to them.
"""

from __future__ import annotations

import atexit
import errno
import os
import secrets
import shutil
import struct
from contextlib import suppress
from pathlib import Path

from bentoml._internal.configuration.containers import BentoMLContainer

from domain.errors import DeploymentError
from shared.files import is_running

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # set by BentoML for its workers
MEMORY = Path("/dev/shm")  # nosec B108  # names in it are not predictable
KIB = 1024
SIZES = {
    "counter": 256 * KIB,
    "histogram": 1024 * KIB,
    **dict.fromkeys(("summary", "gauge_all", "gauge_livesum", "gauge_mostrecent"), 64 * KIB),
}
_NOT_SUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL)  # by some file systems


def prepare_metrics_files(workers: int) -> None:
    """Choose the folder in the process that starts the workers; allocate the files in a worker.

    Raises:
        DeploymentError: the disk has not enough space for them.
    """
    if FOLDER in os.environ:
        allocate_metrics_files()
    elif has_room(MEMORY, workers):
        chosen = MEMORY / f"{_prefix()}{os.getpid()}-{secrets.token_hex(8)}"
        BentoMLContainer.prometheus_multiproc_dir.set(str(chosen))
        _remove_left_behind()
        atexit.register(shutil.rmtree, chosen, ignore_errors=True)


def has_room(folder: Path, workers: int) -> bool:
    """Whether a folder is writable and has four times the space that the files need.

    The rest is for restarted workers, whose predecessors' counts are kept.
    """
    if not os.access(folder, os.W_OK):
        return False
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize >= 4 * workers * sum(SIZES.values())


def allocate_metrics_files() -> None:
    """Allocate the files of this worker, with room for as much again as they contain.

    Files of ended workers shrink to what they contain. Without a folder, nothing is allocated.

    Raises:
        DeploymentError: the disk has not enough space for them.
    """
    if FOLDER not in os.environ:
        return
    folder = Path(os.environ[FOLDER])
    for path in folder.glob("*_*.db"):
        process = path.stem.rpartition("_")[2]
        if process.isdecimal() and not is_running(int(process)):
            with suppress(OSError):  # another worker may do the same
                os.truncate(path, max(_used(path), 8))
    try:
        for kind, size in SIZES.items():
            path = folder / f"{kind}_{os.getpid()}.db"
            with path.open("ab") as file:
                _allocate(file.fileno(), max(size, 2 * _used(path)))
    except OSError as error:
        raise DeploymentError(
            f"no room for the metrics of a worker in {folder} ({error.strerror}): free "
            f"{sum(SIZES.values()) // KIB} KiB on that disk"
        ) from error


def _allocate(handle: int, size: int) -> None:
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise


def _used(path: Path) -> int:
    """Bytes of a file that contain metrics, which its first four bytes tell."""
    with path.open("rb") as file:
        head = file.read(4)
    return int(struct.unpack("i", head)[0]) if len(head) == 4 else 0


def _remove_left_behind() -> None:
    """Remove the folders of killed services of this user."""
    for folder in MEMORY.glob(f"{_prefix()}*"):
        process = folder.name.removeprefix(_prefix()).partition("-")[0]
        if process.isdecimal() and not is_running(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _prefix() -> str:
    """Start of a folder's name; containers that share memory have other process numbers."""
    with suppress(OSError):
        return f"mlops-metrics-{Path('/proc/self/ns/pid').stat().st_ino}-"
    return "mlops-metrics-0-"
