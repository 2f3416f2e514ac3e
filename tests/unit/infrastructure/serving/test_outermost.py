"""An application around the whole of another one, and a process that ends only after a while."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from infrastructure.serving.outermost import App, Outermost, Scope
from shared.paths import ROOT

CHANGED = "BentoML or Starlette has changed: see infrastructure/serving/outermost.py"


class Noted:
    """Middleware that notes the paths of the requests that pass through it."""

    def __init__(self, app: App, notes: list[str], name: str) -> None:
        self._app, self._notes, self._name = app, notes, name

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self._notes.append(f"{self._name} {scope['path']}")
        await self._app(scope, receive, send)


class OwnAnswer:
    """Answers one path, and passes the others on."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/ours":
            await PlainTextResponse("ours")(scope, receive, send)
        else:
            await self.app(scope, receive, send)


@pytest.fixture(name="notes")
def _notes() -> list[str]:
    """What the middlewares of the application have noted."""
    return []


@pytest.fixture(name="starlette")
def _starlette(notes: list[str]) -> Starlette:
    async def hello(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    return Starlette(
        routes=[Route("/hello", hello), Route("/ours", hello)],
        middleware=[
            Middleware(Noted, notes=notes, name="first"),  # type: ignore[arg-type]
            Middleware(Outermost, wrap=OwnAnswer),  # type: ignore[arg-type]
        ],
    )


@pytest.fixture(name="client")
def _client(starlette: Starlette) -> Iterator[TestClient]:
    with TestClient(starlette) as client:  # it runs the lifespan
        yield client


def test_from_the_start_requests_come_to_what_was_put_around(
    client: TestClient, notes: list[str]
) -> None:
    assert client.get("/ours").text == "ours", CHANGED
    assert not notes


def test_what_that_passes_on_is_answered_as_before(client: TestClient, notes: list[str]) -> None:
    assert client.get("/hello").text == "hello"
    assert client.get("/nowhere").status_code == 404
    assert notes == ["first /hello", "first /nowhere"]


def test_the_whole_of_the_application_is_within(starlette: Starlette) -> None:
    before = starlette.middleware_stack = starlette.build_middleware_stack()
    with TestClient(starlette):
        around = starlette.middleware_stack
        assert isinstance(around, OwnAnswer)
        assert around.app is before


def test_an_application_that_was_not_started_is_left_as_it_is(
    starlette: Starlette, notes: list[str]
) -> None:
    assert TestClient(starlette).get("/ours").text == "hello"
    assert notes == ["first /ours"]


SERVICE = """
import json, sys
import bentoml
from starlette.testclient import TestClient
from infrastructure.serving.outermost import Outermost
from tests.unit.infrastructure.serving.test_outermost import OwnAnswer

@bentoml.service(metrics={"enabled": True})
class Small:
    @bentoml.api
    def hello(self, name: str) -> str:
        return f"hello {name}"

Small.add_asgi_middleware(Outermost, wrap=OwnAnswer)
with TestClient(Small.to_asgi()) as client:
    ours, theirs = client.post("/ours"), client.post("/hello", json={"name": "you"})
    metrics = client.get("/metrics").text
print(json.dumps({"ours": ours.text, "theirs": theirs.text, "metrics": metrics}))
"""


def test_bentoml_still_tells_a_middleware_that_the_application_starts(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVICE],
        cwd=ROOT,
        env={**os.environ, "BENTOML_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, f"{CHANGED}\n{done.stderr}"
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["ours"] == "ours", CHANGED
    assert told["theirs"] == "hello you"
    # BentoML counts what passes through its own middlewares
    assert 'endpoint="/hello"' in told["metrics"]
    assert 'endpoint="/ours"' not in told["metrics"], CHANGED


STOPPED = """
import asyncio, json, os, signal, sys, time
from infrastructure.serving.outermost import stop_later

told = []

async def main():
    stopped = asyncio.Event()

    def former(number, _frame):
        told.append(["former", number, time.monotonic()])
        stopped.set()

    signal.signal(signal.SIGTERM, former)
    stop_later(0.2, lambda: told.append(["stopping", None, time.monotonic()]))
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0)
    told.append(["answering", None, time.monotonic()])
    await asyncio.wait_for(stopped.wait(), 30)

asyncio.run(main())
print(json.dumps(told))
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    """A script in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_process_that_is_to_end_tells_so_and_answers_for_a_while() -> None:
    done = run(STOPPED)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [name for name, _, _ in told] == ["stopping", "answering", "former"]
    (_, _, stopping), _, (_, number, former) = told
    assert number == 15
    assert former - stopping >= 0.2


@pytest.mark.parametrize("former", ["SIG_DFL", "SIG_IGN"])
def test_where_nobody_waits_for_the_signal_it_is_left_alone(former: str) -> None:
    done = run(f"""
import asyncio, signal
from infrastructure.serving.outermost import stop_later

async def main():
    signal.signal(signal.SIGTERM, signal.{former})
    stop_later(0.2, lambda: None)
    print(signal.getsignal(signal.SIGTERM) == signal.{former})

asyncio.run(main())
""")
    assert done.stdout == "True\n", done.stderr
