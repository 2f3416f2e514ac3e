"""Start and shutdown of a service, as seen by load balancer and clients."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from infrastructure.storage.prediction_log import SqlPredictionLog
from tests.served import free_port, serve
from tests.strength import (
    JSON,
    TIMEOUT,
    Response,
    Service,
    example_row,
    read_response,
    request_of,
    service_at,
)

DRAIN = 1.0  # seconds
CLIENTS = 6
LARGE = 500  # rows


@dataclass
class Load:
    """Clients that send requests until the load balancer finds the service not ready.

    Attributes:
        responses: number of rows in the request, and the response.
        lost: requests without a response.
        not_ready: set once the service is not ready.
    """

    port: int
    row: list[Any]
    responses: list[tuple[int, Response]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    not_ready: asyncio.Event = field(default_factory=asyncio.Event)

    def request(self, rows: int, keep: bool) -> bytes:
        """A request with a number of rows."""
        return request_of("/predict", json.dumps([self.row] * rows).encode(), JSON, keep=keep)

    async def client(self, rows: int, keep: bool) -> None:
        """Send requests one after another, over one connection if the service keeps it open."""
        request = self.request(rows, keep)
        while not self.not_ready.is_set():
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            while not self.not_ready.is_set():
                response = await self.send(reader, writer, request, rows)
                if response is None or response.headers.get("connection") == "close":
                    break
            writer.close()

    async def send(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, rows: int
    ) -> Response | None:
        """Send a request; returns the response, or None if there was none."""
        writer.write(request)
        try:
            response = await asyncio.wait_for(read_response(reader), TIMEOUT)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            self.lost.append(f"{rows} rows: {error!r}")
            return None
        self.responses.append((rows, response))
        return response

    async def balancer(self) -> None:
        """Poll the readiness probe, and tell the clients once it fails."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}") as client:
            while (await client.get("/readyz")).status_code == 200:
                await asyncio.sleep(0.02)
        self.not_ready.set()


async def _stop_under_load(service: Service, row: list[Any]) -> Load:
    """Send requests while a service shuts down; returns all responses."""
    load = Load(service.port, row)
    late = load.request(1, keep=True)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(late[:-5])  # the rest is sent once the service has stopped listening
    async with asyncio.TaskGroup() as tasks:
        for _ in range(CLIENTS):
            tasks.create_task(load.client(1, keep=True))
            tasks.create_task(load.client(1, keep=False))
            tasks.create_task(load.client(LARGE, keep=True))
        while len(load.responses) < 50:
            await asyncio.sleep(0.01)
        service.supervisor.terminate()
        tasks.create_task(load.balancer())
    while len(service.workers()) > 1:  # the worker that waits for the body stays
        await asyncio.sleep(0.05)
    await load.send(reader, writer, late[-5:], 1)
    writer.close()
    return load


def test_no_request_is_lost_when_a_service_shuts_down(exported_bento: Path, tmp_path: Path) -> None:
    with serve(exported_bento, tmp_path, 2, SERVING_DRAIN_SECONDS=str(DRAIN)) as url:
        service, row = service_at(url), example_row(url)
        name = httpx.get(f"{url}/health_check").json()["model_name"]
        assert service
        load = asyncio.run(_stop_under_load(service, row))
        service.supervisor.wait(TIMEOUT)  # ends by itself
    assert not load.lost
    assert not [response for _, response in load.responses if response.status != 200]
    log = SqlPredictionLog(f"sqlite:///{tmp_path / 'predictions.db'}", name)
    assert log.traffic(0.0).predictions == sum(rows for rows, _ in load.responses)
    log.close()


@contextlib.contextmanager
def _starting(bento: Path, home: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a service; yields its URL and process at once."""
    port = free_port()
    environment = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        "BENTOML_HOME": str(home),
        "PREDICTION_LOG_URL": f"sqlite:///{home / 'predictions.db'}",
        "BENTOML_DO_NOT_TRACK": "True",
        "WORKERS": "2",
    }
    command = [sys.executable, "-m", "bentoml", "serve", str(bento), "--port", str(port)]
    with (
        (home / "service.log").open("wb") as log,
        subprocess.Popen(
            command, cwd=home, env=environment, stdout=log, stderr=log, start_new_session=True
        ) as process,
    ):
        try:
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.terminate()
            process.wait(TIMEOUT)


def _wait_for_ready(url: str, process: subprocess.Popen[bytes], *statuses: str) -> httpx.Response:
    """The first response of /readyz that is a 200 or has one of these statuses in its body."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            response = httpx.get(f"{url}/readyz")
            if response.status_code == 200 or response.json()["status"] in statuses:
                return response
            assert response.status_code == 503
        time.sleep(0.005)
    return pytest.fail("the service did not become ready or fail")


def _golden_of(bento: Path) -> Path:
    (golden,) = bento.glob("models/*/*/golden.json")
    return golden


def test_a_ready_service_makes_right_predictions_at_once(
    exported_bento: Path, tmp_path: Path
) -> None:
    golden = json.loads(_golden_of(exported_bento).read_text("utf-8"))
    with _starting(exported_bento, tmp_path) as (url, process):
        assert _wait_for_ready(url, process).status_code == 200
        responses = [httpx.post(f"{url}/predict", json=golden["rows"]) for _ in range(20)]
    assert {response.status_code for response in responses} == {200}
    for response in responses:
        for found, expected in zip(response.json()["predictions"], golden["answers"], strict=True):
            probabilities = list(found["probabilities"].values())
            assert probabilities == pytest.approx(expected, abs=1e-5)


def test_a_service_that_does_not_reproduce_its_golden_predictions_is_never_ready(
    exported_bento: Path, tmp_path: Path
) -> None:
    bento = tmp_path / "bento"
    shutil.copytree(exported_bento, bento)
    path = _golden_of(bento)
    golden = json.loads(path.read_text("utf-8"))
    golden["answers"][0] = golden["answers"][0][::-1]
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_text(json.dumps(golden), encoding="utf-8")
    manifest = path.with_name("MANIFEST.sha256")
    after = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest.write_text(manifest.read_text("utf-8").replace(before, after), encoding="utf-8")
    with _starting(bento, tmp_path) as (url, process):
        response = _wait_for_ready(url, process, "failed")
        assert response.status_code == 503
        assert "predictions for the golden requests differ" in response.json()["error"]
        assert httpx.post(f"{url}/predict", json=golden["rows"]).status_code == 503
        assert httpx.get(f"{url}/livez").status_code == 200
