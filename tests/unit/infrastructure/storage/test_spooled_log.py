"""Writing through a database that is locked, down, full or broken, without losing predictions."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from application.ports.prediction_log import PredictionBatch
from domain.errors import PredictionLogError
from infrastructure.storage import prediction_log, spooled_log
from infrastructure.storage.prediction_log import SqlPredictionLog
from infrastructure.storage.spool import SpoolFolder, encode
from infrastructure.storage.spooled_log import SpooledLog
from tests.fakes import SETOSA, FakeMetrics, batch_of, logged_prediction
from tests.postgresql import Server, postgresql

PATIENCE = 30.0
NOW = time.time()
Open = Callable[..., SpooledLog]


def batch(number: int, rows: int = 1) -> PredictionBatch:
    """A batch of one request, named by the number; later numbers are later."""
    at = NOW + number / 1000
    entries = [logged_prediction(f"r{number}", SETOSA, row=row, at=at) for row in range(rows)]
    return batch_of(*entries)


def ids_in(url: str) -> list[str]:
    """Request IDs in the database, in the order in which they were written."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        query = "SELECT request_ids FROM prediction_batches ORDER BY id"
        found = connection.exec_driver_sql(query).scalars().all()
    engine.dispose()
    return [request_id for request_ids in found for request_id in request_ids.split()]


def names(*numbers: int) -> list[str]:
    """Request IDs of these batches."""
    return [f"r{number}" for number in numbers]


def wait_until_written(log: SpooledLog) -> None:
    """Wait until the database has everything."""
    deadline = time.monotonic() + PATIENCE
    while not log.add():
        assert time.monotonic() < deadline, "the log did not catch up"
        time.sleep(0.02)


@pytest.fixture(name="metrics")
def _metrics() -> FakeMetrics:
    return FakeMetrics()


@pytest.fixture(name="url")
def _url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/log.db"


