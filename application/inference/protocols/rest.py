"""The JSON endpoints of a classifier, as an ASGI middleware: what it does not know it passes on.

| endpoint | request |
|---|---|
| POST /classify | ``[[…], …]`` or one flat row of numbers |
| POST /classify_json | one object with the inputs by name, or ``{"instances": [{…}, …]}`` |
| GET, POST /health_check | |
| POST /get_metrics_summary | ``{"hours": 1}`` |
| POST /feedback | ``{"request_id", "row", "actual_class"}``, or the inputs with
``predicted_class`` and ``actual_class`` |
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Annotated, Any

import msgspec

from application.inference.predictor import MAX_ROWS, Answered, Predictor
from application.monitoring.accounting import Accountant
from application.monitoring.feedback import Feedback
from application.monitoring.summary import summarise
from application.ports import MetricsSink, PredictionLog
from domain.errors import InputError, UnknownPredictionError

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 8 * 1024 * 1024
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class _TooLarge(Exception):
    """The body is larger than `MAX_BODY_BYTES`."""


class _Disconnected(Exception):
    """The caller has gone before its body was whole."""


class SummaryRequest(msgspec.Struct, forbid_unknown_fields=True):
    """How far back a summary looks."""

    hours: float = 1.0


class PredictionFeedback(msgspec.Struct, forbid_unknown_fields=True):
    """The true class of an earlier prediction, by its identity."""

    request_id: str
    actual_class: str | int
    row: Annotated[int, msgspec.Meta(ge=0, lt=MAX_ROWS)] = 0


class _Decoders:  # pylint: disable=too-few-public-methods
    """Decoders of every request body; those with inputs follow the contract's names."""

    def __init__(self, features: tuple[str, ...]) -> None:
        fields: list[Any] = [(feature, float) for feature in features]
        labels: list[Any] = [("predicted_class", str | int), ("actual_class", str | int)]
        confidence: list[Any] = [("confidence", float | None, None)]
        row = _struct("Row", fields)
        self.keys = msgspec.json.Decoder(dict[str, msgspec.Raw])
        self.rows: msgspec.json.Decoder[Any] = msgspec.json.Decoder(list[list[float] | float])
        self.row = msgspec.json.Decoder(row)
        self.instances = msgspec.json.Decoder(_struct("Instances", [("instances", list[row])]))  # type: ignore[valid-type]
        self.inputs_feedback = msgspec.json.Decoder(
            _struct("Feedback", fields + labels + confidence)
        )
        self.prediction_feedback = msgspec.json.Decoder(PredictionFeedback)
        self.summary = msgspec.json.Decoder(SummaryRequest)


def _struct(name: str, fields: list[Any]) -> Any:
    return msgspec.defstruct(name, fields, forbid_unknown_fields=True)


class ClassifierApi:
    """Turns request bodies into answers; knows nothing of HTTP but the bodies.

    Args:
        name, version: the model, as answers and the health check show it.
    """

    def __init__(
        self,
        name: str,
        version: str,
        predictor: Predictor,
        accountant: Accountant,
        log: PredictionLog,
        metrics: MetricsSink,
    ) -> None:
        spec = predictor.spec
        self.identity = {"model_name": name, "version": version}
        self.metrics = metrics
        self._predictor = predictor
        self._accountant = accountant
        self._log = log
        self._spec = spec
        self._feedback = Feedback(spec, log, metrics)
        self._decode = _Decoders(spec.feature_names)

    def classify(self, body: bytes, request_id: str) -> Any:
        """Answer ``[[…], …]`` or one flat row."""
        rows = self._decode.rows.decode(body)
        if rows and not isinstance(rows[0], list):
            rows = [rows]
        for index, row in enumerate(rows):
            if not isinstance(row, list):
                raise InputError(f"row {index} is a number, expected a list of numbers")
            for column, value in enumerate(row):
                if not isinstance(value, float):
                    raise InputError(f"row {index}, value {column} is a list, expected a number")
        return self._answer(self._predictor.predict(request_id, rows))

    def classify_json(self, body: bytes, request_id: str) -> Any:
        """Answer one object, or the objects under ``instances``."""
        if "instances" in self._decode.keys.decode(body):
            objects = self._decode.instances.decode(body).instances
        else:
            objects = [self._decode.row.decode(body)]
        rows = [msgspec.structs.astuple(item) for item in objects]
        return self._answer(self._predictor.predict(request_id, rows))

    def health_check(self, _body: bytes, _request_id: str) -> Any:
        """Say who is here; a service that has not answered its golden requests is not reached."""
        return {
            "status": "healthy",
            **self.identity,
            "classes": self._spec.classes,
            "metrics_endpoint": "/metrics",
        }

    def get_metrics_summary(self, body: bytes, _request_id: str) -> Any:
        """Totals of the last hours."""
        hours = self._decode.summary.decode(body or b"{}").hours
        if not 0 < hours <= 24 * 366:
            raise InputError(f"hours: {hours:g} is not between 0 and {24 * 366}")
        self._accountant.flush()
        return {"status": "success", "metrics": summarise(self._log, self._spec, hours)}

    def feedback(self, body: bytes, _request_id: str) -> Any:
        """Record what a prediction should have been."""
        self._accountant.flush()
        if "request_id" in self._decode.keys.decode(body):
            given = self._decode.prediction_feedback.decode(body)
            recorded = self._feedback.for_prediction(
                given.request_id, given.row, given.actual_class
            )
        else:
            item = self._decode.inputs_feedback.decode(body)
            inputs = [getattr(item, name) for name in self._spec.feature_names]
            recorded = self._feedback.for_inputs(
                inputs, item.predicted_class, item.actual_class, item.confidence
            )
        return {
            "status": "feedback_recorded",
            "request_id": recorded.request_id,
            "row": recorded.row,
            "predicted_class": recorded.predicted_class,
            "actual_class": recorded.actual_class,
            "correct": recorded.predicted_class == recorded.actual_class,
            "joined": recorded.joined,
        }

    def _answer(self, answered: Answered) -> dict[str, Any]:
        classes = self._spec.classes
        columns = zip(
            answered.predicted.tolist(),
            answered.confidence.tolist(),
            answered.probabilities.tolist(),
            strict=True,
        )
        return {
            "predictions": [
                {
                    "prediction": classes[code],
                    "prediction_id": code,
                    "confidence": confidence,
                    "probabilities": dict(zip(classes, probabilities)),
                    "row": row,
                }
                for row, (code, confidence, probabilities) in enumerate(columns)
            ],
            "request_id": answered.request_id,
            **self.identity,
        }


