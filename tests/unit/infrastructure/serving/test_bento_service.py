"""What is wrapped around a service, depending on its settings."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from functools import partial
from types import SimpleNamespace
from typing import Any

import bentoml
import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from application.inference.api_keys import ApiKeys, authoriser, entry_of, new_key
from application.inference.protocols import http
from application.inference.protocols.app import Started
from infrastructure.serving.bento_service import BentoService, outer_app
from infrastructure.serving.outer_middleware import OuterMiddleware
from shared.settings import ServingSettings
from tests import petals
from tests.asgi import send_requests
from tests.fakes import FakeMetrics

OPEN = "/livez"


async def hello(_request: Request) -> PlainTextResponse:
    """The response of the service itself."""
    return PlainTextResponse("hello")


def responses_of(*paths: str, keys: str = "") -> list[httpx.Response]:
    """Responses of a ready service that has ``/hello``."""
    started = Future[Started]()
    started.set_result(Started({"/ours": http.Route(("GET",), lambda _: b'"ours"')}, FakeMetrics()))
    wrap = partial(
        outer_app,
        started=started,
        settings=ServingSettings(_env_file=None),  # type: ignore[call-arg]
        authorise=authoriser(ApiKeys.parse(keys), OPEN),
    )
    outer = Middleware(OuterMiddleware, wrap=wrap)
    app = Starlette(routes=[Route("/hello", hello)], middleware=[outer])
    return asyncio.run(send_requests(app, *(("GET", path, None) for path in paths)))


def test_routes_and_probes_are_handled_before_the_service() -> None:
    ours, inner, probe, nowhere = responses_of("/ours", "/hello", "/readyz", "/nowhere")
    assert (ours.status_code, ours.json()) == (200, "ours")
    assert (inner.status_code, inner.text) == (200, "hello")
    assert (probe.status_code, nowhere.status_code) == (200, 404)


def test_with_api_keys_every_path_requires_one() -> None:
    paths = ("/ours", "/hello", "/readyz", "/nowhere", OPEN)
    responses = responses_of(*paths, keys=entry_of("a", new_key()))
    statuses = [response.status_code for response in responses]
    assert statuses == [401, 401, 401, 401, 200]


def test_a_platform_may_name_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/platform/health")
    (probe,) = responses_of("/platform/health")
    assert probe.status_code == 200


class Unstored(BentoService):
    """The service of a model that is not in BentoML's store."""

    def __init__(self) -> None:  # pylint: disable=super-init-not-called
        self.package: Any = SimpleNamespace(spec=petals.SPEC)
        self._authorise = None
        self._service = bentoml.service(name="petals")(type("Endpoints", (), {}))


def test_the_document_describes_the_model_and_names_no_other_host() -> None:
    description = Unstored().document({})["info"]["description"]
    assert description.startswith("# petals\n") and "Inputs:" in description
    assert "http" not in description and "BentoML" not in description
