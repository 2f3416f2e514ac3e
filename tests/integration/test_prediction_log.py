"""No prediction is lost without being counted, whatever happens to the service or the database."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from application.monitoring.recorder import WRITE_SECONDS
from infrastructure.storage.prediction_log import SqlPredictionLog
from tests import petals
from tests.postgresql import postgresql
from tests.served import serve
from tests.strength import TIMEOUT, example_row, metric, service_at

ROWS = 5  # of a request
SPOOLED = "ml_prediction_log_spooled_rows"
DROPPED = "ml_prediction_log_dropped_rows_total"
WRITE_TIME = 0.15  # seconds that counting and writing take on a busy machine
SLOWEST = 2.0  # seconds; SQLite waits for a lock for 10


@dataclass(frozen=True)
class Database:
    """The prediction log of a service.

    Attributes:
        model: name of the model that the service at another URL serves.
    """

    url: str
    model: str

    def rows(self) -> int:
        """Number of predicted rows."""
        with closing(SqlPredictionLog(self.url, self.model)) as log:
            return log.traffic(0.0).predictions

    def lacks(self, request_ids: Iterable[str]) -> list[str]:
        """Those of these requests that it does not have."""
        with closing(SqlPredictionLog(self.url, self.model)) as log:
            return [each for each in request_ids if log.find(each, 0) is None]


def name_at(url: str) -> str:
    """Name of the model that a service serves."""
    return str(httpx.get(f"{url}/health_check").json()["model_name"])


def wait_until(check: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + TIMEOUT
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def predict(client: httpx.Client, row: list[object], requests: int) -> list[str]:
    """Send requests that must all be answered; returns their IDs."""
    found = []
    for _ in range(requests):
        response = client.post("/predict", json=[row] * ROWS)
        assert response.status_code == 200, response.text
        found.append(response.json()["request_id"])
    return found


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the write lock of an SQLite database."""
    with closing(sqlite3.connect(file, isolation_level=None, timeout=30)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("COMMIT")


def predict_until(
    url: str, row: list[object], stop: threading.Event, answered: dict[str, float]
) -> None:
    """Send requests until the worker is killed; notes the time of each response by its ID."""
    while not stop.is_set():
        try:
            with httpx.Client(base_url=url) as client:
                while not stop.is_set():
                    request_id = predict(client, row, 1)[0]
                    answered[request_id] = time.time()
        except httpx.TransportError:
            time.sleep(0.01)


@pytest.mark.parametrize("is_locked", [False, True], ids=["works", "is locked"])
def test_kill_9_loses_at_most_the_predictions_of_the_stated_interval(
    exported_bento: Path, tmp_path: Path, is_locked: bool
) -> None:
    file = tmp_path / "predictions.db"
    answered: dict[str, float] = {}
    stop = threading.Event()
    with serve(exported_bento, tmp_path, workers=1) as url:
        service = service_at(url)
        assert service
        model, (worker,) = name_at(url), service.workers()
        load = threading.Thread(target=predict_until, args=(url, example_row(url), stop, answered))

        def kill() -> float:
            load.start()
            wait_until(lambda: len(answered) > 1000)
            worker.kill()
            return time.time()

        if is_locked:
            with locked(file):
                killed = kill()
                stop.set()
                load.join()
        else:
            killed = kill()
            stop.set()
            load.join()
        # BentoML starts another worker, which takes over what the killed one left
        kept = [i for i, at in answered.items() if at < killed - WRITE_SECONDS - WRITE_TIME]
        assert len(kept) > 50
        database = Database(f"sqlite:///{file}", model)
        wait_until(lambda: database.rows() >= ROWS * len(kept))
        assert not database.lacks(kept)
        assert database.rows() <= ROWS * (len(answered) + 1)  # none twice


@pytest.mark.parametrize(
    ("requests", "seconds"), [(200, 0.0), pytest.param(600, 60.0, marks=pytest.mark.nightly)]
)
def test_a_lock_delays_neither_predictions_nor_summary_nor_metrics_and_drops_nothing(
    exported_bento: Path, tmp_path: Path, requests: int, seconds: float
) -> None:
    with serve(exported_bento, tmp_path, workers=2) as url:
        row, model = example_row(url), name_at(url)
        with httpx.Client(base_url=url, timeout=TIMEOUT) as client:
            label = {
                "request_id": predict(client, row, 1)[0],
                "actual_class": petals.SPEC.classes[0],
            }
            assert client.post("/feedback", json=label).status_code == 200
            with locked(tmp_path / "predictions.db"):
                until = time.monotonic() + seconds
                predict(client, row, requests)
                wait_until(lambda: metric(url, SPOOLED) == requests * ROWS)
                for method, path, body, status in (
                    ("POST", "/predict", [row], 200),
                    ("POST", "/get_metrics_summary", {}, 200),
                    ("GET", "/metrics", None, 200),
                    ("GET", "/readyz", None, 200),
                    ("POST", "/feedback", label, 503),
                ):
                    start = time.monotonic()
                    response = client.request(method, path, json=body)
                    assert response.status_code == status, response.text
                    assert time.monotonic() - start < SLOWEST, path
                assert response.headers["retry-after"] == "1"
                assert "unavailable or catching up: retry later" in response.json()["error"]
                time.sleep(max(0.0, until - time.monotonic()))
            wait_until(lambda: metric(url, SPOOLED) == 0)
            wait_until(lambda: client.post("/feedback", json=label).status_code == 200)
            assert metric(url, DROPPED) == 0
        database = Database(f"sqlite:///{tmp_path}/predictions.db", model)
        wait_until(lambda: database.rows() == (requests + 1) * ROWS + 1)


def test_a_service_starts_works_and_stops_without_postgresql_which_gets_everything_later(
    exported_bento: Path, tmp_path: Path
) -> None:
    with postgresql() as server:
        server.stop()
        variables = {"PREDICTION_LOG_URL": server.url}
        with serve(exported_bento, tmp_path, workers=2, **variables) as url:
            row, database = example_row(url), Database(server.url, name_at(url))
            with httpx.Client(base_url=url, timeout=TIMEOUT) as client:
                ids = predict(client, row, 100)
                wait_until(lambda: metric(url, SPOOLED) == 100 * ROWS)
                for path in ("/feedback", "/get_metrics_summary"):
                    label = {"request_id": ids[0], "actual_class": petals.SPEC.classes[0]}
                    body = label if path == "/feedback" else {}
                    response = client.post(path, json=body)
                    assert response.status_code == 503, response.text
                    assert response.headers["retry-after"] == "1"
                ids += predict(client, row, 20)
        server.start()  # SIGTERM came before
        with serve(exported_bento, tmp_path, workers=2, **variables) as url:
            wait_until(lambda: database.rows() == 120 * ROWS)
            with httpx.Client(base_url=url, timeout=TIMEOUT) as client:
                server.stop()
                ids += predict(client, row, 50)
                server.start()
                ids += predict(client, row, 50)
                wait_until(lambda: database.rows() == 220 * ROWS)
                label = {"request_id": ids[-1], "actual_class": petals.SPEC.classes[0]}
                wait_until(lambda: client.post("/feedback", json=label).status_code == 200)
            assert not database.lacks(ids)
            wait_until(lambda: metric(url, SPOOLED) == 0)
            assert metric(url, DROPPED) == 0
