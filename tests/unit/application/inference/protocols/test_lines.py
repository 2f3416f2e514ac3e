"""Bodies of one row per line: each line gets a response, and a bad one does not stop the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from application.inference.protocols.http import Reply, Request
from application.inference.protocols.lines import PredictionLines
from domain.contract import ModelSpec
from tests import petals
from tests.fakes import FakeRecorder
from tests.kinds import KINDS
from tests.protocols import (
    DECISIONS,
    RISKS,
    Client,
    expected,
    labels,
    predictor_of,
    risk_predictor,
    rows_of,
)

ROWS = [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5], [6.4, 3.2, 4.5, 1.5]]
NAMED = [dict(zip(petals.SPEC.input_names, row)) for row in ROWS]
HEADERS = {"content-type": "application/x-ndjson", "x-request-id": "a"}


class Setup:
    """The protocol, with its recorder and a client."""

    def __init__(self, spec: ModelSpec = petals.SPEC, at_once: int = 1000) -> None:
        self.recorder = FakeRecorder()
        self.protocol = PredictionLines(predictor_of(spec, self.recorder), 10_000, at_once)
        self.client = Client(self.protocol.routes())

    def responses(self, content: bytes) -> list[dict[str, Any]]:
        """The response to each line."""
        response = self.client.post("/predict_lines", content=content, headers=HEADERS)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/x-ndjson"
        assert response.text.endswith("\n")
        return [json.loads(line) for line in response.text.splitlines()]


def body(*values: Any) -> bytes:
    """A line for each value."""
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def test_objects_and_lists_are_predicted_line_by_line() -> None:
    found = Setup().responses(body(NAMED[0], ROWS[1], NAMED[2]))
    assert [line["line"] for line in found] == [0, 1, 2]
    assert [line["prediction"] for line in found] == labels(petals.SPEC, ROWS)
    assert found[1]["probabilities"] == dict(
        zip(petals.SPEC.classes, expected(petals.SPEC, ROWS)[1].tolist())
    )


@pytest.mark.parametrize("kind", list(KINDS))
def test_rows_of_every_contract_are_predicted(kind: str) -> None:
    spec, rows = KINDS[kind].SPEC, rows_of(kind)
    named = [dict(zip(spec.input_names, row)) for row in rows]
    for lines in (rows, named):
        found = Setup(spec).responses(body(*lines))
        outputs = [line["probabilities"] if spec.classes else line for line in found]
        values = [[line[name] for name in spec.output_columns] for line in outputs]
        assert values == expected(spec, rows).tolist()


def test_bad_lines_get_an_error_in_their_place_and_stop_nothing() -> None:
    lines = [
        b'{"petal_length": 1}',
        body(ROWS[0]),
        b"[NaN, 1, 1, 1]",
        b"",
        body(NAMED[1]),
        body({**NAMED[0], "note": 1}),
        body([5, 3, 1, 99]),
        b"[1, 2]",
        b"7",
        b"[" * 5000,
        b"\xff",
        b'["\xff", 1, 1, 1]',
        b"[1e400, 1, 1, 1]",
        rb'{"id": "\ud800"}',
        body(ROWS[2]) + b"  \n\n",
    ]
    found = Setup().responses(b"\n".join(line.removesuffix(b"\n") for line in lines))
    assert [line["line"] for line in found] == [n for n in range(len(lines)) if n != 3]
    errors = {line["line"]: line["error"] for line in found if "error" in line}
    assert all(line.keys() == {"line", "error"} for line in found if "error" in line)
    good = {line["line"]: line["prediction"] for line in found if "error" not in line}
    assert good == dict(zip((1, 4, 14), labels(petals.SPEC, ROWS)))
    assert errors[0].startswith("sepal_length: a value is missing")
    assert errors[13].startswith(r"\ud800 is half of a surrogate pair")
    assert errors[2] == (
        "JSON is malformed: it has no NaN or Infinity (byte 1): send null for a missing value"
    )
    assert "unknown input 'note', expected sepal_length" in errors[5]
    assert errors[6].startswith("petal_width: 99 cm is outside")
    assert errors[7].startswith("has 2 values, expected 4")
    assert errors[8] == "is a number, expected a list or object"
    assert errors[9] == "the JSON is nested too deeply"
    assert errors[11] == "byte 2 is not valid UTF-8: send UTF-8"
    assert errors[12] == "sepal_length: the number is infinite, or too large"


def test_if_all_lines_are_invalid_the_model_is_not_called() -> None:
    setup = Setup()
    assert [line["line"] for line in setup.responses(body([5, 3, 1, 99], [1]))] == [0, 1]
    assert not setup.recorder.results


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n \n"])
def test_empty_lines_at_the_end_are_ignored(end: bytes) -> None:
    assert len(Setup().responses(body(ROWS[0]).strip() + end)) == 1


def test_blank_lines_are_skipped_and_count_in_the_positions_of_the_others() -> None:
    found = Setup(at_once=2).responses(b"\n \r\n" + b"\n\n".join(map(body, ROWS)))
    assert [(line["line"], line["request_id"], line["row"]) for line in found] == [
        (2, "a-2", 0),
        (5, "a-2", 1),
        (8, "a-8", 0),
    ]


@pytest.mark.parametrize(("line", "kind"), [(b"5", "a number"), (b"null", "null")])
def test_a_line_that_is_not_a_row_is_refused_by_its_kind(line: bytes, kind: str) -> None:
    (found,) = Setup().responses(line)
    assert found == {"line": 0, "error": f"is {kind}, expected a list or object"}


def test_a_line_may_be_the_value_of_an_only_input() -> None:
    spec = KINDS["text"].SPEC
    bare, listed = Setup(spec).responses(b'"a fine film"\n["a fine film"]\n')
    assert bare["probabilities"] == listed["probabilities"]


def test_each_prediction_has_what_identifies_it_for_feedback() -> None:
    setup = Setup(at_once=3)
    found = setup.responses(body(ROWS[0], [1], ROWS[1], [5, 3, 1, 99], ROWS[2], ROWS[0], ROWS[1]))
    ids = {line["line"]: (line["request_id"], line["row"]) for line in found if "row" in line}
    assert ids == {0: ("a-0", 0), 2: ("a-0", 1), 4: ("a-3", 0), 5: ("a-3", 1), 6: ("a-6", 0)}
    recorded = [(result.request_id, len(result.rows)) for result in setup.recorder.results]
    assert recorded == [("a-0", 2), ("a-3", 2), ("a-6", 1)]


def test_parts_are_made_one_by_one_while_they_are_sent() -> None:
    setup = Setup(at_once=2)
    request = Request("a", {b"content-type": b"application/x-ndjson"}, body(*ROWS))
    reply = setup.protocol.predict(request)
    assert isinstance(reply, Reply) and isinstance(reply.body, Iterator)
    assert not setup.recorder.results
    assert next(reply.body).count(b"\n") == 2
    assert len(setup.recorder.results) == 1
    assert next(reply.body).count(b"\n") == 1
    assert not list(reply.body)


def test_a_body_may_have_more_lines_than_a_request_has_rows() -> None:
    setup = Setup()
    protocol = PredictionLines(predictor_of(petals.SPEC), 10**7)
    request = Request("a", {b"content-type": b"application/x-ndjson"}, body(*ROWS) * 5000)
    sizes = [part.count(b"\n") for part in protocol.predict(request).body]  # type: ignore[union-attr]
    assert sizes == [1000] * 15
    assert setup.protocol.routes()["/predict_lines"].max_bytes == 10_000


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\n"])
def test_no_lines_are_refused(content: bytes) -> None:
    response = Setup().client.post("/predict_lines", content=content, headers=HEADERS)
    assert response.status_code == 422
    assert response.json() == {"error": "there are no lines: send at least one", "request_id": "a"}


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/xml"])
def test_another_content_type_is_refused(kind: str) -> None:
    headers = {"content-type": kind}
    response = Setup().client.post("/predict_lines", content=body(*ROWS), headers=headers)
    assert response.status_code == 415
    message = f"unsupported content type {kind!r}: send application/x-ndjson"
    assert response.json()["error"] == message


def test_a_body_that_is_too_large_is_refused() -> None:
    response = Setup().client.post("/predict_lines", content=b" " * 10_001, headers=HEADERS)
    assert response.status_code == 413


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from([json.dumps(row).encode() for row in ROWS])
        | st.binary(max_size=12).filter(lambda line: b"\n" not in line),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 5),
)
def test_every_line_has_a_response_and_good_ones_a_prediction(
    lines: list[bytes], at_once: int
) -> None:
    lines.append(json.dumps(ROWS[0]).encode())
    found = Setup(at_once=at_once).responses(b"\n".join(lines))
    kept = {number: line for number, line in enumerate(lines) if line and not line.isspace()}
    assert [line["line"] for line in found] == list(kept)
    for line, response in zip(kept.values(), found):
        assert ("prediction" in response) == (line in map(str.encode, map(json.dumps, ROWS)))


def test_predictions_follow_the_decision_threshold() -> None:
    client = Client(PredictionLines(risk_predictor(), 10_000).routes())
    response = client.post("/predict_lines", content=body(*RISKS), headers=HEADERS)
    found = [json.loads(line) for line in response.text.splitlines()]
    assert [line["prediction"] for line in found] == DECISIONS
    assert [line["confidence"] for line in found] == pytest.approx([0.9, 0.2, 0.45, 0.9])


def test_an_id_comes_back_with_its_line_and_a_wrong_one_stops_no_other_line() -> None:
    setup = Setup()
    lines = [{**NAMED[0], "id": "a"}, {**NAMED[1], "id": [1]}, ROWS[1], [1], {**NAMED[2], "id": 7}]
    found = setup.responses(body(*lines))
    assert [line.get("id") for line in found] == ["a", None, None, None, 7]
    assert [line.get("row") for line in found] == [0, None, 1, None, 2]
    assert found[1]["error"].startswith("id: [1] is not an ID")
    assert [result.ids for result in setup.recorder.results] == [["a", None, 7]]
