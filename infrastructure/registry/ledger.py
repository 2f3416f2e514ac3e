"""The ledger: a file of JSON lines, to which lines are only added, each holding the hash of the one
before.

What the chain shows: any entry that was changed, removed, inserted or moved, and its line. What it
cannot show: that its tail was cut off, or that somebody who may write the file has written all of
it anew. The hashes of the first entry, which tells one ledger from another, and of the entry of the
last promotion are therefore kept in the tracking server as well (`Promoter.note_ledger`); who can
change both can still forge both.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import math
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from application.ports.ledger import LedgerEntry
from domain.errors import RegistryError
from shared.files import locked

FIRST = "0" * 64
LOCK_SECONDS = 60.0  # an entry takes milliseconds


@dataclass(frozen=True)
class FileLedger:
    """A ledger in a file, which its first entry makes."""

    path: Path

    def append(
        self, event: str, model_name: str, version: str, **details: str | float | None
    ) -> LedgerEntry:
        """Add an entry, on disk when this returns; processes that do so at once take turns.

        A last line that a crash has left incomplete was never an entry: it is cut off, and the new
        entry has it in its details, as ``cut``.

        Raises:
            RegistryError: the last entry is invalid.
            TimeoutError: another process holds the file's lock.
        """
        with locked(self.path.with_name(f".{self.path.name}.lock"), LOCK_SECONDS):
            whole, torn = self._read()
            if torn:
                details["cut"] = torn.decode(errors="replace")
            last = _parse(self.path, len(whole), whole[-1]) if whole else None
            content = {
                "number": last.number + 1 if last else 1,
                "at": datetime.now(UTC).isoformat(timespec="microseconds"),
                "who": _who(),
                "event": event,
                "model": model_name,
                "version": version,
                "details": {name: _plain(value) for name, value in details.items()},
                "previous": last.hash if last else FIRST,
            }
            entry = {**content, "hash": hash_of(content)}
            with self.path.open("ab") as file:
                file.truncate(file.tell() - len(torn))
                file.write(_canonical(entry) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        return _entry(entry)

    def entries(self) -> list[LedgerEntry]:
        """All entries, oldest first; none where there is no file. An incomplete last line is one
        that is being written, or that `append` will cut off.

        Raises:
            RegistryError: an entry was changed, removed, inserted or moved; the first one that is
                wrong is named with its line.
        """
        whole, _ = self._read()
        entries: list[LedgerEntry] = []
        for number, line in enumerate(whole, 1):
            entry = _parse(self.path, number, line)
            before = entries[-1].hash if entries else FIRST
            if (entry.number, entry.previous) != (number, before):
                raise RegistryError(
                    f"{self.path}, line {number}: entry {entry.number} does not follow the line "
                    "before it: an entry was changed, removed, inserted or moved here"
                )
            entries.append(entry)
        return entries

    def _read(self) -> tuple[list[bytes], bytes]:
        """The lines that are whole, and what follows them without an end of line."""
        content = self.path.read_bytes() if self.path.exists() else b""
        *whole, torn = content.split(b"\n")
        return whole, torn


def _parse(path: Path, number: int, line: bytes) -> LedgerEntry:
    try:
        content = json.loads(line)
        entry = _entry(content)
        claimed = content.pop("hash")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RegistryError(f"{path}, line {number}: this is no entry") from error
    if hash_of(content) != claimed:
        raise RegistryError(
            f"{path}, line {number}: entry {entry.number} was changed: its hash is another"
        )
    return entry


def _entry(content: dict[str, Any]) -> LedgerEntry:
    fields = {name: value for name, value in content.items() if name not in ("at", "model")}
    at = datetime.fromisoformat(content["at"])
    return LedgerEntry(at=at, model_name=content["model"], **fields)


def hash_of(content: dict[str, Any]) -> str:
    """SHA-256 of an entry without its hash, as JSON with sorted keys and no spaces."""
    return hashlib.sha256(_canonical(content)).hexdigest()


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _plain(value: str | float | None) -> str | float | None:
    """What JSON can say: it knows no NaN and no infinity."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _who() -> str:
    """Who started the run of CI, else the user of this machine."""
    try:
        return os.environ.get("GITHUB_ACTOR") or getpass.getuser()
    except (ImportError, KeyError, OSError):  # a user without a name, as in a container
        return "unknown"
