"""A size limit for the logs of an environment.

A log is written by processes that keep it open, so it is copied and emptied instead of renamed:
they append, and their next line becomes the first one.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

LOG_BYTES = 16 * 2**20
_LOGS = ("front.log", "supervisor.log", "releases/*/service.log")


def limit_logs(folder: Path, limit: int = LOG_BYTES) -> None:
    """Move what logs contain to `<name>.1`, which it replaces, if they exceed a limit.

    A line that is written at this moment may be lost. If the disk is too full for the copy, what
    the log contains is lost, so that it does not keep a disk full.

    Args:
        folder: of the environment.
        limit: in bytes.
    """
    for log in (log for pattern in _LOGS for log in folder.glob(pattern)):
        with suppress(FileNotFoundError):  # its release has just been removed
            if log.stat().st_size > limit:
                _rotate(log, log.with_name(f"{log.name}.1"))


def _rotate(log: Path, previous: Path) -> None:
    try:
        shutil.copyfile(log, previous)
    except FileNotFoundError:
        raise
    except OSError:  # such as a full disk
        previous.unlink(missing_ok=True)
    os.truncate(log, 0)