@pytest.fixture(name="quick", autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter waits."""
    monkeypatch.setattr(spooled_log, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(spooled_log, "TAKE_OVER_SECONDS", 0.2)
    monkeypatch.setattr(spooled_log, "CLOSE_SECONDS", 1.0)


@pytest.fixture(name="open_log")
def _open_log(tmp_path: Path, metrics: FakeMetrics) -> Iterator[Open]:
    opened: list[tuple[SpooledLog, SqlPredictionLog]] = []

    def open_log(
        url: str, max_bytes: int = 10**7, folder: Path = tmp_path / "spool", **service: str
    ) -> SpooledLog:
        store = SqlPredictionLog(url, "petals", **service)
        opened.append((SpooledLog(store, metrics, SpoolFolder(folder, max_bytes)), store))
        return opened[-1][0]

    yield open_log
    for log, store in opened:
        log.close()
        store.close()


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Hold the write lock of an SQLite database."""
    file = url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file, isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("COMMIT")


def test_predictions_go_straight_to_a_database_that_works(
    open_log: Open,
    url: str,
    tmp_path: Path,
    metrics: FakeMetrics,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spooled_log, "PATIENCE", PATIENCE)
    log = open_log(url)
    assert log.add(batch(1), batch(2)) and log.add(batch(3)) and log.add()
    assert ids_in(url) == names(1, 2, 3)
    assert not (tmp_path / "spool").exists()
    assert not metrics.dropped and not metrics.errors


def test_a_locked_database_delays_nobody_and_gets_everything_in_order_afterwards(
    open_log: Open, url: str, metrics: FakeMetrics
) -> None:
    log = open_log(url)
    log.add(batch(0))
    wait_until_written(log)
    with locked(url):
        start = time.monotonic()
        for number in range(1, 50):
            assert not log.add(batch(number, rows=3))
        assert time.monotonic() - start < 2  # SQLite itself waits for 10 s
        assert metrics.spooled == 49 * 3
    wait_until_written(log)
    log.add(batch(50))
    wait_until_written(log)
    assert ids_in(url) == names(*range(51))
    assert metrics.spooled == 0 and not metrics.dropped


def test_a_write_that_succeeds_after_it_was_spooled_is_not_repeated(
    open_log: Open, url: str
) -> None:
    log = open_log(url)
    log.add(batch(0))
    wait_until_written(log)
    with locked(url):
        assert not log.add(batch(1))  # SQLite writes it as soon as the lock is released
    wait_until_written(log)
    assert ids_in(url) == names(0, 1)


def test_what_waits_at_the_end_is_written_by_the_next_process(
    open_log: Open, url: str, metrics: FakeMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_log, "_BUSY_SECONDS", 0)
    log = open_log(url)
    with locked(url):
        log.add(batch(1))
        log.add(batch(2, rows=2))
        log.close()
        assert metrics.spooled == 3
        again = open_log(url)
        again.add(batch(3))
    wait_until_written(again)
    assert ids_in(url) == names(1, 2, 3)
    assert metrics.spooled == 0


def test_a_crash_after_a_record_was_written_and_before_it_was_removed_repeats_nothing(
    open_log: Open, url: str, tmp_path: Path
) -> None:
    spools = SpoolFolder(tmp_path / "spool", 10**7)
    with closing(SqlPredictionLog(url, "petals")) as store:
        for number in (1, 2, 3):
            spools.append(number, 1, encode([batch(number)]))
            if number < 3:
                store.add(batch(number), writer=spools.name, number=number)
    spools.close()  # as the kernel does it for a killed process
    wait_until(lambda log=open_log(url): log.add() and len(ids_in(url)) == 3)
    assert ids_in(url) == names(1, 2, 3)


def wait_until(check: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_prediction_keeps_its_version_if_that_of_another_version_writes_it(
    open_log: Open, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_log, "_BUSY_SECONDS", 0)
    first = open_log(url, version="1", environment="staging")
    with locked(url):
        first.add(batch(1))
        first.close()
    second = open_log(url, version="2")
    wait_until(lambda: second.add() and len(ids_in(url)) == 1)
    second.add(batch(2))
    wait_until_written(second)
    with closing(SqlPredictionLog(url, "petals", version="3")) as log:
        versions = [found and found.version for found in (log.find("r1", 0), log.find("r2", 0))]
    assert versions == ["1", "2"]


def test_the_spool_of_a_process_that_ends_later_is_taken_over_by_one_that_lives(
    open_log: Open, url: str, tmp_path: Path
) -> None:
    other = SpoolFolder(tmp_path / "spool", 10**7)
    other.append(1, 1, encode([batch(1)]))
    log = open_log(url)
    log.add(batch(2))
    wait_until_written(log)
    assert ids_in(url) == names(2)
    other.close()
    wait_until(lambda: log.add() and ids_in(url) == names(2, 1))


def test_a_spool_of_limited_size_then_counts_what_is_dropped(
    open_log: Open, url: str, metrics: FakeMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_log, "_BUSY_SECONDS", 0)
    log = open_log(url, max_bytes=4 * len(encode([batch(1)])))
    with locked(url):
        for number in range(10):
            log.add(batch(number))
        assert metrics.spooled and metrics.spooled + metrics.dropped == 10
        kept = metrics.spooled
        assert metrics.errors["log_overflow"] == metrics.dropped
    wait_until_written(log)
    assert ids_in(url) == names(*range(kept))
    log.add(batch(10))
    wait_until_written(log)
    assert ids_in(url)[-1] == "r10"


def test_without_a_place_for_the_spool_a_slow_write_is_not_counted_as_dropped(
    open_log: Open, url: str, metrics: FakeMetrics, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    log = open_log(url, folder=tmp_path / "file" / "spool")
    log.add(batch(0))
    wait_until_written(log)
    with locked(url):
        log.add(batch(1))
        log.add(batch(2))
        assert metrics.dropped == 1  # batch 2; batch 1 is being written
    wait_until_written(log)
    assert ids_in(url) == names(0, 1)
    assert metrics.dropped == 1 and metrics.errors == {"log_overflow": 1}


@pytest.mark.parametrize("content", [b"garbage", b"\x91\x80", b"\x91\x81\xa5other\x01"])
def test_a_record_that_cannot_be_read_is_counted_and_takes_no_other_with_it(
    open_log: Open, url: str, tmp_path: Path, metrics: FakeMetrics, content: bytes
) -> None:
    spools = SpoolFolder(tmp_path / "spool", 10**7)
    spools.append(1, 5, content)
    spools.append(2, 1, encode([batch(2)]))
    spools.close()
    log = open_log(url)
    wait_until(lambda: log.add() and ids_in(url) == names(2))
    assert metrics.dropped == 5 and metrics.errors == {"log_failure": 1}


def test_a_batch_that_the_database_refuses_is_reported_to_the_caller(
    open_log: Open, url: str
) -> None:
    log = open_log(url)
    bad = batch_of(logged_prediction("a\ud800", SETOSA, at=NOW))
    with pytest.raises(UnicodeEncodeError):
        log.add(bad)
    log.add(batch(1))
    wait_until_written(log)
    assert ids_in(url) == names(1)


def test_a_spool_that_cannot_be_opened_keeps_no_other_waiting(
    open_log: Open, url: str, tmp_path: Path
) -> None:
    (tmp_path / "spool" / "0.spool").mkdir(parents=True)  # root could open any file
    spools = SpoolFolder(tmp_path / "spool", 10**7)
    spools.append(1, 1, encode([batch(1)]))
    spools.close()
    log = open_log(url)
    wait_until(lambda: log.add() and ids_in(url) == names(1))


# a full disk


@pytest.fixture(name="small_disk")
def _small_disk() -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = Path(tempfile.mkdtemp())
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, check=False).returncode:
        folder.rmdir()
        pytest.skip("this process may not mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


def test_a_full_disk_is_survived_and_what_does_not_fit_is_counted(
    open_log: Open, small_disk: Path, metrics: FakeMetrics
) -> None:
    url = f"sqlite:///{small_disk}/log.db"
    log = open_log(url, folder=small_disk / "spool")
    log.add(batch(0))
    with (small_disk / "other").open("wb") as other:
        while os.statvfs(small_disk).f_bavail > 10:  # 40 KiB are left
            other.write(b"x" * 4096)
            other.flush()
    sent = 1
    while not metrics.dropped:
        log.add(batch(sent, rows=20))
        sent += 1
        assert sent < 1000
    for _ in range(5):  # nothing raises
        log.add(batch(sent, rows=20))
        sent += 1
    (small_disk / "other").unlink()
    wait_until_written(log)
    assert len(ids_in(url)) == sent - metrics.dropped / 20
    log.add(batch(sent))
    wait_until_written(log)
    assert ids_in(url)[-1] == f"r{sent}"


# PostgreSQL


@pytest.fixture(scope="module", name="server")
def _server() -> Iterator[Server]:
    with postgresql() as server:
        yield server


def test_a_server_that_is_down_at_the_start_gets_everything_once_it_runs(
    open_log: Open, server: Server, metrics: FakeMetrics
) -> None:
    server.stop()
    log = open_log(server.url)
    start = time.monotonic()
    for number in range(20):
        assert not log.add(batch(number))
    assert time.monotonic() - start < 2
    server.start()
    wait_until_written(log)
    assert ids_in(server.url)[-20:] == names(*range(20))
    assert not metrics.dropped and metrics.spooled == 0


def test_a_restarted_server_gets_everything_in_order_and_once(
    open_log: Open, server: Server, metrics: FakeMetrics
) -> None:
    log = open_log(server.url)
    log.add(batch(1000))
    wait_until_written(log)
    stopped = threading.Thread(target=server.stop)
    stopped.start()
    for number in range(1001, 1100):
        log.add(batch(number))
        time.sleep(0.005)
    stopped.join()
    log.add(batch(1100))
    assert metrics.spooled
    server.start()
    wait_until_written(log)
    log.add(batch(1101))
    wait_until_written(log)
    assert ids_in(server.url)[-102:] == names(*range(1000, 1102))
    assert not metrics.dropped


def test_connections_that_a_restart_ended_are_replaced(server: Server) -> None:
    with closing(SqlPredictionLog(server.url, "petals")) as log:
        log.add(batch(2000))
        server.stop()
        with pytest.raises(PredictionLogError, match="busy or unavailable: retry later"):
            log.find("r2000", 0)
        server.start()
        assert log.find("r2000", 0)
        server.stop()
        server.start()
        assert log.find("r2000", 0)


def test_a_table_that_is_locked_in_a_server_delays_nobody(open_log: Open, server: Server) -> None:
    log = open_log(server.url)
    log.add(batch(3000))
    wait_until_written(log)
    other = sa.create_engine(server.url)
    with other.begin() as connection:
        connection.exec_driver_sql("LOCK TABLE prediction_batches")
        start = time.monotonic()
        for number in range(3001, 3011):
            assert not log.add(batch(number))
        assert time.monotonic() - start < 2
    other.dispose()
    wait_until_written(log)
    assert ids_in(server.url)[-11:] == names(*range(3000, 3011))
