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
from functools import partial
from typing import Any

import msgspec

from application.inference.predictor import Predictor
from application.inference.protocols.bodies import (
    FeedbackBodies,
    FeedbackForm,
    NamedRows,
    PositionalRows,
)
from application.inference.protocols.http import Request, Route, Steps
from application.inference.protocols.json_faults import body_decoder
from application.inference.protocols.openapi import REFUSALS, Schema, with_query, with_refusals
from application.inference.protocols.responses import ResponseBuilder
from application.inference.protocols.schema import MOST_HOURS, truth_names
from application.inference.protocols.synthetic import SYNTHETIC
from application.monitoring.estimation import QualityEstimator
from application.monitoring.feedback import Feedback, FeedbackResult
from application.monitoring.recorder import PredictionRecorder
from application.monitoring.summary import summarise
from application.ports.metrics import QualityMetrics
from application.ports.prediction_log import FeedbackLog
from application.ports.recorder import PredictionResult
from domain.contract import ID, Quantity
from domain.errors import InputError
from domain.evaluation.measures import Measure, default_measure

_encode = msgspec.json.Encoder().encode


class SummaryRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The period of a summary: the last so many hours."""

    hours: float = 1.0


_decode_summary = body_decoder(SummaryRequest, 'send {"hours": 1}')


def _id_of(feedback: Any) -> dict[str, Any]:
    """The ID of feedback as it was sent, for its response."""
    return {ID: feedback.id} if hasattr(feedback, ID) else {}


class RestApi:
    """Turns request bodies into responses.

    Args:
        name, version: of the model, as in responses and the health check.
        document: gives the OpenAPI document, to which ``/docs.json`` adds error responses.
        measure: of the live quality; None for accuracy or R².
        estimator: of the quality without labels; None to leave it out.
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
        *,
        estimator: QualityEstimator | None = None,
    ) -> None:
        spec = predictor.spec
        self._measure = measure or default_measure(spec)
        self._identity = {"model_name": name, "version": version}
        self._predictor = predictor
        self._recorder = recorder
        self._summarise = partial(summarise, log, self._measure, estimator=estimator)
        self._document = document
        self._feedback = Feedback(self._measure, log, metrics, recorder.flush, version=version)
        check = predictor.check_row_count
        self._rows, self._named = PositionalRows(spec, check), NamedRows(spec, check)
        self._feedback_bodies = FeedbackBodies(spec, self._feedback.truth)
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
        rows = self._rows.read(request.body)
        return self._response(
            self._predictor.predict(request.request_id, rows, caller=request.caller)
        )

    def predict_json(self, request: Request) -> bytes:
        """Predict for one object, or for the objects under ``instances``."""
        rows, ids = self._named.read(request.body)
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
        hours = _decode_summary(request.body or b"{}").hours
        if not 0 < hours <= MOST_HOURS:
            raise InputError(f"hours: {hours:g} is not between 0 and {MOST_HOURS}")
        self._recorder.flush()
        return _encode({"status": "success", "metrics": self._summarise(hours=hours)})

    def feedback(self, request: Request) -> Steps:
        """Record the actual class or value of a prediction."""
        form, item = self._feedback_bodies.read(request.body)
        if SYNTHETIC in request.headers:
            request_id = getattr(item, "request_id", request.request_id)
            return self._synthetic_response(request_id, item)
        if form is FeedbackForm.ID:
            result = yield from self._feedback.for_id(item.id, item.actual)
        elif form is FeedbackForm.INPUTS:
            inputs = msgspec.structs.astuple(item)[: len(self._measure.spec.inputs)]
            confidence = getattr(item, "confidence", None)
            result = yield from self._feedback.for_inputs(
                inputs, item.predicted, item.actual, confidence
            )
        else:
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
