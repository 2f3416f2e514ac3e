"""The ledger: an append-only file of JSON lines, each with the hash of the previous one.

The chain shows which entry was changed, removed, inserted or moved. It cannot show that the tail
was cut off, or that somebody with write access rewrote the whole file. Therefore the tracking
server also keeps two hashes (`Promoter.note_ledger`): that of the first entry, which identifies the
ledger, and that of the last promotion. Somebody who can change both places can still forge both.
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
from tempfile import TemporaryFile
from typing import Any

from application.ports.ledger import LedgerEntry
from domain.errors import RegistryError
from shared.files import locked

FIRST = "0" * 64
LOCK_SECONDS = 60.0  # an entry takes milliseconds


@dataclass(frozen=True)
class FileLedger:
    """A ledger in a file, which is created with the first entry."""

    path: Path

    def append(
        self, event: str, model_name: str, version: str, **details: str | float | None
    ) -> LedgerEntry:
        """Add an entry and sync it to disk; concurrent processes take turns.

        If a crash left an incomplete last line, that line is removed from the file and kept in the
        details of the new entry, as ``cut``.

        Raises:
            RegistryError: the last entry is invalid, or the only line is incomplete.
            TimeoutError: another process held the file's lock for too long.
        """
        with locked(self._lock, LOCK_SECONDS):
            lines, incomplete = self._read_lines()
            if incomplete:
                details["cut"] = incomplete.decode(errors="replace")
            last = _parse(self.path, len(lines), lines[-1]) if lines else None
            content = {
                "number": last.number + 1 if last else 1,
                "at": datetime.now(UTC).isoformat(timespec="microseconds"),
                "who": _who(),
                "event": event,
                "model": model_name,
                "version": version,
                "details": {name: _json_value(value) for name, value in details.items()},
                "previous": last.hash if last else FIRST,
            }
            entry = {**content, "hash": hash_of(content)}
            with self.path.open("ab") as file:
                file.truncate(file.tell() - len(incomplete))
                file.write(_canonical(entry) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        return _entry(entry)

    def entries(self) -> list[LedgerEntry]:
        """All entries, oldest first; empty if there is no file.

        An incomplete last line is ignored: it is being written, or the next `append` removes it.
        If it is the only line, the file may be anything, so that is an error.

        Raises:
            RegistryError: an entry was changed, removed, inserted or moved, or is not one; the
                message has the line of the first such entry.
        """
        lines, _ = self._read_lines()
        entries: list[LedgerEntry] = []
        for number, line in enumerate(lines, 1):
            entry = _parse(self.path, number, line)
            previous = entries[-1].hash if entries else FIRST
            if (entry.number, entry.previous) != (number, previous):
                raise _damage(
                    self.path,
                    number,
                    f"entry {entry.number} does not follow the previous line: an entry was "
                    "changed, removed, inserted or moved here",
                )
            entries.append(entry)
        return entries

    def check(self) -> None:
        """Check that an entry could be added.

        Raises:
            RegistryError: the ledger is damaged, or its file or folder is not writable.
        """
        try:
            self.entries()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=self.path.parent):
                pass
            for file in (self.path, self._lock):
                if file.exists():
                    with file.open("ab"):
                        pass
        except OSError as error:
            raise RegistryError(
                f"the ledger {self.path} is not writable ({error.strerror}), and nothing was "
                "changed: make its file and folder writable, or set LEDGER to another path"
            ) from error

    @property
    def _lock(self) -> Path:
        return self.path.with_name(f".{self.path.name}.lock")

    def _read_lines(self) -> tuple[list[bytes], bytes]:
        """The complete lines, and what follows them without a line break."""
        content = self.path.read_bytes() if self.path.exists() else b""
        *lines, incomplete = content.split(b"\n")
        if incomplete and not lines:
            raise _damage(self.path, 1, "not a ledger entry")
        return lines, incomplete


def open_ledger(path: Path) -> FileLedger:
    """A ledger to which entries can be added; open it before the changes that it will record.

    Raises:
        RegistryError: the ledger is damaged or not writable.
    """
    ledger = FileLedger(path)
    ledger.check()
    return ledger


def _damage(path: Path, number: int, reason: str) -> RegistryError:
    return RegistryError(
        f"{path}, line {number}: {reason}; restore the file, or move it away, but keep it, to "
        "start a new ledger"
    )


def _parse(path: Path, number: int, line: bytes) -> LedgerEntry:
    try:
        content = json.loads(line)
        entry = _entry(content)
        claimed = content.pop("hash")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damage(path, number, "not a ledger entry") from error
    if hash_of(content) != claimed:
        reason = f"entry {entry.number} was changed: its hash does not match"
        raise _damage(path, number, reason)
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


def _json_value(value: str | float | None) -> str | float | None:
    """The value, or its text if it is NaN or infinite, which JSON does not have."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _who() -> str:
    """Who started the CI run, else the user of this machine."""
    try:
        return os.environ.get("GITHUB_ACTOR") or getpass.getuser()
    except (ImportError, KeyError, OSError):  # the user has no name, as in a container
        return "unknown"
