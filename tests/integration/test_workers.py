"""A killed worker, and more requests than the workers can handle."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest

from infrastructure.storage.prediction_log import SqlPredictionLog
from shared.request_id import time_of
from tests import petals
from tests.served import serve
from tests.strength import (
    JSON,
    TIMEOUT,
    Response,
    Service,
    example_row,
    metric,
    read_response,
    request_of,
    service_at,
)

CONNECTIONS = 8
REQUESTS = 20  # per connection
PAUSE = 0.02  # seconds between two requests on a connection
CROWD = 200
LARGE = 2000  # rows; such a request is queued
HERD, BURST = 128, 64  # clients that connect at once, requests of each
LABELS = 40


async def _eventually(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not check():
            await asyncio.sleep(PAUSE)


async def _send_steadily(
    port: int, request: bytes, found: Counter[int], done: asyncio.Event
) -> None:
    """Count responses by status; 0 is a connection that ended without a response."""
    while not done.is_set():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for _ in range(REQUESTS):
                writer.write(request)
                found[(await asyncio.wait_for(read_response(reader), TIMEOUT)).status] += 1
                await asyncio.sleep(PAUSE)
        except (ConnectionError, asyncio.IncompleteReadError):
            found[0] += 1
        finally:
            writer.close()


async def _kill_one(service: Service, request: bytes) -> tuple[Counter[int], int]:
    """Kill a worker under load; returns responses by status and the connections it had."""
    found: Counter[int] = Counter()
    done = asyncio.Event()
    load = [
        asyncio.create_task(_send_steadily(service.port, request, found, done))
        for _ in range(CONNECTIONS)
    ]
    await _eventually(lambda: found[200] > 2 * CONNECTIONS)
    victim = max(service.workers(), key=service.connections)
    victim.suspend()  # so that connections do not change while they are counted
    held = service.connections(victim)
    victim.kill()
    await _eventually(lambda: victim not in service.workers())
    before = found[200]
    await _eventually(lambda: found[200] > before + 10 * CONNECTIONS)  # the other one continues
    assert len(service.workers()) == 1
    await _eventually(lambda: any(map(service.connections, service.workers()[1:])))
    before = found[200]
    await _eventually(lambda: found[200] > before + 10 * CONNECTIONS)
    done.set()
    await asyncio.gather(*load)
    return found, held


def test_a_killed_worker_is_replaced_while_the_other_continues(
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

        # the last predictions of the killed worker were not yet written
        asyncio.run(_eventually(lambda: found[200] * 0.9 < logged() <= counted()))
        assert counted() <= found[200] + held
        before = counted(), logged()
        for _ in range(50):
            assert httpx.post(f"{url}/predict", content=row).status_code == 200
        asyncio.run(_eventually(lambda: (counted(), logged()) == (before[0] + 50, before[1] + 50)))


def test_feedback_by_an_id_labels_the_latest_prediction_whichever_worker_made_it(
    exported_bento: Path, tmp_path: Path
) -> None:
    with ExitStack() as opened:
        url = opened.enter_context(serve(exported_bento, tmp_path, workers=2))
        service = service_at(url)
        assert service
        names = httpx.get(f"{url}/docs.json").json()["paths"]["/predict_json"]["post"]
        schema = names["requestBody"]["content"]["application/json"]["schema"]
        clients = _clients_of_each_worker(service, opened)

        def predict(client: httpx.Client, row_id: str) -> str:
            row = {**schema["example"], "id": row_id}
            return str(client.post("/predict_json", json=row).json()["request_id"])

        for number in range(LABELS):
            older, newer = clients if number % 2 else clients[::-1]
            predict(older, f"order-{number}")
            time.sleep(0.15 if number % 4 < 2 else 0.0)  # the older row is written, or not yet
            latest = predict(newer, f"order-{number}")
            label = {"id": f"order-{number}", "actual_class": petals.SPEC.classes[0]}
            found = older.post("/feedback", json=label).json()
            assert (found["request_id"], found["joined"]) == (latest, True), number


def _clients_of_each_worker(service: Service, opened: ExitStack) -> list[httpx.Client]:
    """One client with an open connection to each of two workers."""
    found: dict[int, httpx.Client] = {}
    while len(found) < 2:
        client = opened.enter_context(httpx.Client(base_url=service.url))
        before = [service.connections(worker) for worker in service.workers()]
        client.get("/health_check")
        after = [service.connections(worker) for worker in service.workers()]
        (worker,) = np.flatnonzero(np.subtract(after, before)).tolist()
        found.setdefault(worker, client)
    return list(found.values())


async def _crowd(port: int, request: bytes) -> list[Response]:
    """Responses to many concurrent requests, each on its own connection."""

    async def send_request() -> Response:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        response = await asyncio.wait_for(read_response(reader), TIMEOUT)
        writer.close()
        return response

    return list(await asyncio.gather(*(send_request() for _ in range(CROWD))))


def test_too_many_requests_get_a_503_and_later_ones_succeed(
    exported_bento: Path, tmp_path: Path
) -> None:
    environment = {"SERVING_QUEUE": "2", "SERVING_DEADLINE_SECONDS": "5"}
    with serve(exported_bento, tmp_path, workers=1, **environment) as url:
        port, row = httpx.URL(url).port or 80, example_row(url)
        large = request_of("/predict", json.dumps([row] * LARGE).encode(), JSON)
        small = request_of("/predict", json.dumps([row]).encode(), JSON)
        responses = asyncio.run(_crowd(port, large))
        statuses = Counter(response.status for response in responses)
        assert set(statuses) <= {200, 503, 504}
        assert statuses[200] >= 3 and statuses[503] > 0
        for response in responses:
            if response.status == 503:
                assert int(response.headers["retry-after"]) >= 1
            elif response.status == 200:
                assert len(json.loads(response.body)["predictions"]) == LARGE
        for request in (small, large):
            with httpx.Client(base_url=url) as client:
                body = request.partition(b"\r\n\r\n")[2]
                assert client.post("/predict", content=body).status_code == 200
        assert {response.status for response in asyncio.run(_crowd(port, small))} == {200}


async def _herd(service: Service, request: bytes) -> list[list[float | None]]:
    """Times at which each request of each client was accepted; all clients connect beforehand."""
    (worker,) = service.workers()
    worker.suspend()
    clients = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(HERD)]
    for _, writer in clients:
        writer.write(request * BURST)
        await writer.drain()
    worker.resume()
    made = []
    for reader, writer in clients:
        responses = [await asyncio.wait_for(read_response(reader), TIMEOUT) for _ in range(BURST)]
        made.append([time_of(response.headers["x-request-id"]) for response in responses])
        writer.close()
    return made


@pytest.mark.alone
def test_clients_that_connect_at_once_all_get_a_response_soon(
    exported_bento: Path, tmp_path: Path
) -> None:
    with serve(exported_bento, tmp_path, workers=1) as url:
        service = service_at(url)
        assert service
        body = json.dumps([example_row(url)]).encode()
        made = np.array(asyncio.run(_herd(service, request_of("/predict", body, JSON, keep=True))))
    before = np.count_nonzero(made < made[:, 0].max())
    assert before < HERD * BURST / 4, f"{before} responses before the last client had its first"
