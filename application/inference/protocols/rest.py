"""The JSON endpoints of a model, as an ASGI middleware: what it does not know it passes on.

| endpoint | request |
|---|---|
| POST /predict | ``[[…], …]`` or one flat row, in the contract's order |
| POST /predict_json | one object with the inputs by name, or ``{"instances": [{…}, …]}`` |
| POST /classify, /classify_json | the same, where the answer is a class |
| GET, POST /health_check | |
| POST /get_metrics_summary | ``{"hours": 1}`` |
| POST /feedback | ``{"request_id", "row", "actual_class"}``, or the inputs with
``predicted_class`` and ``actual_class``; of a quantity, ``predicted`` and ``actual`` |
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Annotated, Any

import msgspec
import numpy as np

from application.inference.predictor import MAX_ROWS, Answered, Predictor
from application.inference.protocols.request_id import request_id_of
from application.inference.protocols.schema import (
    Schema,
    takes_feedback_by_inputs,
    takes_instances,
    truth_names,
    with_refusals,
)
from application.monitoring.accounting import Accountant
from application.monitoring.feedback import Feedback, Recorded
from application.monitoring.summary import summarise
from application.ports import MetricsSink, PredictionLog
from domain.errors import InputError, UnknownPredictionError
from domain.models.contract import Input, ModelSpec, Number, Quantity, Tensor, Text

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 8 * 1024 * 1024
_REFUSALS = {
    400: "the body is no JSON",
    413: f"the body is larger than {MAX_BODY_BYTES} bytes",
    422: "the request breaks the contract; the error says where",
    500: "an unexpected fault",
}

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Handler = Callable[["ModelApi", bytes, str], Any]


class _TooLarge(Exception):
    """The body is larger than `MAX_BODY_BYTES`."""


class _Disconnected(Exception):
    """The caller has gone before its body was whole."""


class SummaryRequest(msgspec.Struct, forbid_unknown_fields=True):
    """How far back a summary looks."""

    hours: float = 1.0


class _Decoders:  # pylint: disable=too-few-public-methods
    """Decoders of every request body; those with inputs follow the contract's names.

    Rows of numbers are checked while they are decoded; what else stands in a row, the contract
    checks.
    """

    def __init__(self, spec: ModelSpec) -> None:
        # the names of inputs need be no identifiers
        names = {f"input_{number}": item.name for number, item in enumerate(spec.inputs)}
        inputs = [
            (field, _type_of(item), *([None] if item.nullable else []))
            for field, item in zip(names, spec.inputs)
        ]
        truth: Any = str | int if spec.classes else float
        names["predicted"], names["actual"] = truth_names(spec)
        actual: list[Any] = [("actual", truth)]
        labels = [("predicted", truth), *actual]
        if spec.classes:
            labels.append(("confidence", float | None, None))
        row_number = Annotated[int, msgspec.Meta(ge=0, lt=MAX_ROWS)]
        number = float | None if any(item.nullable for item in spec.inputs) else float
        rows = list[list[number] | number] if spec.is_numeric else list[Any]  # type: ignore[valid-type]
        row = _struct("Row", inputs, names)
        several: list[Any] = [("instances", list[row])]  # type: ignore[valid-type]
        self.keys = msgspec.json.Decoder(dict[str, msgspec.Raw])
        self.rows: msgspec.json.Decoder[Any] = msgspec.json.Decoder(rows)
        self.row = msgspec.json.Decoder(row)
        self.instances = msgspec.json.Decoder(_struct("Instances", several, {}))
        self.prediction_feedback = msgspec.json.Decoder(
            _struct("Feedback", [("request_id", str), *actual, ("row", row_number, 0)], names)
        )
        self.inputs_feedback = self.prediction_feedback
        if takes_feedback_by_inputs(spec):
            self.inputs_feedback = msgspec.json.Decoder(
                _struct("InputsFeedback", inputs + labels, names)
            )
        self.summary = msgspec.json.Decoder(SummaryRequest)


def _struct(name: str, fields: list[Any], names: dict[str, str]) -> Any:
    """A struct whose fields have other names in JSON where `names` has them."""
    return msgspec.defstruct(name, fields, rename=names, forbid_unknown_fields=True, kw_only=True)


def _type_of(item: Input) -> Any:
    found: Any = str | int | float | bool
    if isinstance(item, Number):
        found = float
    elif isinstance(item, Text):
        found = str
    elif isinstance(item, Tensor):
        found = float
        for _ in item.shape:
            found = list[found]
    return found | None if item.nullable else found


def _depth(value: Any) -> int:
    """How many lists stand around the first value in it."""
    depth = 0
    while isinstance(value, list):
        depth, value = depth + 1, value[0] if value else None
    return depth


class ModelApi:
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
        self._decode = _Decoders(spec)
        first = spec.inputs[0]
        self._flat = len(first.shape) if isinstance(first, Tensor) else 0  # depth of a flat row
        self._interval: dict[str, Any] = {}
        if isinstance(spec.output, Quantity):
            self._interval = {"coverage": spec.output.coverage, "unit": spec.output.unit}

    def predict(self, body: bytes, request_id: str) -> Any:
        """Answer ``[[…], …]`` or one flat row."""
        rows = self._decode.rows.decode(body)
        value = "number" if self._spec.is_numeric else "value"
        if rows and _depth(rows[0]) <= self._flat:
            rows = [rows]
            for column, item in enumerate(rows[0] if self._spec.is_numeric else ()):
                if isinstance(item, list):
                    raise InputError(f"row 0, value {column} is a list, expected a number")
        for index, row in enumerate(rows):
            if not isinstance(row, list):
                raise InputError(f"row {index} is a {value}, expected a list of {value}s")
        return self._answer(self._predictor.predict(request_id, rows))

    def predict_json(self, body: bytes, request_id: str) -> Any:
        """Answer one object, or the objects under ``instances``."""
        if takes_instances(self._spec) and "instances" in self._decode.keys.decode(body):
            objects = self._decode.instances.decode(body).instances
        else:
            objects = [self._decode.row.decode(body)]
        rows = [msgspec.structs.astuple(item) for item in objects]
        return self._answer(self._predictor.predict(request_id, rows))

    def health_check(self, _body: bytes, _request_id: str) -> Any:
        """Say who is here; a service that has not answered its golden requests is not reached."""
        classes = {"classes": self._spec.classes} if self._spec.classes else {}
        return {
            "status": "healthy",
            **self.identity,
            "task": self._spec.task,
            **classes,
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
        decode = self._decode
        by_inputs = decode.inputs_feedback is not decode.prediction_feedback
        if by_inputs and "request_id" not in decode.keys.decode(body):
            item = decode.inputs_feedback.decode(body)
            inputs = msgspec.structs.astuple(item)[: len(self._spec.inputs)]
            confidence = getattr(item, "confidence", None)
            return self._recorded(
                self._feedback.for_inputs(inputs, item.predicted, item.actual, confidence)
            )
        given = decode.prediction_feedback.decode(body)
        return self._recorded(
            self._feedback.for_prediction(given.request_id, given.row, given.actual)
        )

    def _recorded(self, recorded: Recorded) -> dict[str, Any]:
        predicted, actual = truth_names(self._spec)
        right: dict[str, Any] = {"correct": recorded.predicted == recorded.actual}
        if not self._spec.classes:
            right = {"absolute_error": abs(float(recorded.predicted) - float(recorded.actual))}
        return {
            "status": "feedback_recorded",
            "request_id": recorded.request_id,
            "row": recorded.row,
            predicted: recorded.predicted,
            actual: recorded.actual,
            **right,
            "joined": recorded.joined,
        }

    def _answer(self, answered: Answered) -> dict[str, Any]:
        shown = self._values if answered.confidence is None else self._classes
        return {
            "predictions": shown(answered),
            **self._interval,
            "request_id": answered.request_id,
            **self.identity,
        }

    def _classes(self, answered: Answered) -> list[dict[str, Any]]:
        classes = self._spec.classes
        columns = zip(
            answered.predicted.tolist(),
            np.asarray(answered.confidence).tolist(),
            answered.answers.tolist(),
            strict=True,
        )
        return [
            {
                "prediction": classes[code],
                "prediction_id": code,
                "confidence": confidence,
                "probabilities": dict(zip(classes, probabilities)),
                "row": row,
            }
            for row, (code, confidence, probabilities) in enumerate(columns)
        ]

    def _values(self, answered: Answered) -> list[dict[str, Any]]:
        names = (*self._spec.answer_names, "row")
        return [
            dict(zip(names, (*values, row))) for row, values in enumerate(answered.answers.tolist())
        ]


class RestMiddleware:
    """Answers the endpoints of a `ModelApi` and passes everything else on.

    Args:
        app: what answers the rest.
        spec: the model's contract, which says what endpoints there are.
        api: gives the api; called for each request, since the service makes it when it starts.
        document: gives the app's OpenAPI document, to which ``/docs.json`` then adds how the
            endpoints here refuse a request.
    """

    def __init__(
        self,
        app: App,
        spec: ModelSpec,
        api: Callable[[], ModelApi],
        document: Callable[[], Schema] | None = None,
    ) -> None:
        self._app = app
        self._api = api
        both, post = ("GET", "POST"), ("POST",)
        # path → methods, handler, whether it waits for the database
        self._routes: dict[str, tuple[tuple[str, ...], Handler, bool]] = {
            "/predict": (post, ModelApi.predict, False),
            "/predict_json": (post, ModelApi.predict_json, False),
            "/health_check": (both, ModelApi.health_check, False),
            "/get_metrics_summary": (post, ModelApi.get_metrics_summary, True),
            "/feedback": (post, ModelApi.feedback, True),
        }
        if spec.classes:
            self._routes["/classify"] = self._routes["/predict"]
            self._routes["/classify_json"] = self._routes["/predict_json"]
        if document:
            refusals = dict.fromkeys(self._routes, _REFUSALS)
            refusals["/feedback"] = _REFUSALS | {404: "there is no such prediction"}

            def describe(_api: ModelApi, _body: bytes, _request_id: str) -> Any:
                return with_refusals(document(), refusals)

            self._routes["/docs.json"] = (("GET",), describe, False)

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
        api, request_id = self._api(), request_id_of(scope)
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
