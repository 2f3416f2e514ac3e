"""What the OpenAPI document says of every protocol is what the protocol does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs  # as schemathesis does
import pytest

from application.inference.protocols import openapi
from application.inference.protocols.http import Route
from application.inference.protocols.lines import PredictionLines
from application.inference.protocols.mlflow_scoring import MlflowScoring
from application.inference.protocols.open_inference import OpenInference
from application.inference.protocols.vertex import VertexPrediction
from domain.contract import ModelSpec
from tests.kinds import KINDS
from tests.protocols import Client, predictor_of, rows_of

Described = tuple[Client, dict[str, Any]]


def protocols(spec: ModelSpec) -> Iterator[Any]:
    """Every protocol but the tutorial's, whose endpoints BentoML describes."""
    predictor = predictor_of(spec)
    yield OpenInference("flower", "1.0.0", predictor)
    yield MlflowScoring(predictor, "3.0.0")
    yield VertexPrediction(predictor)
    yield PredictionLines(predictor, 1_000_000)


def draft_4(schema: Any) -> Any:
    """The same in JSON Schema, which has no `nullable`: a type of its own says so there."""
    if isinstance(schema, list):
        return [draft_4(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    told = {key: draft_4(value) for key, value in schema.items()}
    if told.pop("nullable", False) is True:
        told["type"] = [told["type"], "null"]
    return told


def check(content: dict[str, Any], value: Any) -> None:
    """Raise where a value is not as a content of the document says."""
    jsonschema_rs.Draft4Validator(draft_4(content["schema"])).validate(value)


@pytest.fixture(name="described", params=list(KINDS), ids=str)
def _described(request: pytest.FixtureRequest) -> Described:
    routes: dict[str, Route] = {}
    paths: dict[str, Any] = {}
    for protocol in protocols(KINDS[request.param].SPEC):
        routes |= protocol.routes()
        paths |= protocol.paths(rows_of(request.param))
    return Client(routes), json.loads(json.dumps(paths, allow_nan=False))


def test_every_example_is_accepted_and_answered_as_the_document_says(described: Described) -> None:
    client, paths = described
    tried = 0
    for path, does in paths.items():
        for kind, taken in (
            does.get("post", {}).get("requestBody", {"content": {}})["content"].items()
        ):
            if "example" not in taken["schema"]:
                continue
            example = taken["schema"]["example"]
            check(taken, example)
            sent = example if isinstance(example, str) else json.dumps(example)
            answer = client.post(path, content=sent, headers={"content-type": kind})
            assert answer.status_code == 200, (path, answer.text)
            answered = does["post"]["responses"]["200"]["content"][answer.headers["content-type"]]
            check(answered, answer.json() if kind == openapi.JSON else answer.text)
            tried += 1
    assert tried == 4


def test_a_refusal_is_as_the_document_says(described: Described) -> None:
    client, paths = described
    posts = {path: does["post"] for path, does in paths.items() if "post" in does}
    for path, post in posts.items():
        for kind in (*post["requestBody"]["content"], "image/png"):
            answer = client.post(path, content="{", headers={"content-type": kind})
            if answer.status_code != 200:  # lines are refused one by one
                told = post["responses"][str(answer.status_code)]["content"][openapi.JSON]
                check(told, answer.json())
            else:
                assert path == "/predict_lines"


def test_what_the_document_forbids_is_refused(described: Described) -> None:
    client, paths = described
    bodies: list[Any] = [[], "x", {}, {"instances": []}, {"inputs": []}, {"inputs": [{}]}]
    for path, does in paths.items():
        for body in bodies:
            if "post" not in does or path == "/predict_lines":
                continue
            with pytest.raises(jsonschema_rs.ValidationError):
                check(does["post"]["requestBody"]["content"][openapi.JSON], body)
            assert client.post(path, json=body).status_code in (400, 422), (path, body)


def test_every_get_of_a_protocol_is_one_of_its_routes_or_a_probe(described: Described) -> None:
    client, paths = described
    for path, does in paths.items():
        if "get" in does:
            answer = client.get(path)
            assert answer.status_code == 200, path
            for content in does["get"]["responses"]["200"].get("content", {}).values():
                check(content, answer.json())


def test_refusals_stand_beside_what_a_document_says_already() -> None:
    post = {"description": "d", "responses": {200: {"description": "fine"}, 400: {}}}
    document = {"info": {"title": "t"}, "paths": {"/a": {"post": post}, "/b": {"get": {}}}}
    told = openapi.with_refusals(document, {"/a": {400: "no JSON", 422: "no row"}}, ())
    assert told["paths"]["/a"]["post"]["requestBody"] == {"required": True}
    assert (told["info"], told["paths"]["/b"]) == (document["info"], {"get": {}})
    responses = told["paths"]["/a"]["post"]["responses"]
    assert {code: said["description"] for code, said in responses.items()} == {
        200: "fine",
        400: "no JSON",
        422: "no row",
    }
    body = responses[422]["content"]["application/json"]["schema"]
    assert body["required"] == ["error", "request_id"]
    assert post["responses"] == {200: {"description": "fine"}, 400: {}}


def test_a_document_with_keys_keeps_what_it_has() -> None:
    document = {"paths": {"/a": {}}, "components": {"schemas": {"A": {}}}}
    told = openapi.with_keys(document)
    assert told["components"]["schemas"] == {"A": {}}
    (name,) = told["security"][0]
    assert told["components"]["securitySchemes"][name] == {"type": "http", "scheme": "bearer"}
    assert document["components"] == {"schemas": {"A": {}}}


def test_a_document_of_bentoml_gets_summaries_and_loses_its_maker() -> None:
    document = {
        "info": {"title": "t", "contact": {"name": "BentoML Team"}},
        "tags": [{"name": "Service APIs", "description": "BentoML Service API endpoints"}],
        "paths": {
            "/readyz": {"get": {"tags": ["Infrastructure"], "description": "A <code>200</code> …"}},
            "/hear": {"post": {"tags": ["Service APIs"], "description": "Hear a `WAV`.\n\nMore."}},
            "/v2": {"get": {"tags": ["Other"], "summary": "The server"}},
        },
    }
    told = openapi.in_own_words(document)
    assert told["info"] == {"title": "t"}
    assert {tag["name"] for tag in told["tags"]} == {"Endpoints", "Operations"}
    assert told["paths"] == {
        "/readyz": {
            "get": {
                "tags": ["Operations"],
                "summary": "Whether the model is loaded and answers the golden requests right",
            }
        },
        "/hear": {"post": {"tags": ["Endpoints"], "summary": "Hear a WAV", "description": "More."}},
        "/v2": {"get": {"tags": ["Other"], "summary": "The server"}},
    }
    assert "BentoML" not in str(told)
