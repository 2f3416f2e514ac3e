"""Wraps an ASGI application around BentoML's whole application.

BentoML runs the middlewares that a service adds inside its own, which measure and trace every
request; that costs several times as much as a prediction of a small model. But every middleware
gets the application's start event, and with it the application: there, Starlette's attribute
``middleware_stack`` can be replaced.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Collection, Iterator, MutableMapping
from types import FrameType
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]
Serves = Callable[[str], Collection[str]]
"""Maps a path to the HTTP methods that are served there, none for an unknown path."""

_PAGE_ROUTES = ("index", "openapi-spec")  # names of the routes of BentoML's page


class OuterMiddleware:  # pylint: disable=too-few-public-methods
    """Middleware of a BentoML service (`add_asgi_middleware`) that wraps the whole application.

    If BentoML traces requests (its option ``tracing``), the wrapper is inside the tracing.

    Args:
        wrap: makes the outer application from the inner one and the paths that it serves.
    """

    def __init__(self, app: App, wrap: Callable[[App, Serves], App]) -> None:
        self._app = app
        self._wrap = wrap

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Wrap the application when it starts; forward everything else."""
        if scope["type"] == "lifespan":
            starlette: Starlette = scope["app"]
            if _is_traced(starlette):
                app, self._app = self._app, self._wrap(self._app, serves(starlette))
                await app(scope, receive, send)
                return
            stack = starlette.middleware_stack or starlette.build_middleware_stack()
            starlette.middleware_stack = self._wrap(stack, serves(starlette))
        await self._app(scope, receive, send)


def serves(starlette: Starlette) -> Serves:
    """The paths of an application with their methods, without those of BentoML's page.

    Requests to other paths must not reach BentoML: it keeps metrics for every requested path, so
    that a client could fill its memory. Its page is left out because it loads a script from another
    host.
    """
    routes = [
        route
        for route in starlette.routes
        if isinstance(route, Route) and route.name not in _PAGE_ROUTES
    ]

    def methods(path: str) -> Collection[str]:
        found = (route.methods for route in routes if route.path_regex.match(path))
        return next(found, None) or ()

    return methods


def _is_traced(starlette: Starlette) -> bool:
    """Whether BentoML traces requests: its OpenTelemetry middleware must then see each of them."""
    providers: Iterator[Any] = (
        each.kwargs.get("tracer_provider") for each in starlette.user_middleware
    )
    return any(
        provider.sampler.should_sample(None, 0, "").decision.is_sampled()
        for provider in providers
        if provider
    )


def stop_later(seconds: float, stopping: Callable[[], None]) -> None:
    """On SIGTERM, call `stopping` at once, but let the process end only after some seconds.

    In those seconds, clients and proxies learn to send their requests elsewhere. Must be called on
    the event loop, after the server has set its own signal handlers.
    """
    loop = asyncio.get_running_loop()
    previous = signal.getsignal(signal.SIGTERM)
    if not callable(previous):
        return

    def stop(number: int, frame: FrameType | None) -> None:
        stopping()
        loop.call_soon_threadsafe(loop.call_later, seconds, previous, number, frame)

    signal.signal(signal.SIGTERM, stop)
