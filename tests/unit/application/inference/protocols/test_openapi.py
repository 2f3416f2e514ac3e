"""Every protocol does what its part of the OpenAPI document says."""

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
    """Every protocol except the tutorial's, whose endpoints BentoML describes."""
    predictor = predictor_of(spec)
    yield OpenInference("flower", "1.0.0", predictor)
    yield MlflowScoring(predictor, "3.0.0")
    yield VertexPrediction(predictor)
    yield PredictionLines(predictor, 1_000_000)


def draft_4(schema: Any) -> Any:
    """The same in JSON Schema, which has the type null instead of `nullable`."""
    if isinstance(schema, list):
        return [draft_4(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    converted = {key: draft_4(value) for key, value in schema.items()}
    if converted.pop("nullable", False) is True:
        converted["type"] = [converted["type"], "null"]
    return converted


def check(content: dict[str, Any], value: Any) -> None:
    """Raise if a value does not match a content of the document."""
    jsonschema_rs.Draft4Validator(draft_4(content["schema"])).validate(value)


@pytest.fixture(name="described", params=list(KINDS), ids=str)
def _described(request: pytest.FixtureRequest) -> Described:
    routes: dict[str, Route] = {}
    paths: dict[str, Any] = {}
    for protocol in protocols(KINDS[request.param].SPEC):
        routes |= protocol.routes()
        paths |= protocol.paths(rows_of(request.param))
    return Client(routes), json.loads(json.dumps(paths, allow_nan=False))


def test_every_example_is_accepted_with_the_documented_response(described: Described) -> None:
    client, paths = described
    tried = 0
    for path, item in paths.items():
        bodies = item.get("post", {}).get("requestBody", {"content": {}})["content"]
        for kind, body in bodies.items():
            if "example" not in body["schema"]:
                continue
            example = body["schema"]["example"]
            check(body, example)
            sent = example if isinstance(example, str) else json.dumps(example)
            response = client.post(path, content=sent, headers={"content-type": kind})
            assert response.status_code == 200, (path, response.text)
            contents = item["post"]["responses"]["200"]["content"]
            content = contents[response.headers["content-type"]]
            check(content, response.json() if kind == openapi.JSON else response.text)
            tried += 1
    assert tried == 4


def test_a_refusal_has_the_documented_form(described: Described) -> None:
    client, paths = described
    posts = {path: item["post"] for path, item in paths.items() if "post" in item}
    for path, post in posts.items():
        for kind in (*post["requestBody"]["content"], "image/png"):
            response = client.post(path, content="{", headers={"content-type": kind})
            if response.status_code != 200:  # lines are refused one by one
                content = post["responses"][str(response.status_code)]["content"][openapi.JSON]
                check(content, response.json())
            else:
                assert path == "/predict_lines"


def test_forbidden_requests_are_refused(described: Described) -> None:
    client, paths = described
    bodies: list[Any] = [[], "x", {}, {"instances": []}, {"inputs": []}, {"inputs": [{}]}]
    for path, item in paths.items():
        for body in bodies:
            if "post" not in item or path == "/predict_lines":
                continue
            with pytest.raises(jsonschema_rs.ValidationError):
                check(item["post"]["requestBody"]["content"][openapi.JSON], body)
            assert client.post(path, json=body).status_code in (400, 422), (path, body)


def test_every_get_of_a_protocol_is_one_of_its_routes_or_a_probe(described: Described) -> None:
    client, paths = described
    for path, item in paths.items():
        if "get" in item:
            response = client.get(path)
            assert response.status_code == 200, path
            for content in item["get"]["responses"]["200"].get("content", {}).values():
                check(content, response.json())


def test_refusals_are_added_to_what_a_document_has_already() -> None:
    post = {"description": "d", "responses": {200: {"description": "fine"}, 400: {}}}
    document = {"info": {"title": "t"}, "paths": {"/a": {"post": post}, "/b": {"get": {}}}}
    extended = openapi.with_refusals(document, {"/a": {400: "not JSON", 422: "no row"}}, ())
    assert extended["paths"]["/a"]["post"]["requestBody"] == {"required": True}
    assert (extended["info"], extended["paths"]["/b"]) == (document["info"], {"get": {}})
    responses = extended["paths"]["/a"]["post"]["responses"]
    assert {code: response["description"] for code, response in responses.items()} == {
        200: "fine",
        400: "not JSON",
        422: "no row",
    }
    body = responses[422]["content"]["application/json"]["schema"]
    assert body["required"] == ["error", "request_id"]
    assert post["responses"] == {200: {"description": "fine"}, 400: {}}


def test_a_document_with_keys_keeps_what_it_has() -> None:
    document = {"paths": {"/a": {}}, "components": {"schemas": {"A": {}}}}
    extended = openapi.with_keys(document)
    assert extended["components"]["schemas"] == {"A": {}}
    (name,) = extended["security"][0]
    assert extended["components"]["securitySchemes"][name] == {"type": "http", "scheme": "bearer"}
    assert document["components"] == {"schemas": {"A": {}}}


def test_a_document_of_bentoml_gets_summaries_and_loses_its_contact() -> None:
    document = {
        "info": {"title": "t", "contact": {"name": "BentoML Team"}},
        "tags": [{"name": "Service APIs", "description": "BentoML Service API endpoints"}],
        "paths": {
            "/readyz": {"get": {"tags": ["Infrastructure"], "description": "A <code>200</code> …"}},
            "/hear": {"post": {"tags": ["Service APIs"], "description": "Hear a `WAV`.\n\nMore."}},
            "/v2": {"get": {"tags": ["Other"], "summary": "The server"}},
        },
    }
    found = openapi.with_summaries(document)
    assert found["info"] == {"title": "t"}
    assert {tag["name"] for tag in found["tags"]} == {"Endpoints", "Operations"}
    assert found["paths"] == {
        "/readyz": {
            "get": {
                "tags": ["Operations"],
                "summary": "Whether the model is loaded and reproduced the golden requests",
            }
        },
        "/hear": {"post": {"tags": ["Endpoints"], "summary": "Hear a WAV", "description": "More."}},
        "/v2": {"get": {"tags": ["Other"], "summary": "The server"}},
    }
    assert "BentoML" not in str(found)
