"""Many rows in one body: POST /predict_lines takes and returns one JSON value per line (NDJSON).

A line is an object with named inputs and perhaps an ``id``, a list in the contract's order, or the
bare value if the model has a single input. Each gets one line in response, in the same order: its
position in the body as ``line``, and either the prediction, with the ``request_id`` and ``row``
that identify it for feedback, or an ``error``. An invalid line does not stop the others. Blank
lines are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
from msgspec.structs import replace

from application.inference.predictor import Predictor
from application.inference.protocols.http import Refusal, Reply, Request, Route
from application.inference.protocols.json_faults import json_fault
from application.inference.protocols.openapi import REFUSALS, TEXT, Schema, operation
from application.inference.protocols.responses import ResponseBuilder
from application.inference.protocols.rows import RowReader, decode_untyped
from application.inference.protocols.schema import EXAMPLES
from application.ports.recorder import PredictionResult
from domain.errors import InputError

PATH = "/predict_lines"
NDJSON = "application/x-ndjson"
LINES = 1_000


class PredictionLines:
    """Predicts for bodies with one row per line.

    Args:
        max_bytes: largest body.
        at_once: lines per call of the model.
    """

    def __init__(self, predictor: Predictor, max_bytes: int, at_once: int = LINES) -> None:
        self._predictor = predictor
        self._max_bytes = max_bytes
        self._at_once = at_once
        self._rows = RowReader(predictor.spec)
        self._responses = ResponseBuilder(predictor.spec)
        self._decode = msgspec.json.Decoder().decode
        self._encode = msgspec.json.Encoder().encode

    def routes(self) -> dict[str, Route]:
        """The route of each path."""
        return {
            PATH: Route(("POST",), self.predict, max_bytes=self._max_bytes, any_content_type=True)
        }

    def paths(self, rows: Sequence[Sequence[Any]]) -> Schema:
        """The paths of the OpenAPI document.

        Args:
            rows: rows for the examples.
        """
        example = b"".join(self._encode(list(row)) + b"\n" for row in rows[:EXAMPLES]).decode()
        predict = operation(
            "Many rows",
            "Predict for one row per line",
            bodies={NDJSON: {**TEXT, "pattern": r"\S", "example": example}},
            responses={NDJSON: TEXT},
            refusals=REFUSALS,
        )
        return {PATH: {"post": predict}}

    def predict(self, request: Request) -> Reply:
        """Predict for the lines, `at_once` at a time, while earlier predictions are sent.

        Raises:
            Refusal: the content type is not NDJSON.
            InputError: there are no lines.
        """
        if request.content_type != NDJSON:
            name = request.content_type[:60]
            raise Refusal(415, f"unsupported content type {name!r}: send {NDJSON}")
        if not request.body or request.body.isspace():
            raise InputError("there are no lines: send at least one")
        return Reply(self._parts(request), content_type=NDJSON.encode())

    def _parts(self, request: Request) -> Iterator[bytes]:
        lines = _lines(request.body)
        while part := dict(islice(lines, self._at_once)):
            request_id = f"{request.request_id}-{min(part)}"
            yield self._part(replace(request, request_id=request_id, body=b""), part)

    def _part(self, request: Request, lines: Mapping[int, bytes]) -> bytes:
        """The response lines for some lines of the body, by their position in it.

        Args:
            request: with the ID of this part, whose rows are counted from 0.
        """
        responses: dict[int, bytes] = {}
        rows, ids = self._decode_rows(lines, responses)
        if rows:
            self._predict_rows(request, rows, ids, responses)
        return b"".join(b'{"line":%d,%b\n' % (position, responses[position]) for position in lines)

    def _decode_rows(
        self, lines: Mapping[int, bytes], responses: dict[int, bytes]
    ) -> tuple[dict[int, list[Any]], dict[int, Any]]:
        """Rows and their IDs by their position; errors of invalid lines go into `responses`."""
        rows, items = {}, []
        for position, line in lines.items():
            try:
                item = self._decode_line(line)
                rows[position] = self._rows.row(item)
                items.append(item)
            except (InputError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                responses[position] = self._error(json_fault(error, line))
        return rows, dict(zip(rows, self._rows.ids(items) or ()))

    def _decode_line(self, line: bytes) -> Any:
        try:
            return self._decode(line)
        except msgspec.ValidationError:  # a number that is too large: the contract says where
            return decode_untyped(line)

    def _predict_rows(
        self,
        request: Request,
        rows: dict[int, list[Any]],
        ids: dict[int, Any],
        responses: dict[int, bytes],
    ) -> None:
        """Put predictions into `responses`, or why a row breaks the contract."""
        spec = self._predictor.spec
        try:
            result = self._predict(request, rows, ids)
        except InputError:
            columns = dict(zip(spec.input_names, zip(*rows.values())))
            positions = list(rows)
            for index, reason in spec.reasons(columns, list(ids.values())).items():
                position = positions[index]
                del rows[position]
                responses[position] = self._error(reason)
            if not rows:
                return
            result = self._predict(request, rows, ids)
        identity = b'"request_id":%b,' % self._encode(request.request_id)
        for position, prediction in zip(rows, self._responses.predictions(result)):
            responses[position] = identity + self._encode(prediction)[1:]

    def _predict(
        self, request: Request, rows: dict[int, list[Any]], ids: dict[int, Any]
    ) -> PredictionResult:
        known = [ids[position] for position in rows] if ids else None
        return self._predictor.predict(
            request.request_id, list(rows.values()), known, request.caller
        )

    def _error(self, reason: object) -> bytes:
        return self._encode({"error": str(reason)})[1:]


def _lines(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines of a body one by one, each after its position; without blank lines."""
    start = position = 0
    while start < len(body):
        end = body.find(b"\n", start)
        line = body[start : len(body) if end < 0 else end]
        start += len(line) + 1
        if line and not line.isspace():
            yield position, line
        position += 1
