"""The tutorial's endpoints with fakes, called through the application without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from application.inference.protocols.app import (
    Message,
    PredictionApp,
    Receive,
    Scope,
    Send,
    Started,
)
from application.inference.protocols.rest import RestApi
from domain.contract import ModelSpec
from tests.fakes import FakeClassifier, FakeMetrics, FakePredictionLog

POST_ONLY = [
    *("/predict", "/predict_json", "/classify", "/classify_json"),
    *("/get_metrics_summary", "/feedback"),
]
Headers = Sequence[tuple[bytes, bytes]]


class InnerApp:
    """The wrapped application, which keeps the paths of the requests that reach it.

    It has the paths of the endpoints too, as BentoML's application has.
    """

    def __init__(self) -> None:
        self.reached: list[str] = []

    @staticmethod
    def serves(path: str) -> Sequence[str]:
        """The methods that it supports at a path."""
        return ("POST",) if path in (*POST_ONLY, "/health_check") else ()

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        self.reached.append(scope["path"])


class Echo:
    """Predicts the first number of each row, or a text's length, and keeps the rows of each call.

    As a value with an interval of ± 10, or as the probability of the first of two classes.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.calls: list[np.ndarray] = []
        self._spec = spec

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Predictions, float32 of shape (n_rows, n_outputs)."""
        self.calls.append(rows)
        first = self._spec.monitored(rows)[:, :1] if rows.dtype == object else rows[:, :1]
        first = np.nan_to_num(first.astype(np.float32), nan=-1)
        parts = [first, 1 - first] if self._spec.classes else [first, first - 10, first + 10]
        return np.concatenate(parts, axis=1)


FakeModel = FakeClassifier | Echo


@dataclass(frozen=True)
class Response:
    """The messages of a response; none if the inner application was reached."""

    messages: list[Message]

    @property
    def status(self) -> int:
        """The HTTP status."""
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The headers."""
        return dict(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        """The body; its length and type match the headers."""
        body: bytes = self.messages[1]["body"]
        assert self.headers[b"content-type"] == b"application/json"
        assert self.headers[b"content-length"] == str(len(body)).encode()
        assert len(self.messages) == 2
        return body

    @property
    def json(self) -> Any:
        """The body as data."""
        return json.loads(self.body)


@dataclass
class Service:
    """A service with its fakes."""

    api: RestApi
    model: FakeModel
    metrics: FakeMetrics
    log: FakePredictionLog
    inner: InnerApp = field(default_factory=InnerApp)

    def __post_init__(self) -> None:
        started: Future[Started] = Future()
        started.set_result(Started(self.api.routes(), self.metrics, lambda _: None))
        self._app = PredictionApp(self.inner, self.inner.serves, started=started)

    def call(
        self, path: str, body: bytes = b"", *, method: str = "POST", headers: Headers = ()
    ) -> Response:
        """Send one request on an event loop of its own."""
        return asyncio.run(self.send(path, body, method=method, headers=headers))

    async def send(
        self, path: str, body: bytes = b"", *, method: str = "POST", headers: Headers = ()
    ) -> Response:
        """Send one request whose body comes at once."""
        scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body}

        async def send(message: Message) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        return Response(sent)

    def post(self, path: str, data: Any) -> Response:
        """Send one request with a JSON body."""
        return self.call(path, json.dumps(data).encode())
