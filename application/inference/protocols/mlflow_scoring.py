"""MLflow's scoring protocol, which is also what SageMaker asks of a container.

POST /invocations takes ``dataframe_split``, ``dataframe_records``, ``instances`` or ``inputs`` in
JSON, or CSV with a header, and answers ``{"predictions": [{…}, …]}`` as `mlflow models serve` does
for the logged model: columns in any order, those that may be missing left out, others ignored.
GET /version tells MLflow's version. Here rows may also be lists in the contract's order.

References:
    https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from application.inference.predictor import Predictor
from application.inference.protocols.http import Refusal, Reply, Request, Route
from application.inference.protocols.openapi import (
    JSON,
    LENIENT,
    TEXT,
    Schema,
    list_of,
    object_of,
    operation,
)
from application.inference.protocols.rows import RowReader
from application.inference.protocols.schema import EXAMPLES, any_row_schema, named_row_schema
from application.ports.recorder import PredictionResult
from domain.contract import Input, Number, Tensor, Text
from domain.errors import InputError

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
CSV = "text/csv"

_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "ENDPOINT_NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class _Split(msgspec.Struct, forbid_unknown_fields=True):
    columns: list[str | int]
    data: list[list[Any]]
    index: Any = None


class _Body(msgspec.Struct):  # `params` and other keys are ignored, as MLflow does
    dataframe_split: _Split | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    instances: list[Any] | dict[str, Any] | None = None
    inputs: list[Any] | dict[str, Any] | None = None


class MlflowScoring:
    """Answers the protocol for one model.

    Args:
        mlflow_version: what GET /version tells.
    """

    def __init__(self, predictor: Predictor, mlflow_version: str) -> None:
        self._predictor = predictor
        self._spec = predictor.spec
        self._version = mlflow_version.encode()
        self._decode = msgspec.json.Decoder(_Body).decode
        self._rows = RowReader(self._spec, others=True)

    def routes(self) -> dict[str, Route]:
        """Every path that is answered."""
        return {
            "/invocations": Route(("POST",), self.invocations, _refuse),
            "/version": Route(("GET",), lambda _request: self._version, _refuse),
        }

    def paths(self, rows: Sequence[Sequence[Any]]) -> Schema:
        """The same in an OpenAPI document.

        Args:
            rows: of which examples are made.
        """
        tag = "MLflow and SageMaker"
        number: Schema = {"type": "number"}
        answer: Schema = dict.fromkeys(self._spec.output_columns, number)
        if self._spec.classes:
            answer = {"prediction": {**TEXT, "enum": list(self._spec.classes)}, **answer}
        invoke = operation(
            tag,
            "Predict for a table",
            bodies=self._bodies(rows[:EXAMPLES]),
            answers={JSON: object_of({"predictions": list_of(object_of(answer))})},
            error=object_of({"error_code": TEXT, "message": TEXT}),
            refusals=LENIENT,
        )
        version = operation(tag, "MLflow's version")  # no JSON, though its content type says so
        ping = operation(tag, "Whether the service is ready")
        return {
            "/invocations": {"post": invoke},
            "/ping": {"get": ping},
            "/version": {"get": version},
        }

    def _bodies(self, rows: Sequence[Sequence[Any]]) -> dict[str, Schema]:
        names = self._spec.input_names
        records = list_of(named_row_schema(self._spec, others=True))
        split = {"columns": list_of(TEXT), "data": list_of({"type": "array", "items": {}})}
        columns = {"type": "object", "description": "the values of each column, by its name"}
        either = {"anyOf": [list_of(any_row_schema(self._spec, others=True)), columns]}
        split_schema = object_of({**split, "index": {}}, list(split))
        forms = [
            {"type": "object", "properties": {form: schema}, "required": [form]}
            for form, schema in zip(FORMS, (split_schema, records, either, either))
        ]
        example = {"dataframe_records": [dict(zip(names, row)) for row in rows]}
        bodies: dict[str, Schema] = {JSON: {"oneOf": forms, "example": example}}
        if not any(isinstance(item, Tensor) for item in self._spec.inputs):
            bodies[CSV] = TEXT
        return bodies

    def invocations(self, request: Request) -> bytes:
        """Answer a table.

        Raises:
            InputError: it is malformed or breaks the contract.
            Refusal: the body is no table, or in another content type.
        """
        if request.content_type == CSV:
            answered = self._columns(request.request_id, self._csv(request.body))
        elif request.content_type in ("application/json", ""):
            answered = self._json(request)
        else:
            told = f"{request.content_type[:60]!r} is not taken: send application/json or {CSV}"
            raise Refusal(415, told)
        return msgspec.json.encode({"predictions": self._predictions(answered)})

    def _json(self, request: Request) -> PredictionResult:
        body = self._decoded(request.body)
        given = [form for form in FORMS if getattr(body, form) is not None]
        if len(given) != 1:
            there = ", ".join(given) or "none"
            raise InputError(f"expected exactly one of {', '.join(FORMS)}, got {there}")
        table = getattr(body, given[0])
        if isinstance(table, _Split):
            if tuple(table.columns) == self._spec.input_names:
                return self._predictor.predict(request.request_id, table.data)
            return self._columns(request.request_id, _columns_of(table.columns, table.data))
        if isinstance(table, dict):
            known = (table[name] for name in self._spec.input_names if name in table)
            if all(isinstance(values, list) for values in known):
                return self._columns(request.request_id, table)
            table = [table]
        return self._predictor.predict(request.request_id, self._rows.read(table))

    def _decoded(self, body: bytes) -> _Body:
        try:
            return self._decode(body)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            if b"NaN" not in body:
                raise
        try:  # MLflow's client writes what is missing as NaN, which JSON has not
            return msgspec.convert(json.loads(body), _Body)
        except ValueError as error:
            raise Refusal(400, f"the body is no JSON: {error}") from error

    def _columns(self, request_id: str, given: Mapping[Any, Any]) -> PredictionResult:
        """Answer columns by name."""
        columns = {name: given[name] for name in self._spec.input_names if name in given}
        rows = max(map(len, columns.values()), default=0)
        for item in self._spec.inputs:
            if item.nullable and item.name not in columns:
                columns[item.name] = [None] * rows
        return self._predictor.predict_columns(request_id, columns)

    def _csv(self, body: bytes) -> dict[str, list[Any]]:
        if any(isinstance(item, Tensor) for item in self._spec.inputs):
            raise Refusal(415, f"{CSV} holds no tensors: send application/json")
        lines = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        try:
            header, *rows = filter(None, lines)
        except (csv.Error, ValueError) as error:
            raise Refusal(400, f"the body is no CSV with a header: {error}") from error
        columns = _columns_of(header, rows)
        known = [item for item in self._spec.inputs if item.name in columns]
        return {item.name: _cells(item, columns[item.name]) for item in known}

    def _predictions(self, answered: PredictionResult) -> list[dict[str, Any]]:
        """One object for each row: the label where there is one, and the answers by name."""
        names, answers = self._spec.output_columns, answered.answers.tolist()
        if not self._spec.classes:
            return [dict(zip(names, answer)) for answer in answers]
        codes = answered.answers.argmax(axis=1).tolist()
        return [
            {"prediction": names[code], **dict(zip(names, answer))}
            for code, answer in zip(codes, answers)
        ]


def _refuse(status: int, told: str, _request_id: str) -> Reply:
    """MLflow's form of an error; what breaks the contract is told with 400."""
    code = _CODES.get(status, "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR")
    body = msgspec.json.encode({"error_code": code, "message": told})
    return Reply(body, 400 if status == 422 else status)


def _columns_of(names: Sequence[Any], rows: Sequence[Sequence[Any]]) -> dict[Any, Any]:
    """The values of rows by column.

    Raises:
        InputError: a row has another length, or two columns have one name.
    """
    for index, row in enumerate(rows):
        if len(row) != len(names):
            raise InputError(f"row {index} has {len(row)} values, expected {len(names)}")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"the column {str(twice)[:60]!r} is there twice")
    return dict(zip(names, zip(*rows))) if rows else {name: () for name in names}


def _cells(item: Input, cells: Sequence[str]) -> list[Any]:
    """Values of a column of CSV: an empty cell is a missing value, but of a text."""
    if isinstance(item, Text):
        return list(cells)
    return [_number(cell) if isinstance(item, Number) else cell or None for cell in cells]


def _number(cell: str) -> float | str | None:
    try:
        return float(cell)
    except ValueError:
        return cell or None  # the contract says what is no number
