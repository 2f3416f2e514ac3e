"""A worker that is killed, and more requests than the workers can answer."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from infrastructure.storage.prediction_log import SqlPredictionLog
from shared.request_id import time_of
from tests.served import serve
from tests.strength import (
    JSON,
    LONGEST,
    Answer,
    Service,
    example_row,
    metric,
    read_answer,
    request_of,
    service_at,
)

CONNECTIONS = 8
REQUESTS = 20  # of a connection, then there is a new one
PAUSE = 0.02  # seconds between two requests of a connection
CROWD = 200
LARGE = 2000  # rows; such a request waits for its turn
HERD, ASKED = 128, 64  # clients that connect at once, requests of each


async def _eventually(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONGEST):
        while not check():
            await asyncio.sleep(PAUSE)


async def _ask_steadily(
    port: int, request: bytes, found: Counter[int], done: asyncio.Event
) -> None:
    """Count the status of each answer, and as 0 a connection that ended without one."""
    while not done.is_set():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for _ in range(REQUESTS):
                writer.write(request)
                found[(await asyncio.wait_for(read_answer(reader), LONGEST)).status] += 1
                await asyncio.sleep(PAUSE)
        except (ConnectionError, asyncio.IncompleteReadError):
            found[0] += 1
        finally:
            writer.close()


async def _kill_one(service: Service, request: bytes) -> tuple[Counter[int], int]:
    """What was answered while a worker was killed and another came; how many asked the first."""
    found: Counter[int] = Counter()
    done = asyncio.Event()
    load = [
        asyncio.create_task(_ask_steadily(service.port, request, found, done))
        for _ in range(CONNECTIONS)
    ]
    await _eventually(lambda: found[200] > 2 * CONNECTIONS)
    victim = max(service.workers(), key=service.connections)
    victim.suspend()  # so that nobody comes or goes while they are counted
    held = service.connections(victim)
    victim.kill()
    await _eventually(lambda: victim not in service.workers())
    before = found[200]
    await _eventually(lambda: found[200] > before + 10 * CONNECTIONS)  # the others go on
    assert len(service.workers()) == 1
    await _eventually(lambda: any(map(service.connections, service.workers()[1:])))
    before = found[200]
    await _eventually(lambda: found[200] > before + 10 * CONNECTIONS)
    done.set()
    await asyncio.gather(*load)
    return found, held


def test_a_killed_worker_comes_back_and_the_other_goes_on(
    exported_bento: Path, tmp_path: Path
) -> None:
    with serve(exported_bento, tmp_path, workers=2) as url:
        service = service_at(url)
        assert service
        row = json.dumps([example_row(url)]).encode()
        found, held = asyncio.run(_kill_one(service, request_of("/predict", row, JSON, keep=True)))
        assert set(found) == {200, 0}
        assert found[0] <= held

        def counted() -> float:
            return metric(url, "ml_predictions_total")

        def logged() -> int:
            name = httpx.get(f"{url}/health_check").json()["model_name"]
            log = SqlPredictionLog(f"sqlite:///{tmp_path / 'predictions.db'}", name)
            try:
                return log.traffic(0.0).predictions
            finally:
                log.close()

        # what the killed worker had answered last was in no batch yet
        asyncio.run(_eventually(lambda: found[200] * 0.9 < logged() <= counted()))
        assert counted() <= found[200] + held
        before = counted(), logged()
        for _ in range(50):
            assert httpx.post(f"{url}/predict", content=row).status_code == 200
        asyncio.run(_eventually(lambda: (counted(), logged()) == (before[0] + 50, before[1] + 50)))


async def _crowd(port: int, request: bytes) -> list[Answer]:
    """The answers to as many requests at once, each on its connection."""

    async def one() -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answer = await asyncio.wait_for(read_answer(reader), LONGEST)
        writer.close()
        return answer

    return list(await asyncio.gather(*(one() for _ in range(CROWD))))


def test_too_many_requests_are_sent_away_and_the_next_ones_are_answered(
    exported_bento: Path, tmp_path: Path
) -> None:
    environment = {"SERVING_QUEUE": "2", "SERVING_DEADLINE_SECONDS": "5"}
    with serve(exported_bento, tmp_path, workers=1, **environment) as url:
        port, row = httpx.URL(url).port or 80, example_row(url)
        large = request_of("/predict", json.dumps([row] * LARGE).encode(), JSON)
        small = request_of("/predict", json.dumps([row]).encode(), JSON)
        answers = asyncio.run(_crowd(port, large))
        statuses = Counter(answer.status for answer in answers)
        assert set(statuses) <= {200, 503, 504}
        assert statuses[200] >= 3 and statuses[503] > 0
        for answer in answers:
            if answer.status == 503:
                assert int(answer.headers["retry-after"]) >= 1
            elif answer.status == 200:
                assert len(json.loads(answer.body)["predictions"]) == LARGE
        for request in (small, large):
            with httpx.Client(base_url=url) as client:
                body = request.partition(b"\r\n\r\n")[2]
                assert client.post("/predict", content=body).status_code == 200
        assert {answer.status for answer in asyncio.run(_crowd(port, small))} == {200}


async def _herd(service: Service, request: bytes) -> list[list[float | None]]:
    """When each request of each client was made, all of whom are there before the worker looks."""
    (worker,) = service.workers()
    worker.suspend()
    clients = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(HERD)]
    for _, writer in clients:
        writer.write(request * ASKED)
        await writer.drain()
    worker.resume()
    made = []
    for reader, writer in clients:
        answers = [await asyncio.wait_for(read_answer(reader), LONGEST) for _ in range(ASKED)]
        made.append([time_of(answer.headers["x-request-id"]) for answer in answers])
        writer.close()
    return made


@pytest.mark.alone
def test_clients_that_connect_at_once_are_all_answered_soon(
    exported_bento: Path, tmp_path: Path
) -> None:
    with serve(exported_bento, tmp_path, workers=1) as url:
        service = service_at(url)
        assert service
        body = json.dumps([example_row(url)]).encode()
        made = np.array(asyncio.run(_herd(service, request_of("/predict", body, JSON, keep=True))))
    before = np.count_nonzero(made < made[:, 0].max())
    assert before < HERD * ASKED / 4, f"{before} answers before the last client had its first"
