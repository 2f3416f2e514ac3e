"""Protocols with a model for any contract, called through the application in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import httpx
import numpy as np

from application.inference.predictor import Predictor
from application.inference.protocols.app import PredictionApp, Receive, Scope, Send, Started
from application.inference.protocols.http import Route
from application.ports.model import Model
from domain.contract import Classes, ModelSpec, Number
from tests.fakes import FakeMetrics, FakeRecorder
from tests.kinds import KINDS, UNLIKE


def model_of(spec: ModelSpec) -> Model:
    """A model whose predictions follow the sum of a row, or the length of a text."""

    def predict(encoded: np.ndarray) -> np.ndarray:
        if encoded.dtype == object:
            sums = np.array([float(len(text)) for (text,) in encoded])
        else:
            sums = np.nan_to_num(encoded.astype(np.float64), nan=-1).sum(axis=1)
        if not spec.classes:
            return np.stack([sums, sums - 1, sums + 1], axis=1).astype(np.float32)
        predictions = np.full((len(sums), len(spec.classes)), 0.3 / len(spec.classes), np.float32)
        predictions[np.arange(len(sums)), sums.astype(int) % len(spec.classes)] += np.float32(0.7)
        return predictions

    return predict


def predictor_of(spec: ModelSpec, recorder: FakeRecorder | None = None) -> Predictor:
    """A predictor with `model_of` a contract."""
    return Predictor(spec, model_of(spec), recorder or FakeRecorder())


# a classifier with a decision threshold: its input is the probability of the positive class
RISK = ModelSpec(
    "risk", (Number("risk", "", 0, 1),), Classes(("no", "yes"), "leaves", threshold=0.2)
)
RISKS = [[0.1], [0.2], [0.45], [0.9]]
DECISIONS = ["no", "yes", "yes", "yes"]


def risk_of(encoded: np.ndarray) -> np.ndarray:
    """Probabilities of both classes, shape (n_rows, 2)."""
    return np.column_stack([1 - encoded, encoded])


def risk_predictor() -> Predictor:
    """A predictor with a decision threshold."""
    return Predictor(RISK, risk_of, FakeRecorder())


class Client:
    """A client of an application that has some routes and nothing else."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        started: Future[Started] = Future()
        started.set_result(Started(routes, FakeMetrics()))
        self._transport = httpx.ASGITransport(
            PredictionApp(_nothing, lambda _path: (), started=started)
        )

    def get(self, path: str) -> httpx.Response:
        """Send a GET request."""
        return asyncio.run(self._send("GET", path))

    def post(self, path: str, **request: Any) -> httpx.Response:
        """Send a POST request with the arguments of `httpx`."""
        return asyncio.run(self._send("POST", path, **request))

    async def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        client = httpx.AsyncClient(transport=self._transport, base_url="http://service")
        return await client.request(method, path, **request)


async def _nothing(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def rows_of(kind: str, limit: int = 20) -> list[Sequence[Any]]:
    """Rows of a kind's data, and unusual ones, as JSON values."""
    frame = KINDS[kind].load().inputs.head(limit).astype(object)
    rows = [[_json_value(value) for value in row] for row in frame.to_numpy()]
    return [*rows, *UNLIKE[kind]]


def _json_value(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return None if isinstance(value, float) and np.isnan(value) else value


def expected(spec: ModelSpec, rows: Sequence[Sequence[Any]]) -> np.ndarray:
    """The predictions of `model_of` a contract."""
    return model_of(spec)(spec.encode_rows(rows))


def labels(spec: ModelSpec, rows: Sequence[Sequence[Any]]) -> list[str]:
    """The classes that `model_of` a contract predicts."""
    return [spec.classes[code] for code in expected(spec, rows).argmax(axis=1)]
