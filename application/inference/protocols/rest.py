"""The JSON endpoints of a model, as the tutorial has them.

| endpoint | request |
|---|---|
| POST /predict | ``[[…], …]`` or one flat row, in the contract's order |
| POST /predict_json | one object with the inputs by name, or ``{"instances": [{…}, …]}`` |
| POST /classify, /classify_json | the same, only for a classifier |
| GET, POST /health_check | |
| POST /get_metrics_summary | ``{"hours": 1}`` |
| POST /feedback | ``{"request_id", "row", "actual_class"}`` or ``{"id", "actual_class"}``, or the
inputs with ``predicted_class`` and ``actual_class``; for a regressor ``predicted`` and ``actual`` |
| GET /docs.json | the OpenAPI document, including error responses |

An object with the inputs may have an ``id``, the caller's own key of the row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from application.inference.predictor import Predictor
from application.inference.protocols.http import Request, Route, Steps
from application.inference.protocols.openapi import REFUSALS, Schema, with_query, with_refusals
from application.inference.protocols.responses import ResponseBuilder
from application.inference.protocols.rows import RowReader, known_ids
from application.inference.protocols.schema import (
    LAST_ROW,
    MOST_HOURS,
    has_plain_names,
    takes_feedback_by_inputs,
    takes_instances,
    truth_names,
)
from application.inference.protocols.synthetic import SYNTHETIC
from application.monitoring.feedback import Feedback, FeedbackResult
from application.monitoring.recorder import PredictionRecorder
from application.monitoring.summary import summarise
from application.ports.metrics import QualityMetrics
from application.ports.prediction_log import FeedbackLog
from application.ports.recorder import PredictionResult
from domain.contract import (
    ID,
    Datetime,
    HashedText,
    Input,
    ModelSpec,
    Number,
    Quantity,
    Tensor,
    Text,
)
from domain.errors import InputError
from domain.evaluation.measures import Measure, default_measure

_encode = msgspec.json.Encoder().encode


class SummaryRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The period of a summary: the last so many hours."""

    hours: float = 1.0


class _Decoders:  # pylint: disable=too-few-public-methods
    """Decoders of every request body; those with inputs have the contract's names.

    Decoding checks rows of numbers; the contract checks all other values.
    """

    def __init__(self, spec: ModelSpec) -> None:
        # the names of inputs may not be valid identifiers
        names = {f"input_{number}": item.name for number, item in enumerate(spec.inputs)}
        inputs = [
            (field, _type_of(item), *([None] if item.nullable else []))
            for field, item in zip(names, spec.inputs)
        ]
        truth: Any = str | float | int | bool if spec.classes else float
        names["predicted"], names["actual"] = truth_names(spec)
        actual: list[Any] = [("actual", truth)]
        labels = [("predicted", truth), *actual]
        if spec.classes:
            labels.append(("confidence", float | None, None))
        row_number = Annotated[int, msgspec.Meta(ge=0, le=LAST_ROW)]
        number = float | None if any(item.nullable for item in spec.inputs) else float
        rows = list[list[number] | number] if spec.is_numeric else list[Any]  # type: ignore[valid-type]
        self.keys = msgspec.json.Decoder(dict[str, msgspec.Raw])
        self.rows: msgspec.json.Decoder[Any] = msgspec.json.Decoder(rows)
        self.named = _NamedRows(spec, inputs, names)
        self.prediction_feedback = msgspec.json.Decoder(
            _struct("Feedback", [("request_id", str), *actual, ("row", row_number, 0)], names)
        )
        self.inputs_feedback = self.prediction_feedback
        if takes_feedback_by_inputs(spec):
            self.inputs_feedback = msgspec.json.Decoder(
                _struct("InputsFeedback", inputs + labels, names)
            )
        self.id_feedback = msgspec.json.Decoder(
            _struct("IdFeedback", [(ID, str | int | float), *actual], names)
        )
        self.summary = msgspec.json.Decoder(SummaryRequest)


