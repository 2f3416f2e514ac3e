"""An application wrapped around another one, and a process that ends with a delay."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from infrastructure.serving.outer_middleware import App, OuterMiddleware, Scope, Serves, serves
from shared.paths import ROOT
from tests.asgi import send_request, send_requests

CHANGED = "BentoML or Starlette has changed: see infrastructure/serving/outer_middleware.py"


class Noted:
    """Middleware that records the paths of requests."""

    def __init__(self, app: App, notes: list[str], tracer_provider: Any = None) -> None:
        self._app, self._notes = app, notes
        self.tracer_provider = tracer_provider

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self._notes.append(scope["path"])
        await self._app(scope, receive, send)


class OwnResponse:
    """Responds on one path with the methods of another, and forwards the other paths."""

    def __init__(self, app: App, methods_of: Serves) -> None:
        self.app, self._methods_of = app, methods_of

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/ours":
            hello_path, nowhere = (bool(self._methods_of(path)) for path in ("/hello", "/nowhere"))
            text = f"ours {hello_path} {nowhere}"
            await PlainTextResponse(text)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


async def hello(_request: Request) -> PlainTextResponse:
    """The response of the application itself."""
    return PlainTextResponse("hello")


def application(notes: list[str], **noted: Any) -> Starlette:
    """An application with two paths, and a middleware that wraps it."""
    return Starlette(
        routes=[Route("/hello", hello), Route("/ours", hello)],
        middleware=[
            Middleware(Noted, notes=notes, **noted),
            Middleware(OuterMiddleware, wrap=OwnResponse),
        ],
    )


def test_after_startup_the_wrapping_application_gets_all_requests() -> None:
    notes: list[str] = []
    (response,) = asyncio.run(send_requests(application(notes), ("GET", "/ours", None)))
    assert response.text == "ours True False", CHANGED
    assert not notes


def test_forwarded_requests_get_the_same_response_as_before() -> None:
    notes: list[str] = []
    responses = asyncio.run(
        send_requests(application(notes), ("GET", "/hello", None), ("GET", "/nowhere", None))
    )
    assert [response.text for response in responses] == ["hello", "Not Found"]
    assert notes == ["/hello", "/nowhere"]


@pytest.mark.parametrize("built", [True, False])
def test_the_whole_of_the_application_is_within(built: bool) -> None:
    starlette = application([])
    if built:
        starlette.middleware_stack = starlette.build_middleware_stack()
    before = starlette.middleware_stack
    asyncio.run(send_requests(starlette))
    around = starlette.middleware_stack
    assert isinstance(around, OwnResponse)
    assert around.app is before or not built


def test_an_application_that_was_not_started_is_left_as_it_is() -> None:
    notes: list[str] = []
    assert asyncio.run(send_request(application(notes), "GET", "/ours")).text == "hello"
    assert notes == ["/ours"]


@pytest.mark.parametrize(("sampler", "seen"), [(ALWAYS_ON, ["/ours"]), (ALWAYS_OFF, [])])
def test_where_requests_are_traced_the_tracing_sees_each_of_them(
    sampler: Sampler, seen: list[str]
) -> None:
    notes: list[str] = []
    app = application(notes, tracer_provider=TracerProvider(sampler=sampler))
    (response,) = asyncio.run(send_requests(app, ("GET", "/ours", None)))
    assert response.text == "ours True False"
    assert notes == seen


def test_it_is_known_which_paths_an_application_has(tmp_path: Path) -> None:
    (tmp_path / "page.css").touch()  # of a page that is not served
    methods = serves(
        Starlette(
            routes=[
                *(Route("/hello", hello), Route("/of/{name}", hello)),
                *(Route("/", hello, name="index"), Route("/docs", hello, name="openapi-spec")),
                Mount("/static", StaticFiles(directory=tmp_path)),
            ]
        )
    )
    for path in ("/hello", "/of/anything"):
        assert "GET" in methods(path), path
    for path in ("", "/hello/", "/Hello", "/nowhere", "/of/a/b", "/static", "//", "/", "/docs"):
        assert not methods(path), path
    assert "POST" not in methods("/hello")
    for path in (
        "/static/../secret",
        "/static/\0",
        f"/static/{'a' * 300}",
        "/static/%2e%2e/secret",
        "/static/page.css",
    ):
        assert not methods(path), path


SERVICE = """
import asyncio, json
import bentoml
from infrastructure.serving.outer_middleware import OuterMiddleware
from tests.asgi import send_requests
from tests.unit.infrastructure.serving.test_outer_middleware import OwnResponse

@bentoml.service(metrics={"enabled": True})
class Small:
    @bentoml.api
    def hello(self, name: str) -> str:
        return f"hello {name}"

Small.add_asgi_middleware(OuterMiddleware, wrap=OwnResponse)
requests = [("POST", "/ours", {}), ("POST", "/hello", {"name": "you"}), ("GET", "/metrics", None)]
responses = asyncio.run(send_requests(Small.to_asgi(), *requests))
print(json.dumps([response.text for response in responses]))
"""


def test_bentoml_sends_a_middleware_the_startup_event(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVICE],
        cwd=ROOT,
        env={
            **os.environ,
            "BENTOML_HOME": str(tmp_path),
            "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, f"{CHANGED}\n{done.stderr}"
    ours, theirs, metrics = json.loads(done.stdout.splitlines()[-1])
    assert ours == "ours True False", CHANGED
    assert theirs == "hello you"
    # BentoML counts what passes through its own middlewares
    assert 'endpoint="/hello"' in metrics
    assert 'endpoint="/ours"' not in metrics, CHANGED


STOPPED = """
import asyncio, json, os, signal, sys, time
from infrastructure.serving.outer_middleware import stop_later

events = []

async def main():
    stopped = asyncio.Event()

    def server(number, _frame):
        events.append(["server", number, time.monotonic()])
        stopped.set()

    signal.signal(signal.SIGTERM, server)
    stop_later(0.2, lambda: events.append(["stopping", None, time.monotonic()]))
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0)
    events.append(["answering", None, time.monotonic()])
    await asyncio.wait_for(stopped.wait(), 30)

asyncio.run(main())
print(json.dumps(events))
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a separate process."""
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_stopping_process_keeps_responding_for_a_while() -> None:
    done = run(STOPPED)
    assert done.returncode == 0, done.stderr
    events = json.loads(done.stdout)
    assert [name for name, _, _ in events] == ["stopping", "answering", "server"]
    (_, _, stopping), _, (_, number, previous) = events
    assert number == 15
    assert previous - stopping >= 0.2


@pytest.mark.parametrize("previous", ["SIG_DFL", "SIG_IGN"])
def test_a_signal_without_a_handler_is_left_unchanged(previous: str) -> None:
    done = run(f"""
import asyncio, signal
from infrastructure.serving.outer_middleware import stop_later

async def main():
    signal.signal(signal.SIGTERM, signal.{previous})
    stop_later(0.2, lambda: None)
    print(signal.getsignal(signal.SIGTERM) == signal.{previous})

asyncio.run(main())
""")
    assert done.stdout == "True\n", done.stderr
