"""The minimum over ASGI: a constant, or the ONNX model without checks or monitoring."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from tests.template.benchmarks.serving.peers.common import CLASSES, load_onnx, objects

App = Callable[[Any, Any, Any], Awaitable[None]]


def serve_responses(respond: Callable[[bytes], bytes]) -> App:
    """An ASGI application whose response depends on the request body only."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        content = respond(body) if body else b"{}"
        length = str(len(content)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return application


def constant() -> App:
    """Always the same response, a setosa."""
    probabilities = dict(zip(CLASSES, (1.0, 0.0, 0.0)))
    prediction = {"prediction": CLASSES[0], "confidence": 1.0, "probabilities": probabilities}
    response = msgspec.json.encode({"predictions": [prediction]})
    return serve_responses(lambda body: response)


def onnx() -> App:
    """The predictions for the rows of the body."""
    probabilities = load_onnx()
    decode = msgspec.json.Decoder(list[list[float]]).decode
    encode = msgspec.json.Encoder().encode
    return serve_responses(
        lambda body: encode({"predictions": objects(probabilities(decode(body)))})
    )
