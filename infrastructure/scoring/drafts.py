"""Files that are seen only when they are whole."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import psutil


class Draft:
    """A file that is being written under a hidden name beside its final place.

    Used as a context manager, it leaves nothing behind unless it is published. What a process that
    was killed has left behind, the next draft of the same file removes.

    Attributes:
        target: the final place.
        path: where to write meanwhile.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f".{target.name}.{os.getpid()}.part")

    def __enter__(self) -> Draft:
        for left in self.target.parent.glob(f".{glob.escape(self.target.name)}.*.part"):
            process = left.name.split(".")[-2]
            if process.isdecimal() and not psutil.pid_exists(int(process)):
                left.unlink(missing_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)

    def publish(self) -> None:
        """Move it to its final place, at once; what was there is replaced."""
        os.replace(self.path, self.target)
