"""The files in which predictions wait: torn records, locks between processes, and limits."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from infrastructure.storage.spool import Spool, SpoolFolder, decode, encode
from shared.paths import ROOT
from tests.fakes import SETOSA, VIRGINICA, batch_of, logged_prediction

RECORDS = [(1, 3, b"first"), (2, 1, b""), (3, 2, b"third" * 1000)]


def filled(folder: Path, name: str = "a") -> Spool:
    """A spool with three records."""
    spool = Spool.create(folder, name)
    for record in RECORDS:
        spool.append(*record)
    return spool


def drained(spool: Spool | None) -> list[tuple[int, int, bytes]]:
    """Remove and return all records."""
    assert spool
    found = []
    while record := spool.first():
        found.append(record)
        spool.remove_first()
    return found


def test_records_come_back_in_order_and_leave_an_empty_file(tmp_path: Path) -> None:
    spool = filled(tmp_path / "new")
    assert spool.rows == 6
    assert drained(spool) == RECORDS
    assert spool.rows == 0 and spool.first() is None
    assert (tmp_path / "new/a.spool").stat().st_size == 16
    spool.append(4, 1, b"again")
    assert drained(spool) == [(4, 1, b"again")]
    spool.close()
    assert not list((tmp_path / "new").iterdir())


def test_only_the_owner_can_read_a_spool(tmp_path: Path) -> None:
    filled(tmp_path).close()
    assert (tmp_path / "a.spool").stat().st_mode & 0o777 == 0o600


def test_what_waits_survives_its_process_and_is_taken_over_once(tmp_path: Path) -> None:
    spool = filled(tmp_path)
    spool.remove_first()
    assert Spool.take_over(tmp_path / "a.spool") is None  # it is in use
    spool.close()
    again = Spool.take_over(tmp_path / "a.spool")
    assert Spool.take_over(tmp_path / "a.spool") is None
    assert drained(again) == RECORDS  # the log knows by their numbers which ones it has
    assert again
    again.close()
    assert Spool.take_over(tmp_path / "a.spool") is None


def test_a_record_that_was_not_written_completely_is_ignored_wherever_it_ends(
    tmp_path: Path,
) -> None:
    filled(tmp_path).close()
    path = tmp_path / "a.spool"
    content = path.read_bytes()
    end = len(content) - len(RECORDS[2][2]) - 24  # of the second record
    for size in (end, end + 1, end + 23, end + 24, len(content) - 1):
        path.write_bytes(content[:size])
        spool = Spool.take_over(path)
        assert spool and spool.rows == 4
        assert drained(spool) == RECORDS[:2]
        spool.close()
        assert not path.exists()


@pytest.mark.parametrize("place", [16, 20, 30, 38, 42])
def test_a_damaged_record_and_those_after_it_are_not_read(tmp_path: Path, place: int) -> None:
    filled(tmp_path).close()
    path = tmp_path / "a.spool"
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    assert not drained(Spool.take_over(path))


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The kernel refuses to write beyond this size, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_record_that_does_not_fit_onto_the_disk_leaves_the_others_as_they_are(
    tmp_path: Path,
) -> None:
    spool = filled(tmp_path)
    size = (tmp_path / "a.spool").stat().st_size
    with files_of_at_most(size + 100), pytest.raises(OSError):
        spool.append(4, 7, b"x" * 200)
    assert spool.rows == 6 and (tmp_path / "a.spool").stat().st_size == size
    spool.append(5, 1, b"fits again")
    assert drained(spool) == [*RECORDS, (5, 1, b"fits again")]


def test_a_spool_that_cannot_be_created_leaves_nothing(tmp_path: Path) -> None:
    with files_of_at_most(4), pytest.raises(OSError):
        Spool.create(tmp_path, "a")
    assert not list(tmp_path.iterdir())


def test_a_folder_has_a_largest_size_over_all_processes(tmp_path: Path) -> None:
    other = filled(tmp_path)
    size = (tmp_path / "a.spool").stat().st_size
    folder = SpoolFolder(tmp_path, size + 150)
    folder.append(1, 5, b"x" * 100)
    with pytest.raises(OSError, match="its limit"):
        folder.append(2, 1, b"x" * 100)
    assert folder.rows == 5 and folder.totals()[0] == 11
    other.close()
    folder.close()


def test_spools_of_ended_processes_are_taken_over_before_the_own_oldest_first(
    tmp_path: Path,
) -> None:
    for name in ("2", "1", "3"):
        filled(tmp_path, name).close()
    used = filled(tmp_path, "0")
    folder = SpoolFolder(tmp_path, 10**6)
    folder.append(1, 1, b"own")
    folder.take_over()
    folder.take_over()
    assert [spool.name for spool in folder.spools()] == ["1", "2", "3", folder.name]
    assert folder.rows == 19 and folder.totals()[0] == 25
    for spool in folder.spools():
        drained(spool)
        folder.release(spool)
    assert [spool.name for spool in folder.spools()] == [folder.name]
    folder.close()
    assert [path.name for path in tmp_path.iterdir()] == ["0.spool"]
    used.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from infrastructure.storage.spool import SpoolFolder
folder = SpoolFolder(Path(sys.argv[1]), 10**6)
folder.append(1, 2, b"kept")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_9_loses_nothing_that_was_appended(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=60).returncode == -9
    folder = SpoolFolder(tmp_path, 10**6)
    folder.take_over()
    (spool,) = folder.spools()
    assert drained(spool) == [(1, 2, b"kept")]


def test_files_of_another_format_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "b.spool").write_bytes(b"spool 2\n" + b"\1" * 50)
    (tmp_path / "c.spool").touch()  # its process was killed before the first record
    folder = SpoolFolder(tmp_path, 10**6)
    folder.take_over()
    for spool in folder.spools():
        folder.release(spool)
    assert os.listdir(tmp_path) == ["b.spool"]


def test_batches_come_back_bit_by_bit() -> None:
    rows = [
        logged_prediction("r1", SETOSA, at=0.1),
        logged_prediction("r1", VIRGINICA, row=1, at=0.1),
    ]
    batches = [batch_of(*rows, ids={1: "訂單"}), batch_of(logged_prediction("r2", SETOSA))]
    for expected, found in zip(batches, decode(encode(batches)), strict=True):
        for field in fields(expected):
            value, other = getattr(expected, field.name), getattr(found, field.name)
            if isinstance(value, np.ndarray):
                assert (value.dtype, value.shape) == (other.dtype, other.shape)
                assert value.tobytes() == other.tobytes()
            else:
                assert list(value or ()) == list(other or ())
