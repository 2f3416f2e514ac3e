"""The least that can answer over ASGI: a constant, or the ONNX model without check or account."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from tests.template.benchmarks.serving.peers.answers import CLASSES, load_onnx, objects

App = Callable[[Any, Any, Any], Awaitable[None]]


def serve_answers(answer: Callable[[bytes], bytes]) -> App:
    """An ASGI application that answers every request, by its body."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        told = answer(body) if body else b"{}"
        length = str(len(told)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": told})

    return application


def constant() -> App:
    """Always the same answer, that of a setosa."""
    probabilities = dict(zip(CLASSES, (1.0, 0.0, 0.0)))
    told = {"prediction": CLASSES[0], "confidence": 1.0, "probabilities": probabilities}
    answer = msgspec.json.encode({"predictions": [told]})
    return serve_answers(lambda body: answer)


def onnx() -> App:
    """What the model answers for the rows of the body."""
    probabilities = load_onnx()
    decode = msgspec.json.Decoder(list[list[float]]).decode
    encode = msgspec.json.Encoder().encode
    return serve_answers(lambda body: encode({"predictions": objects(probabilities(decode(body)))}))
