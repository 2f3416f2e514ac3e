"""MLflow's scoring protocol, which SageMaker requires of a container too.

POST /invocations takes ``dataframe_split``, ``dataframe_records``, ``instances`` or ``inputs`` in
JSON, or CSV with a header, and returns ``{"predictions": [{…}, …]}`` as `mlflow models serve` does
for the logged model: columns may be in any order, nullable ones may be left out, unknown ones are
ignored. A column ``id`` comes back with the predictions. GET /version returns MLflow's version.
Rows may also be lists in the contract's order.

References:
    https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from typing import Any

import msgspec

from application.inference.predictor import Predictor
from application.inference.protocols.http import Refusal, Reply, Request, Route
from application.inference.protocols.json_faults import body_decoder, form_fault, utf8_fault
from application.inference.protocols.openapi import (
    JSON,
    LENIENT,
    TEXT,
    Schema,
    list_of,
    object_of,
    operation,
)
from application.inference.protocols.rows import RowReader, known_ids
from application.inference.protocols.schema import (
    EXAMPLES,
    any_row_schema,
    named_row_schema,
    with_id,
)
from application.ports.recorder import PredictionResult
from domain.contract import (
    ID,
    Tensor,
    describe_faults,
    json_unicode_fault,
    length_fault,
    short_repr,
)
from domain.errors import InputError

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
CSV = "text/csv"
_SEPARATORS = (",", ";", "\t", "|")  # as in training
_LONGEST_FIELD = 2**31 - 1  # the service limits the whole body

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
    dataframe_records: list[Any] | None = None
    instances: list[Any] | dict[str, Any] | None = None
    inputs: list[Any] | dict[str, Any] | None = None


class MlflowScoring:
    """Serves the protocol for one model.

    Args:
        mlflow_version: what GET /version returns.
    """

    def __init__(self, predictor: Predictor, mlflow_version: str) -> None:
        self._predictor = predictor
        self._spec = predictor.spec
        self._version = mlflow_version.encode()
        self._decode = body_decoder(_Body, f"send one of {', '.join(FORMS)}")
        self._rows = RowReader(self._spec, ignore_unknown=True)
        hint = "send lists as instances"
        self._records = RowReader(self._spec, ignore_unknown=True, lists=False, hint=hint)

    def routes(self) -> dict[str, Route]:
        """The route of each path."""
        return {
            "/invocations": Route(("POST",), self.invocations, _refuse, any_content_type=True),
            "/version": Route(("GET",), lambda _request: self._version, _refuse),
        }

    def paths(self, rows: Sequence[Sequence[Any]]) -> Schema:
        """The paths of the OpenAPI document.

        Args:
            rows: rows for the examples.
        """
        tag = "MLflow and SageMaker"
        number: Schema = {"type": "number"}
        prediction: Schema = dict.fromkeys(self._spec.output_columns, number)
        if self._spec.classes:
            prediction = {"prediction": {**TEXT, "enum": list(self._spec.classes)}, **prediction}
        predictions = list_of(with_id(self._spec, object_of(prediction)))
        invoke = operation(
            tag,
            "Predict for a table",
            bodies=self._bodies(rows[:EXAMPLES]),
            responses={JSON: object_of({"predictions": predictions})},
            error=object_of({"error_code": TEXT, "message": TEXT}),
            refusals=LENIENT,
        )
        version = operation(tag, "MLflow's version")  # plain text, though its content type is JSON
        ping = operation(tag, "Whether the service is ready")
        return {
            "/invocations": {"post": invoke},
            "/ping": {"get": ping},
            "/version": {"get": version},
        }

    def _bodies(self, rows: Sequence[Sequence[Any]]) -> dict[str, Schema]:
        names = self._spec.input_names
        records = list_of(named_row_schema(self._spec, ignore_unknown=True))
        split = {"columns": list_of(TEXT), "data": list_of({"type": "array", "items": {}})}
        columns = {"type": "object", "description": "the values of each column, by its name"}
        either = {"anyOf": [list_of(any_row_schema(self._spec, ignore_unknown=True)), columns]}
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
        """Predict for a table.

        Raises:
            InputError: the table is malformed or breaks the contract.
            Refusal: the body is not a table, or has another content type.
        """
        if request.content_type == CSV:
            result = self._predict_table(request, self._read_csv(request.body))
        elif request.content_type in ("application/json", ""):
            result = self._predict_json(request)
        else:
            name = request.content_type[:60]
            raise Refusal(415, f"unsupported content type {name!r}: send application/json or {CSV}")
        return msgspec.json.encode({"predictions": self._predictions(result)})

    def _predict_json(self, request: Request) -> PredictionResult:
        body = self._decode_body(request.body)
        forms = [form for form in FORMS if getattr(body, form) is not None]
        if len(forms) != 1:
            found = ", ".join(forms) or "none"
            raise InputError(f"expected exactly one of {', '.join(FORMS)}, got {found}")
        table = getattr(body, forms[0])
        if isinstance(table, _Split):
            if tuple(table.columns) == self._spec.input_names:
                return self._predictor.predict(
                    request.request_id, table.data, caller=request.caller
                )
            columns = _columns_of(table.columns, table.data)
            return self._predict_table(request, columns)
        if isinstance(table, dict):
            known = (table[name] for name in self._spec.input_names if name in table)
            if all(isinstance(values, list) for values in known):
                return self._predict_table(request, table)
            table = [table]
        reader = self._records if forms[0] == "dataframe_records" else self._rows
        self._predictor.check_row_count(len(table))
        rows, ids = reader.read(table), reader.ids(table)
        return self._predictor.predict(request.request_id, rows, ids, request.caller)

    def _decode_body(self, body: bytes) -> _Body:
        try:
            return self._decode(body)
        except msgspec.DecodeError:
            if b"NaN" not in body:
                raise
        if fault := utf8_fault(body) or json_unicode_fault(body):  # which json accepts
            raise Refusal(400, fault)
        try:  # MLflow's client writes missing values as NaN, which is not valid JSON
            return msgspec.convert(json.loads(body), _Body)
        except msgspec.ValidationError as error:
            raise InputError(form_fault(error)) from error
        except ValueError as error:
            raise Refusal(400, f"the body is not valid JSON: {error}") from error

    def _predict_table(self, request: Request, table: Mapping[Any, Any]) -> PredictionResult:
        """Predict for the columns of a table by name; columns of nullable inputs are optional."""
        columns = {name: table[name] for name in self._spec.input_names if name in table}
        rows = max(map(len, columns.values()), default=0)
        for item in self._spec.inputs:
            if item.nullable and item.name not in columns:
                columns[item.name] = [None] * rows
        ids = table.get(ID) if self._spec.takes_ids else None
        if not isinstance(ids, Sequence | None) or isinstance(ids, str):
            raise InputError(f"{ID}: {short_repr(ids)} is not a list of IDs, one for each row")
        return self._predictor.predict_columns(
            request.request_id, columns, ids and known_ids(ids), request.caller
        )

    def _read_csv(self, body: bytes) -> dict[str, list[Any]]:
        if any(isinstance(item, Tensor) for item in self._spec.inputs):
            raise Refusal(415, f"{CSV} cannot hold tensors: send application/json")
        if fault := utf8_fault(body):
            raise Refusal(400, fault)
        text = body.decode("utf-8-sig")
        if not text or text.isspace():
            raise Refusal(400, "the body is empty: send CSV with a header")
        csv.field_size_limit(_LONGEST_FIELD)
        try:
            header, *rows = filter(None, _csv_lines(text, {ID, *self._spec.input_names}))
        except csv.Error as error:
            raise Refusal(400, f"the body is not CSV with a header: {error}") from error
        columns = _columns_of([name.strip() for name in header], rows)
        known = [item for item in self._spec.inputs if item.name in columns]
        table = {item.name: [*map(item.parse, columns[item.name])] for item in known}
        if self._spec.takes_ids and ID in columns:
            table[ID] = [field.strip() or None for field in columns[ID]]
        return table

    def _predictions(self, result: PredictionResult) -> list[dict[str, Any]]:
        """One object for each row: the outputs by name, for a classifier also the class."""
        names, rows = self._spec.output_columns, result.predictions.tolist()
        found: list[dict[str, Any]]
        if self._spec.classes:
            codes = self._spec.decide(result.predictions).tolist()
            found = [
                {"prediction": names[code], **dict(zip(names, outputs))}
                for code, outputs in zip(codes, rows)
            ]
        else:
            found = [dict(zip(names, outputs)) for outputs in rows]
        for prediction, row_id in zip(found, result.ids or ()):
            if row_id is not None:
                prediction[ID] = row_id
        return found


def _refuse(status: int, message: str, _request_id: str) -> Reply:
    """MLflow's error format; a broken contract gets status 400 instead of 422."""
    code = _CODES.get(status, "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR")
    body = msgspec.json.encode({"error_code": code, "message": message})
    return Reply(body, 400 if status == 422 else status)


