"""Any request gets finite numbers, or is refused with one of the documented errors."""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Iterator, Mapping
from functools import cache
from typing import Any, NoReturn

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from application.inference.protocols.http import (
    JSON_LENGTH,
    Refusal,
    Reply,
    Request,
    Route,
    Steps,
    finish,
)
from application.inference.protocols.lines import NDJSON, PredictionLines
from application.inference.protocols.mlflow_scoring import MlflowScoring
from application.inference.protocols.open_inference import OpenInference
from application.inference.protocols.rest import RestApi
from application.inference.protocols.schema import truth_names
from application.inference.protocols.vertex import VertexPrediction
from application.monitoring.recorder import PredictionRecorder
from application.ports.prediction_log import LoggedPrediction
from domain.contract import (
    Category,
    Datetime,
    HashedText,
    Input,
    ModelSpec,
    Tensor,
    Text,
    as_word,
)
from domain.errors import InputError, UnknownPredictionError
from tests import petals
from tests.fakes import FakeMetrics, FakePredictionLog
from tests.kinds import KINDS
from tests.protocols import predictor_of, rows_of
from tests.strength import examples

SPECS: dict[str, ModelSpec] = {"petals": petals.SPEC} | {name: k.SPEC for name, k in KINDS.items()}
DOCUMENTED = (
    *(Refusal, InputError, UnknownPredictionError, msgspec.ValidationError),
    *(msgspec.DecodeError, UnicodeDecodeError, RecursionError),
)
CONTENT_TYPES = (b"application/json", b"text/csv", NDJSON.encode(), b"application/octet-stream")

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text()
    | st.text(st.characters(categories=["Cs"]))
)
names = st.sampled_from(
    [
        *("instances", "inputs", "dataframe_split", "dataframe_records", "columns", "data"),
        *("request_id", "row", "hours", "actual_class", "predicted_class", "confidence"),
        *("name", "shape", "datatype", "parameters", "binary_data_size", "binary_data", "outputs"),
        *{name for spec in SPECS.values() for name in spec.input_names},
    ]
)
values = st.recursive(
    scalars,
    lambda parts: st.lists(parts, max_size=5) | st.dictionaries(names | st.text(), parts),
    max_leaves=20,
)


class KnowingLog(FakePredictionLog):
    """Finds a prediction for everything, so that no feedback waits for one."""

    def find(self, request_id: str, row: int, since: float = 0.0) -> LoggedPrediction | None:
        """One of class 0, or of the value 0."""
        return LoggedPrediction(request_id, row, 0.0, 0, (), 0.0, None, 0.0)

    def find_unlabelled(
        self, identity: int, predicted: float, since: float = 0.0
    ) -> LoggedPrediction | None:
        """One with the same class or value."""
        return LoggedPrediction("known", 0, 0.0, identity, (), predicted, None, 0.0)


class Idle(PredictionRecorder):
    """Has no thread and nothing to record."""

    def __init__(self) -> None:  # pylint: disable=super-init-not-called
        pass

    def flush(self) -> bool:
        """Do nothing."""
        return True


@cache
def routes_of(kind: str) -> Mapping[str, Route]:
    """Every route that takes a body, of every protocol."""
    predictor = predictor_of(SPECS[kind])
    rest = RestApi(
        "model", "1", predictor, Idle(), KnowingLog(), FakeMetrics(), lambda: {"paths": {}}
    )
    protocols: list[Any] = [
        *(rest, PredictionLines(predictor, 2**20), MlflowScoring(predictor, "3")),
        *(OpenInference("model", "1", predictor), VertexPrediction(predictor)),
    ]
    return {
        path: route
        for protocol in protocols
        for path, route in protocol.routes().items()
        if "POST" in route.methods
    }


@cache
def good_bodies(kind: str) -> list[Any]:
    """A valid body for each form of every protocol."""
    spec, rows = SPECS[kind], [[5.1, 3.5, 1.4, 0.2]] if kind == "petals" else rows_of(kind, 2)
    rows = [list(row) for row in rows]
    objects = [dict(zip(spec.input_names, row)) for row in rows]
    columns = {name: [row[at] for row in rows] for at, name in enumerate(spec.input_names)}
    truth = spec.classes[0] if spec.classes else 1.5
    labels = dict.fromkeys(truth_names(spec), truth)
    found = [
        *(rows, rows[0], objects[0], {"instances": objects}, {"instances": rows}, {"hours": 1}),
        *({"request_id": "a", "row": 0, truth_names(spec)[1]: truth}, objects[0] | labels),
        *({form: objects} for form in ("dataframe_records", "instances", "inputs")),
        *({"dataframe_split": {"columns": list(columns), "data": rows}}, {"inputs": columns}),
        {"inputs": [tensor_of(item, columns[item.name]) for item in spec.inputs]},
    ]
    if spec.is_numeric:
        shape = [len(rows), spec.width]
        table = {"name": "inputs", "shape": shape, "datatype": "FP32", "data": rows}
        found.append({"inputs": [table], "parameters": {"binary_data_output": True}})
    return found


