"""Wraps BentoML services with what the settings configure: API keys, probes, limits and logs."""

from __future__ import annotations

import os
from concurrent.futures import Future
from typing import Any

from starlette.middleware.cors import CORSMiddleware

from application.inference.protocols.app import App, Authorise, PredictionApp, Started
from infrastructure.serving.outer_middleware import OuterMiddleware, Serves, stop_later
from shared.logs import AccessLog
from shared.settings import ServingSettings


def wrap_service(
    service: Any, started: Future[Started], serving: ServingSettings, authorise: Authorise | None
) -> None:
    """Put a `PredictionApp` around the application of a BentoML service.

    Args:
        service: what `bentoml.service` returns for a class.
        started, authorise: arguments of `PredictionApp`.
    """

    def wrap(app: App, serves: Serves) -> App:
        outer = PredictionApp(
            app,
            serves,
            started=started,
            max_bytes=serving.max_body_bytes,
            queue=serving.queue,
            deadline=serving.deadline_seconds,
            authorise=authorise,
            ready_paths=filter(None, [os.environ.get("AIP_HEALTH_ROUTE")]),
            access_log=AccessLog().write if serving.access_log else None,
        )
        stop_later(serving.drain_seconds, outer.stop)
        origins = serving.cors_origins.split()
        return (
            CORSMiddleware(outer, origins, allow_methods=["*"], allow_headers=["*"])
            if origins
            else outer
        )

    service.add_asgi_middleware(OuterMiddleware, wrap=wrap)
