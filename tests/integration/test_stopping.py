"""A service that starts, and one that is told to stop, as its balancer and its clients see it."""

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
    LONGEST,
    Answer,
    Service,
    example_row,
    read_answer,
    request_of,
    service_at,
)

DRAIN = 1.0  # seconds
CLIENTS = 6
LARGE = 500  # rows


@dataclass
class Load:
    """What clients send until their balancer tells them to go elsewhere.

    Attributes:
        answers: with the rows that each was asked for.
        lost: requests that were sent and not answered.
        elsewhere: set when the service has said that it is not ready.
    """

    port: int
    row: list[Any]
    answers: list[tuple[int, Answer]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    elsewhere: asyncio.Event = field(default_factory=asyncio.Event)

    def request(self, rows: int, keep: bool) -> bytes:
        """A request for some rows."""
        return request_of("/predict", json.dumps([self.row] * rows).encode(), JSON, keep=keep)

    async def client(self, rows: int, keep: bool) -> None:
        """Ask again and again, on a kept connection as long as the service keeps it."""
        request = self.request(rows, keep)
        while not self.elsewhere.is_set():
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            while not self.elsewhere.is_set():
                answer = await self.ask(reader, writer, request, rows)
                if answer is None or answer.headers.get("connection") == "close":
                    break
            writer.close()

    async def ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, rows: int
    ) -> Answer | None:
        """The answer to one request; None where it was lost."""
        writer.write(request)
        try:
            answer = await asyncio.wait_for(read_answer(reader), LONGEST)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            self.lost.append(f"{rows} rows: {error!r}")
            return None
        self.answers.append((rows, answer))
        return answer

    async def balancer(self) -> None:
        """Ask whether the service is ready, and tell the clients when it is not."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}") as client:
            while (await client.get("/readyz")).status_code == 200:
                await asyncio.sleep(0.02)
        self.elsewhere.set()


async def _stop_under_load(service: Service, row: list[Any]) -> Load:
    """All that was answered while a service was told to stop and ended."""
    load = Load(service.port, row)
    late = load.request(1, keep=True)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(late[:-5])  # a body whose end comes when the service does not listen any more
    async with asyncio.TaskGroup() as tasks:
        for _ in range(CLIENTS):
            tasks.create_task(load.client(1, keep=True))
            tasks.create_task(load.client(1, keep=False))
            tasks.create_task(load.client(LARGE, keep=True))
        while len(load.answers) < 50:
            await asyncio.sleep(0.01)
        service.supervisor.terminate()
        tasks.create_task(load.balancer())
    while len(service.workers()) > 1:  # the one that waits for the end of the body stays
        await asyncio.sleep(0.05)
    await load.ask(reader, writer, late[-5:], 1)
    writer.close()
    return load


def test_no_request_is_lost_when_a_service_is_told_to_stop(
    exported_bento: Path, tmp_path: Path
) -> None:
    with serve(exported_bento, tmp_path, 2, SERVING_DRAIN_SECONDS=str(DRAIN)) as url:
        service, row = service_at(url), example_row(url)
        name = httpx.get(f"{url}/health_check").json()["model_name"]
        assert service
        load = asyncio.run(_stop_under_load(service, row))
        service.supervisor.wait(LONGEST)  # ends by itself
    assert not load.lost
    assert not [answer for _, answer in load.answers if answer.status != 200]
    log = SqlPredictionLog(f"sqlite:///{tmp_path / 'predictions.db'}", name)
    assert log.traffic(0.0).predictions == sum(rows for rows, _ in load.answers)
    log.close()


@contextlib.contextmanager
def _starting(bento: Path, home: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A service that has just been started; its URL and its process."""
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
            process.wait(LONGEST)


def _wait_for_ready(url: str, process: subprocess.Popen[bytes], *statuses: str) -> httpx.Response:
    """The first answer of /readyz that is 200 or tells one of these; others say 503 before."""
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.get(f"{url}/readyz")
            if answer.status_code == 200 or answer.json()["status"] in statuses:
                return answer
            assert answer.status_code == 503
        time.sleep(0.005)
    return pytest.fail("the service did not say anything")


def _golden_of(bento: Path) -> Path:
    (golden,) = bento.glob("models/*/*/golden.json")
    return golden


def test_a_service_that_says_ready_answers_right_at_once(
    exported_bento: Path, tmp_path: Path
) -> None:
    golden = json.loads(_golden_of(exported_bento).read_text("utf-8"))
    with _starting(exported_bento, tmp_path) as (url, process):
        assert _wait_for_ready(url, process).status_code == 200
        answers = [httpx.post(f"{url}/predict", json=golden["rows"]) for _ in range(20)]
    assert {answer.status_code for answer in answers} == {200}
    for answer in answers:
        for found, expected in zip(answer.json()["predictions"], golden["answers"], strict=True):
            answered = list(found["probabilities"].values())
            assert answered == pytest.approx(expected, abs=1e-5)


def test_a_service_whose_model_answers_otherwise_than_in_training_is_never_ready(
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
        answer = _wait_for_ready(url, process, "failed")
        assert answer.status_code == 503
        assert "predictions for the golden requests differ" in answer.json()["error"]
        assert httpx.post(f"{url}/predict", json=golden["rows"]).status_code == 503
        assert httpx.get(f"{url}/livez").status_code == 200