class _NamedRows:  # pylint: disable=too-few-public-methods
    """Reads one object with named inputs, or several as ``instances``, and their IDs.

    Args:
        inputs: fields of a struct with the inputs.
        names: of these fields in JSON.
    """

    def __init__(self, spec: ModelSpec, inputs: list[Any], names: dict[str, str]) -> None:
        self._several = takes_instances(spec)
        self._keys = msgspec.json.Decoder(dict[str, msgspec.Raw])
        self._reader = None if has_plain_names(spec) else RowReader(spec)
        fields = {False: inputs}
        if spec.takes_ids:
            fields[True] = [*inputs, (ID, Any, None)]
        self._decoders = {}
        for with_ids, chosen in fields.items():
            row = dict[str, Any] if self._reader else _struct("Row", chosen, names)
            several: list[Any] = [("instances", list[row])]  # type: ignore[valid-type]
            decoders = (row, _struct("Instances", several, {}))
            self._decoders[with_ids] = [msgspec.json.Decoder(kind).decode for kind in decoders]

    def read(self, body: bytes) -> tuple[list[Any], list[Any] | None]:
        """The rows in a body, and their IDs; None if no row has one."""
        several = self._several and "instances" in self._keys.decode(body)
        with_ids = False
        try:
            found = self._decoders[False][several](body)
        except msgspec.ValidationError:  # decoding without IDs is faster
            if True not in self._decoders:
                raise
            with_ids, found = True, self._decoders[True][several](body)
        objects = found.instances if several else [found]
        if self._reader:
            return self._reader.read(objects), self._reader.ids(objects)
        rows: list[Any] = list(map(msgspec.structs.astuple, objects))
        if not with_ids:
            return rows, None
        return [row[:-1] for row in rows], known_ids([row[-1] for row in rows])


def _struct(name: str, fields: list[Any], names: dict[str, str]) -> Any:
    """A struct; `names` maps its fields to other names in JSON."""
    return msgspec.defstruct(name, fields, rename=names, forbid_unknown_fields=True, kw_only=True)


def _type_of(item: Input) -> Any:
    found: Any = str | int | float | bool
    if isinstance(item, Number):
        found = float
    elif isinstance(item, Datetime | Text | HashedText):
        found = str
    elif isinstance(item, Tensor):
        found = float
        for _ in item.shape:
            found = list[found]
    return found | None if item.nullable else found


def _id_of(feedback: Any) -> dict[str, Any]:
    """The ID of feedback as it was sent, for its response."""
    return {ID: feedback.id} if hasattr(feedback, ID) else {}


