"""Start an ASGI application in this process, send it requests and stop it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx


async def send_requests(app: Any, *requests: tuple[str, str, Any]) -> list[httpx.Response]:
    """Start an application, send requests (method, path, JSON) in order, and stop it."""
    messages: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    started = asyncio.Event()

    async def send(message: dict[str, str]) -> None:
        assert message["type"].endswith(".complete"), message
        started.set()

    messages.put_nowait({"type": "lifespan.startup"})
    running = asyncio.create_task(app({"type": "lifespan", "state": {}}, messages.get, send))
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        await running
    try:
        return [await send_request(app, *request) for request in requests]
    finally:
        messages.put_nowait({"type": "lifespan.shutdown"})
        await running


async def send_request(app: Any, method: str, path: str, data: Any = None) -> httpx.Response:
    """Send one request, whether the application was started or not."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        return await client.request(method, path, json=data)
