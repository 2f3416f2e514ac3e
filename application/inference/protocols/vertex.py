"""Vertex AI's prediction protocol: POST ``{"instances": […]}`` returns ``{"predictions": […]}``.

An instance is a list in the contract's order, an object with named inputs and perhaps an ``id``, or
the bare value if the model has a single input. Vertex AI sets the path by AIP_PREDICT_ROUTE.

References:
    https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from application.inference.predictor import Predictor
from application.inference.protocols.http import Request, Route
from application.inference.protocols.json_faults import body_decoder
from application.inference.protocols.openapi import (
    JSON,
    REFUSALS,
    Schema,
    list_of,
    object_of,
    operation,
)
from application.inference.protocols.responses import ResponseBuilder
from application.inference.protocols.rows import RowReader
from application.inference.protocols.schema import EXAMPLES, any_row_schema, predictions_schema
from domain.errors import InputError

PATH = "/vertex/predict"


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    instances: list[Any]
    parameters: dict[str, Any] | None = None


class VertexPrediction:
    """Serves the protocol for one model.

    Args:
        path: the path of the endpoint.
    """

    def __init__(self, predictor: Predictor, path: str = PATH) -> None:
        self._predictor = predictor
        self._path = path
        self._rows = RowReader(predictor.spec)
        self._responses = ResponseBuilder(predictor.spec)
        self._decode = body_decoder(_Body, 'send {"instances": […]}')

    def routes(self) -> dict[str, Route]:
        """The route of each path."""
        return {self._path: Route(("POST",), self.predict)}

    def paths(self, rows: Sequence[Sequence[Any]]) -> Schema:
        """The paths of the OpenAPI document.

        Args:
            rows: rows for the examples.
        """
        spec = self._predictor.spec
        instances = list_of(any_row_schema(spec))
        empty = {"type": "object", "nullable": True, "maxProperties": 0}
        body = object_of({"instances": instances, "parameters": empty}, ["instances"])
        predict = operation(
            "Vertex AI",
            "Predict for instances",
            bodies={JSON: {**body, "example": {"instances": list(map(list, rows[:EXAMPLES]))}}},
            responses={JSON: object_of({"predictions": predictions_schema(spec)})},
            refusals=REFUSALS,
        )
        return {self._path: {"post": predict}}

    def predict(self, request: Request) -> bytes:
        """Predict for instances.

        Raises:
            InputError: an instance breaks the contract, or there are parameters.
        """
        body = self._decode(request.body)
        if body.parameters:
            names = ", ".join(body.parameters)[:200]
            raise InputError(f"parameters are not supported, got {names}")
        self._predictor.check_row_count(len(body.instances))
        rows, ids = self._rows.read(body.instances), self._rows.ids(body.instances)
        result = self._predictor.predict(request.request_id, rows, ids, request.caller)
        return msgspec.json.encode({"predictions": self._responses.predictions(result)})