class RestApi:
    """Turns request bodies into responses.

    Args:
        name, version: of the model, as in responses and the health check.
        document: gives the OpenAPI document, to which ``/docs.json`` adds error responses.
        measure: of the live quality; None for accuracy or R².
    """

    def __init__(
        self,
        name: str,
        version: str,
        predictor: Predictor,
        recorder: PredictionRecorder,
        log: FeedbackLog,
        metrics: QualityMetrics,
        document: Callable[[], Schema],
        measure: Measure | None = None,
    ) -> None:
        spec = predictor.spec
        self._measure = measure or default_measure(spec)
        self._identity = {"model_name": name, "version": version}
        self._predictor = predictor
        self._recorder = recorder
        self._log = log
        self._document = document
        self._feedback = Feedback(self._measure, log, metrics, recorder.flush)
        self._decode = _Decoders(spec)
        self._is_value = RowReader(spec).is_value
        self._responses = ResponseBuilder(spec)
        self._interval: dict[str, Any] = {}
        if isinstance(spec.output, Quantity):
            self._interval = {"coverage": spec.output.coverage, "unit": spec.output.unit}

    def routes(self) -> dict[str, Route]:
        """The route of each path."""
        both, post = ("GET", "POST"), ("POST",)
        routes = {
            "/predict": Route(post, self.predict),
            "/predict_json": Route(post, self.predict_json),
            "/health_check": Route(both, self.health_check),
            "/get_metrics_summary": Route(post, self.get_metrics_summary, waits=True),
            "/feedback": Route(post, self.feedback, waits=True),
        }
        if self._measure.spec.classes:
            routes["/classify"] = routes["/predict"]
            routes["/classify_json"] = routes["/predict_json"]
        refusals = dict.fromkeys(routes, REFUSALS)
        refusals["/feedback"] = {**REFUSALS, 404: "unknown prediction"}

        def describe(_request: Request) -> bytes:
            bodiless = ("/health_check", "/get_metrics_summary")
            document = with_refusals(self._document(), refusals, bodiless)
            return _encode(with_query(document, "/health_check"))

        return routes | {"/docs.json": Route(("GET",), describe)}

    def predict(self, request: Request) -> bytes:
        """Predict for ``[[…], …]`` or one flat row."""
        rows = self._decode.rows.decode(request.body)
        is_numeric = self._measure.spec.is_numeric
        if rows and self._is_value(rows[0]):  # a flat row
            rows = [rows]
            for column, item in enumerate(rows[0] if is_numeric else ()):
                if isinstance(item, list):
                    raise InputError(f"row 0, value {column} is a list, expected a number")
        for index, row in enumerate(rows):
            if not isinstance(row, list):
                value = "number" if is_numeric else "value"
                raise InputError(f"row {index} is a {value}, expected a list of {value}s")
        return self._response(
            self._predictor.predict(request.request_id, rows, caller=request.caller)
        )

    def predict_json(self, request: Request) -> bytes:
        """Predict for one object, or for the objects under ``instances``."""
        rows, ids = self._decode.named.read(request.body)
        return self._response(
            self._predictor.predict(request.request_id, rows, ids, request.caller)
        )

    def health_check(self, _request: Request) -> bytes:
        """Name the model. A service has no routes before it reproduced its golden requests."""
        classes = {"classes": self._measure.spec.classes} if self._measure.spec.classes else {}
        return _encode(
            {
                "status": "healthy",
                **self._identity,
                "task": self._measure.spec.task,
                **classes,
                "metrics_endpoint": "/metrics",
            }
        )

    def get_metrics_summary(self, request: Request) -> bytes:
        """Totals of the last hours."""
        hours = self._decode.summary.decode(request.body or b"{}").hours
        if not 0 < hours <= MOST_HOURS:
            raise InputError(f"hours: {hours:g} is not between 0 and {MOST_HOURS}")
        self._recorder.flush()
        metrics = summarise(self._log, self._measure, hours)
        return _encode({"status": "success", "metrics": metrics})

    def feedback(self, request: Request) -> Steps:
        """Record the actual class or value of a prediction."""
        body, synthetic = request.body, SYNTHETIC in request.headers
        decode = self._decode
        keys = decode.keys.decode(body)
        by_inputs = decode.inputs_feedback is not decode.prediction_feedback
        if self._measure.spec.takes_ids and ID in keys and "request_id" not in keys:
            item = decode.id_feedback.decode(body)
            if synthetic:
                return self._synthetic_response(request.request_id, item)
            result = yield from self._feedback.for_id(item.id, item.actual)
        elif by_inputs and "request_id" not in keys:
            item = decode.inputs_feedback.decode(body)
            if synthetic:
                return self._synthetic_response(request.request_id, item)
            inputs = msgspec.structs.astuple(item)[: len(self._measure.spec.inputs)]
            confidence = getattr(item, "confidence", None)
            result = yield from self._feedback.for_inputs(
                inputs, item.predicted, item.actual, confidence
            )
        else:
            item = decode.prediction_feedback.decode(body)
            if synthetic:
                return self._synthetic_response(item.request_id, item)
            result = yield from self._feedback.for_prediction(
                item.request_id, item.row, item.actual
            )
        return self._feedback_response(result, _id_of(item))

    def _synthetic_response(self, request_id: str, feedback: Any) -> bytes:
        """Accept feedback on a synthetic prediction without recording it: it is in no log."""
        _, actual = truth_names(self._measure.spec)
        response = {
            "status": "feedback_recorded",
            "request_id": request_id,
            "row": getattr(feedback, "row", 0),
            **_id_of(feedback),
            actual: self._feedback.truth("actual", feedback.actual),
            "joined": False,
            "synthetic": True,
        }
        return _encode(response)

    def _feedback_response(self, result: FeedbackResult, row_id: dict[str, Any]) -> bytes:
        predicted, actual = truth_names(self._measure.spec)
        comparison: dict[str, Any] = {"correct": result.predicted == result.actual}
        if not self._measure.spec.classes:
            comparison = {"absolute_error": abs(float(result.predicted) - float(result.actual))}
        response = {
            "status": "feedback_recorded",
            "request_id": result.request_id,
            "row": result.row,
            **row_id,
            predicted: result.predicted,
            actual: result.actual,
            **comparison,
            "joined": result.joined,
        }
        return _encode(response)

    def _response(self, result: PredictionResult) -> bytes:
        return _encode(
            {
                "predictions": self._responses.predictions(result),
                **self._interval,
                "request_id": result.request_id,
                **self._identity,
            }
        )
