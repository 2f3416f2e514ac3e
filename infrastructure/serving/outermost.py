"""An application around the whole of BentoML's.

BentoML runs the middlewares that a service adds inside its own, which measure, trace and time every
request: several times what a small model's answer costs. A middleware is told when the application
starts, and by whom; from there it needs only Starlette's attribute ``middleware_stack``.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, MutableMapping
from types import FrameType
from typing import Any

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]


class Outermost:  # pylint: disable=too-few-public-methods
    """Middleware of a BentoML service (`add_asgi_middleware`) that wraps the whole application.

    Args:
        wrap: makes the application that is put around another.
    """

    def __init__(self, app: App, wrap: Callable[[App], App]) -> None:
        self._app = app
        self._wrap = wrap

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Wrap the application when it starts; pass everything on."""
        if scope["type"] == "lifespan":
            starlette = scope["app"]
            starlette.middleware_stack = self._wrap(starlette.middleware_stack)
        await self._app(scope, receive, send)


def stop_later(seconds: float, stopping: Callable[[], None]) -> None:
    """Let a process that gets SIGTERM first tell `stopping`, and end only after some seconds.

    Called on the event loop of a server that has set its own handlers. In those seconds whoever
    sends requests learns that they should go elsewhere.
    """
    loop = asyncio.get_running_loop()
    former = signal.getsignal(signal.SIGTERM)
    if not callable(former):
        return

    def stop(number: int, frame: FrameType | None) -> None:
        stopping()
        loop.call_soon_threadsafe(loop.call_later, seconds, former, number, frame)

    signal.signal(signal.SIGTERM, stop)
