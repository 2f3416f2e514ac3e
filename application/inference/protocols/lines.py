"""Many rows in one body: POST /predict_lines takes and gives one JSON value a line (NDJSON).

A line is an object by the inputs' names, or a list in the contract's order. Each is answered by a
line, in the same order: its position as ``line``, and the prediction with the ``request_id`` and
``row`` that feedback knows it by, or an ``error``. A line that is refused stops nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, repeat
from typing import Any

import msgspec

from application.inference.predictor import Predictor
from application.inference.protocols.answers import ResponseBuilder
from application.inference.protocols.http import Refusal, Reply, Request, Route
from application.inference.protocols.openapi import REFUSALS, TEXT, Schema, operation
from application.inference.protocols.rows import RowReader
from application.inference.protocols.schema import EXAMPLES
from domain.errors import InputError

PATH = "/predict_lines"
NDJSON = "application/x-ndjson"
LINES = 1_000


class PredictionLines:
    """Answers bodies of one row a line.

    Args:
        max_bytes: largest body.
        at_once: lines that are one call of the model.
    """

    def __init__(self, predictor: Predictor, max_bytes: int, at_once: int = LINES) -> None:
        self._predictor = predictor
        self._max_bytes = max_bytes
        self._at_once = at_once
        self._rows = RowReader(predictor.spec)
        self._presenter = ResponseBuilder(predictor.spec)
        self._decode = msgspec.json.Decoder(dict[str, Any] | list[Any]).decode
        self._encode = msgspec.json.Encoder().encode

    def routes(self) -> dict[str, Route]:
        """Every path that is answered."""
        return {PATH: Route(("POST",), self.predict, max_bytes=self._max_bytes)}

    def paths(self, rows: Sequence[Sequence[Any]]) -> Schema:
        """The same in an OpenAPI document.

        Args:
            rows: of which examples are made.
        """
        example = b"".join(self._encode(list(row)) + b"\n" for row in rows[:EXAMPLES]).decode()
        predict = operation(
            "Many rows",
            "Predict for one row a line",
            bodies={NDJSON: {**TEXT, "pattern": r"\S", "example": example}},
            answers={NDJSON: TEXT},
            refusals=REFUSALS,
        )
        return {PATH: {"post": predict}}

    def predict(self, request: Request) -> Reply:
        """Answer lines while the answers are sent, some at once.

        Raises:
            Refusal: the content type is another.
            InputError: there are no lines.
        """
        if request.content_type != NDJSON:
            raise Refusal(415, f"{request.content_type[:60]!r} is not taken: send {NDJSON}")
        if not request.body or request.body.isspace():
            raise InputError("there are no lines: send at least one")
        return Reply(self._parts(request), content_type=NDJSON.encode())

    def _parts(self, request: Request) -> Iterator[bytes]:
        lines, first = _lines(request.body), 0
        while part := list(islice(lines, self._at_once)):
            yield self._answer(f"{request.request_id}-{first}", part, first)
            first += len(part)

    def _answer(self, request_id: str, lines: Sequence[bytes], first: int) -> bytes:
        """The answers of some lines.

        Args:
            request_id: of this part, whose rows are counted from 0.
            first: position of the first line in the body.
        """
        answers: dict[int, bytes] = {}
        rows = self._read(lines, answers)
        if rows:
            self._predict(request_id, rows, answers)
        return b"".join(
            b'{"line":%d,%b\n' % (first + position, answers[position])
            for position in range(len(lines))
        )

    def _read(self, lines: Sequence[bytes], answers: dict[int, bytes]) -> dict[int, list[Any]]:
        """Rows by their position; those that are none are answered."""
        rows = {}
        for position, line in enumerate(lines):
            try:
                rows[position] = self._rows.row(self._decode(line))
            except (InputError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                answers[position] = self._error(error)
        return rows

    def _predict(
        self, request_id: str, rows: dict[int, list[Any]], answers: dict[int, bytes]
    ) -> None:
        """Answer rows; those that break the contract with why."""
        try:
            answered = self._predictor.predict(request_id, list(rows.values()))
        except InputError:
            columns = dict(zip(self._predictor.spec.input_names, zip(*rows.values())))
            positions = list(rows)
            for index, reason in self._predictor.spec.reasons(columns).items():
                position = positions[index]
                del rows[position]
                answers[position] = self._error(reason)
            if not rows:
                return
            answered = self._predictor.predict(request_id, list(rows.values()))
        identity = b'"request_id":%b,' % self._encode(request_id)
        for position, prediction in zip(rows, self._presenter.predictions(answered)):
            answers[position] = identity + self._encode(prediction)[1:]

    def _error(self, told: object) -> bytes:
        return self._encode({"error": str(told)})[1:]


def _lines(body: bytes) -> Iterator[bytes]:
    """The lines of a body, cut one by one; empty ones at its end are none."""
    start = empty = 0
    while start < len(body):
        end = body.find(b"\n", start)
        line = body[start : len(body) if end < 0 else end]
        start += len(line) + 1
        if not line or line.isspace():
            empty += 1
        else:
            yield from repeat(b"", empty)
            empty = 0
            yield line