def _csv_lines(text: str, known: Set[str]) -> Iterator[list[str]]:
    """The fields of each line of CSV with a header, as training reads them.

    The separator is the one that finds most of the known names. A first line ``sep=;``, as Excel
    writes it, is skipped.
    """
    text = text.lstrip()
    if text.lower().startswith("sep="):
        text = text.partition("\n")[2]
    header, *_ = text.splitlines()[:1] or [""]

    def fields(lines: Iterable[str], separator: str) -> Iterator[list[str]]:
        return csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)

    def found(separator: str) -> int:
        with suppress(csv.Error):  # such as a line break in a name
            return len(known & {name.strip() for name in next(fields([header], separator), ())})
        return 0

    return fields(io.StringIO(text, newline=""), max(_SEPARATORS, key=found))


def _columns_of(names: Sequence[Any], rows: Sequence[Sequence[Any]]) -> dict[Any, Any]:
    """The values of rows by column.

    Raises:
        InputError: a row has the wrong length, or two columns have the same name.
    """
    known = list(map(str, names))
    faults = {
        index: [length_fault(len(row), known)]
        for index, row in enumerate(rows)
        if len(row) != len(names)
    }
    if faults:
        raise InputError(describe_faults(faults))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"duplicate column {str(twice)[:60]!r}")
    return dict(zip(names, zip(*rows))) if rows else {name: () for name in names}