class RestMiddleware:
    """Answers the endpoints of a `ClassifierApi` and passes everything else on.

    Args:
        app: what answers the rest.
        api: gives the api; called for each request, since the service makes it when it starts.
    """

    def __init__(self, app: App, api: Callable[[], ClassifierApi]) -> None:
        self._app = app
        self._api = api
        both, post = ("GET", "POST"), ("POST",)
        # path → methods, handler, whether it waits for the database
        self._routes = {
            "/classify": (post, ClassifierApi.classify, False),
            "/classify_json": (post, ClassifierApi.classify_json, False),
            "/health_check": (both, ClassifierApi.health_check, False),
            "/get_metrics_summary": (post, ClassifierApi.get_metrics_summary, True),
            "/feedback": (post, ClassifierApi.feedback, True),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        route = self._routes.get(scope["path"]) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        methods, handler, waits = route
        if scope["method"] not in methods:
            allowed = ", ".join(methods)
            answer = {"error": f"{scope['method']} is not answered here, only {allowed}"}
            await _reply(send, 405, answer, [(b"allow", allowed.encode())])
            return
        api, request_id = self._api(), _request_id(scope)
        status, error_type = 200, None
        try:
            body = await _read(receive)
            if waits:
                answer = await asyncio.to_thread(handler, api, body, request_id)
            else:
                answer = handler(api, body, request_id)
        except _TooLarge:
            status, error_type = 413, "too_large"
            answer = {"error": f"the body is larger than {MAX_BODY_BYTES} bytes"}
        except _Disconnected:
            return
        except (InputError, msgspec.ValidationError) as error:
            status, error_type, answer = 422, "invalid_input", {"error": str(error)}
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            status, error_type, answer = 400, "invalid_input", {"error": str(error)}
        except RecursionError:
            status, error_type = 400, "invalid_input"
            answer = {"error": "the JSON is nested too deeply"}
        except UnknownPredictionError as error:
            status, error_type, answer = 404, "unknown_prediction", {"error": str(error)}
        except Exception:  # pylint: disable=broad-exception-caught  # the last line of defence
            logger.exception("request %s failed", request_id)
            status, error_type = 500, "internal"
            answer = {"error": "an unexpected fault, recorded in the service's log"}
        if error_type:
            api.metrics.record_error(error_type)
            answer["request_id"] = request_id
        await _reply(send, status, answer, [(b"x-request-id", request_id.encode())])


def _request_id(scope: Scope) -> str:
    """The caller's X-Request-ID where it is a plain one, else a new identity."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given = value.decode("latin-1")
            if _REQUEST_ID.fullmatch(given):
                return str(given)
    return uuid.uuid4().hex


async def _read(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Disconnected
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise _TooLarge
        more = message.get("more_body", False)
    return body


async def _reply(send: Send, status: int, answer: Any, headers: list[tuple[bytes, bytes]]) -> None:
    body = msgspec.json.encode(answer)
    headers += [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
