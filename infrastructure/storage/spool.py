"""Files in which predictions wait while the prediction log cannot take them."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from application.ports.prediction_log import PredictionBatch
from shared.request_id import new_request_id

_HEAD = struct.Struct("<8sQ")  # of a file: its format, and the rows that wait in it
_FORMAT = b"spool 1\n"
_RECORD = struct.Struct(
    "<IIQQ"
)  # checksum of all that follows, length of the content, number, rows
_FILES = "*.spool"
_ARRAY = 1  # code of an array in MessagePack


class Spool:
    """Numbered records in an append-only file, which its process keeps locked.

    What was appended survives the process. One thread may append while another one removes.

    Attributes:
        name: unique name of the file; the numbers of its records are not used again.
        rows: rows that wait.
    """

    def __init__(self, path: Path, file: int) -> None:
        self.name, self.rows = path.stem, 0
        self._path, self._file = path, file
        self._start = self._end = _HEAD.size
        self._lock = threading.Lock()

    @classmethod
    def create(cls, folder: Path, name: str) -> Spool:
        """An empty spool. Others see the file only once it is locked."""
        folder.mkdir(parents=True, exist_ok=True)
        path, draft = folder / f"{name}.spool", folder / f"{name}.new"
        spool = cls(path, os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            fcntl.flock(spool._file, fcntl.LOCK_EX)
            spool._write_head()
            os.rename(draft, path)
        except OSError:
            draft.unlink(missing_ok=True)
            os.close(spool._file)
            raise
        return spool

    @classmethod
    def take_over(cls, path: Path) -> Spool | None:
        """The spool of a process that has ended.

        None if its process lives, or if the file is gone or has the format of another version. A
        record that is incomplete, since its process was killed meanwhile, is ignored.
        """
        try:
            spool = cls(path, os.open(path, os.O_RDWR))
        except OSError:  # it is gone, or belongs to another user
            return None
        try:
            fcntl.flock(spool._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(spool._file)
            return None
        if os.pread(spool._file, len(_FORMAT), 0) not in (_FORMAT, b""):
            os.close(spool._file)
            return None
        while record := spool._read(spool._end):
            _, rows, content = record
            spool._end += _RECORD.size + len(content)
            spool.rows += rows
        return spool

    def append(self, number: int, rows: int, content: bytes) -> None:
        """Append a record.

        Raises:
            OSError: the disk is full, or the file cannot be written; it is as before.
        """
        facts = _RECORD.pack(0, len(content), number, rows)[4:]
        record = struct.pack("<I", zlib.crc32(content, zlib.crc32(facts))) + facts + content
        with self._lock:
            try:
                self._write(record, self._end)
            except OSError:
                os.ftruncate(self._file, self._end)
                raise
            self._end += len(record)
            self.rows += rows
            self._write_head()

    def first(self) -> tuple[int, int, bytes] | None:
        """Number, rows and content of the oldest record; None without one."""
        return self._read(self._start) if self.rows else None

    def remove_first(self) -> None:
        """Remove the oldest record; the file shrinks once it has no more."""
        record = self.first()
        if record:
            with self._lock:
                self._start += _RECORD.size + len(record[2])
                self.rows -= record[1]
                if self._start == self._end:
                    os.ftruncate(self._file, _HEAD.size)
                    self._start = self._end = _HEAD.size
                self._write_head()

    def close(self) -> None:
        """Leave the file for another process if rows wait; else remove it."""
        if not self.rows:
            self._path.unlink(missing_ok=True)
        os.close(self._file)

    def _write_head(self) -> None:
        self._write(_HEAD.pack(_FORMAT, self.rows), 0)

    def _write(self, content: bytes, position: int) -> None:
        if os.pwrite(self._file, content, position) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _read(self, position: int) -> tuple[int, int, bytes] | None:
        head = os.pread(self._file, _RECORD.size, position)
        if len(head) < _RECORD.size:
            return None
        checksum, length, number, rows = _RECORD.unpack(head)
        if length > os.fstat(self._file).st_size:
            return None
        content = os.pread(self._file, length, position + _RECORD.size)
        if zlib.crc32(content, zlib.crc32(head[4:])) != checksum:
            return None
        return number, rows, content


class SpoolFolder:
    """The spools of a service: that of this process, created when first needed, and others.

    Args:
        max_bytes: largest size of all files in the folder.

    Attributes:
        name: of the spool of this process.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.name = new_request_id()  # begins with the time
        self._folder, self._max_bytes = folder, max_bytes
        self._spools: list[Spool] = []
        self._own: Spool | None = None

    @property
    def rows(self) -> int:
        """Rows that wait in the spools of this process."""
        return sum(spool.rows for spool in tuple(self._spools))

    def spools(self) -> list[Spool]:
        """The spools that this process empties: first those taken over, then its own."""
        return sorted(self._spools, key=lambda spool: spool is self._own)

    def append(self, number: int, rows: int, content: bytes) -> None:
        """Append a record to the spool of this process.

        Raises:
            OSError: the folder is full, or the file cannot be written.
        """
        if self.totals()[1] + len(content) > self._max_bytes:
            raise OSError(errno.EDQUOT, f"{self._folder} has {self._max_bytes} bytes, its limit")
        if not self._own:
            self._own = Spool.create(self._folder, self.name)
            self._spools.append(self._own)
        self._own.append(number, rows, content)

    def take_over(self) -> None:
        """Take over the spools of processes that have ended, oldest first."""
        known = {spool.name for spool in self._spools}
        for path in sorted(self._folder.glob(_FILES)):
            spool = None if path.stem in known else Spool.take_over(path)
            if spool:
                self._spools.append(spool)

    def release(self, spool: Spool) -> None:
        """Remove a spool that is empty, unless it is that of this process."""
        if spool is not self._own and not spool.rows:
            self._spools.remove(spool)
            spool.close()

    def totals(self) -> tuple[int, int]:
        """Rows and bytes in the spools of all processes."""
        rows = size = 0
        for path in self._folder.glob(_FILES):
            with suppress(OSError, struct.error), path.open("rb") as file:
                rows += _HEAD.unpack(file.read(_HEAD.size))[1]
                size += os.fstat(file.fileno()).st_size
        return rows, size

    def close(self) -> None:
        """Leave the rows that wait for other processes."""
        for spool in self._spools:
            spool.close()


def encode(batches: Sequence[PredictionBatch]) -> bytes:
    """Batches as MessagePack."""
    return msgspec.msgpack.encode(batches, enc_hook=_encode_array)


def decode(content: bytes) -> list[PredictionBatch]:
    """Batches from `encode`.

    Raises:
        TypeError: they have other fields: another version of this project wrote them.
    """
    return [PredictionBatch(**fields) for fields in _DECODER.decode(content)]


def _encode_array(array: Any) -> msgspec.msgpack.Ext:
    parts = (array.dtype.str, array.shape, np.ascontiguousarray(array).tobytes())
    return msgspec.msgpack.Ext(_ARRAY, msgspec.msgpack.encode(parts))


def _decode_array(_code: int, content: memoryview) -> np.ndarray:
    kind, shape, values = msgspec.msgpack.decode(content)
    return np.frombuffer(values, kind).reshape(shape)


_DECODER = msgspec.msgpack.Decoder(ext_hook=_decode_array)
