"""An application around the whole of BentoML's.

BentoML runs the middlewares that a service adds inside its own, which measure, trace and time every
request: several times what a small model's answer costs. A middleware is told when the application
starts, and by whom; from there it needs only Starlette's attribute ``middleware_stack``.
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


_NOT_ASKED = ("index", "openapi-spec")  # what BentoML calls the routes of its page


class OuterMiddleware:  # pylint: disable=too-few-public-methods
    """Middleware of a BentoML service (`add_asgi_middleware`) that wraps the whole application.

    Where BentoML traces requests (its option ``tracing``), it is wrapped inside of that.

    Args:
        wrap: makes the application that is put around another, whose paths it is told.
    """

    def __init__(self, app: App, wrap: Callable[[App, Serves], App]) -> None:
        self._app = app
        self._wrap = wrap

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Wrap the application when it starts; pass everything on."""
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
    """Tells the methods that an application answers at a path; none where it has nothing there.

    BentoML keeps metrics for each path that it is asked, whatever that is: who asks for many would
    fill its memory. Its page loads a script of another host: the page, its files and its document
    are not asked for.
    """
    routes = [
        route
        for route in starlette.routes
        if isinstance(route, Route) and route.name not in _NOT_ASKED
    ]

    def methods(path: str) -> Collection[str]:
        found = (route.methods for route in routes if route.path_regex.match(path))
        return next(found, None) or ()

    return methods


def _is_traced(starlette: Starlette) -> bool:
    """Whether BentoML is told to trace: its OpenTelemetry middleware must then see each request."""
    providers: Iterator[Any] = (
        each.kwargs.get("tracer_provider") for each in starlette.user_middleware
    )
    return any(
        provider.sampler.should_sample(None, 0, "").decision.is_sampled()
        for provider in providers
        if provider
    )


def stop_later(seconds: float, stopping: Callable[[], None]) -> None:
    """Let a process that gets SIGTERM first tell `stopping`, and end only after some seconds.

    Called on the event loop of a server that has set its own handlers. In those seconds whoever
    sends requests learns that they should go elsewhere.
    """
    loop = asyncio.get_running_loop()
    previous = signal.getsignal(signal.SIGTERM)
    if not callable(previous):
        return

    def stop(number: int, frame: FrameType | None) -> None:
        stopping()
        loop.call_soon_threadsafe(loop.call_later, seconds, previous, number, frame)

    signal.signal(signal.SIGTERM, stop)