def tensor_of(item: Input, column: list[Any]) -> dict[str, Any]:
    """The values of an input as a tensor of the Open Inference Protocol."""
    shape, datatype = [len(column), *(item.shape if isinstance(item, Tensor) else ())], "FP64"
    if isinstance(item, Category | Datetime | HashedText | Text):
        column = [None if value is None else as_word(value) for value in column]
        datatype = "BYTES"
    return {"name": item.name, "shape": shape, "datatype": datatype, "data": column}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of everything inside a value."""
    yield path
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(part, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    """The value with another value at one path."""
    if not path:
        return other
    key, *rest = path
    copy = value.copy()
    copy[key] = replaced(value[key], tuple(rest), other)
    return copy


@st.composite
def nearly_good(draw: st.DrawFn, kind: str) -> bytes:
    """The JSON of a good body with other values at up to two paths, or with bytes changed."""
    body = draw(st.sampled_from(good_bodies(kind)))
    for _ in range(draw(st.integers(0, 2))):
        body = replaced(body, draw(st.sampled_from(list(places(body)))), draw(values))
    encoded = json.dumps(body).encode()
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(encoded)))
        encoded = (
            encoded[:at] + draw(st.binary(max_size=3)) + encoded[at + draw(st.integers(0, 3)) :]
        )
    return encoded


def bodies(kind: str) -> st.SearchStrategy[bytes]:
    """Bytes, JSON, and bodies that are nearly right."""
    anything = values.map(lambda value: json.dumps(value).encode())
    return st.binary() | anything | nearly_good(kind)


headers = st.fixed_dictionaries(
    {},
    optional={
        b"content-type": st.sampled_from(CONTENT_TYPES),
        JSON_LENGTH: st.integers(-1, 300).map(lambda length: b"%d" % length) | st.binary(),
    },
)


def parts_of(reply: bytes | Reply | Steps) -> Iterator[tuple[bytes, Mapping[bytes, bytes]]]:
    """The parts of a reply that are JSON by themselves, and its headers."""
    if isinstance(reply, Generator):
        reply = finish(reply)
    if isinstance(reply, bytes):
        yield reply, {}
        return
    assert reply.status == 200
    reply_headers = {name.lower(): value for name, value in reply.headers}
    whole = reply.body if isinstance(reply.body, bytes) else b"".join(reply.body)
    for part in whole.splitlines() if reply.content_type == NDJSON.encode() else [whole]:
        yield part, reply_headers


def not_finite(word: str) -> NoReturn:
    """Python parses NaN, which JSON does not have."""
    raise AssertionError(f"the reply contains {word}")


def check_finite(reply: bytes | Reply | Steps) -> None:
    """Fail if a reply is not JSON, or contains a number that is not finite."""
    for part, reply_headers in parts_of(reply):
        length = int(reply_headers.get(JSON_LENGTH, len(part)))
        head = json.loads(part[:length], parse_constant=not_finite)
        for output in head.get("outputs", ()) if length < len(part) else ():
            size = output.get("parameters", {}).get("binary_data_size", 0)
            if output["datatype"] == "FP32":
                assert np.isfinite(np.frombuffer(part[length : length + size], "<f4")).all()
            length += size


@pytest.mark.parametrize("kind", list(SPECS))
@settings(max_examples=examples(300), deadline=None)
@given(data=st.data())
def test_any_body_is_accepted_or_refused_as_documented(kind: str, data: st.DataObject) -> None:
    body, drawn = data.draw(bodies(kind)), data.draw(headers)
    for route in routes_of(kind).values():
        for sent_headers in ({}, drawn):
            try:
                reply = route.handle(Request("a", sent_headers, body))
                check_finite(reply)
            except DOCUMENTED:
                continue


@pytest.mark.parametrize("kind", list(SPECS))
def test_every_valid_body_is_accepted_by_some_endpoint(kind: str) -> None:
    for body in good_bodies(kind):
        encoded, accepted = json.dumps(body).encode(), []
        for path, route in routes_of(kind).items():
            try:
                check_finite(route.handle(Request("a", {}, encoded)))
                accepted.append(path)
            except DOCUMENTED:
                continue
        assert set(accepted) - {"/health_check"}, body


def test_no_number_that_is_not_finite_would_pass() -> None:
    with pytest.raises(AssertionError, match="NaN"):
        check_finite(b'{"predictions": [NaN]}')
    assert math.isfinite(json.loads(b"1e308"))
