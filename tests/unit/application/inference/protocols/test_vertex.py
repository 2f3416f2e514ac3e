"""Vertex AI's predictions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from application.inference.protocols.vertex import VertexPrediction
from domain.contract import ModelSpec
from tests import petals
from tests.kinds import KINDS
from tests.protocols import (
    DECISIONS,
    RISKS,
    Client,
    expected,
    predictor_of,
    risk_predictor,
    rows_of,
)

ROWS = [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]]


def service(spec: ModelSpec = petals.SPEC) -> Client:
    """A client of one model."""
    return Client(VertexPrediction(predictor_of(spec)).routes())


def predictions(instances: Any, client: Client, **more: Any) -> Any:
    """The predictions for instances."""
    response = client.post("/vertex/predict", json={"instances": instances, **more})
    assert response.status_code == 200, response.text
    assert list(response.json()) == ["predictions"]
    return response.json()["predictions"]


@pytest.mark.parametrize("kind", list(KINDS))
def test_lists_and_objects_of_every_contract_are_predicted_in_order(kind: str) -> None:
    spec, rows = KINDS[kind].SPEC, rows_of(kind)
    named = [dict(zip(spec.input_names, row)) for row in rows]
    for instances in ([list(row) for row in rows], named):
        found = predictions(instances, service(spec))
        outputs = [row["probabilities"] if spec.classes else row for row in found]
        values = [[row[name] for name in spec.output_columns] for row in outputs]
        assert values == expected(spec, rows).tolist()
        assert [row["row"] for row in found] == list(range(len(rows)))


@pytest.mark.parametrize("kind", ["tensor", "text"])
def test_values_of_an_only_input_may_come_alone(kind: str) -> None:
    spec, rows = KINDS[kind].SPEC, rows_of(kind)
    client = service(spec)
    assert predictions([row[0] for row in rows], client) == predictions(
        [list(row) for row in rows], client
    )


@pytest.mark.parametrize("parameters", [None, {}])
def test_empty_parameters_are_accepted(parameters: Any) -> None:
    assert len(predictions(ROWS, service(), parameters=parameters)) == 2


def test_the_path_may_be_another() -> None:
    protocol = VertexPrediction(predictor_of(petals.SPEC), "/v1/endpoints/1:predict")
    assert list(protocol.routes()) == ["/v1/endpoints/1:predict"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, 'the field instances is missing: send {"instances": […]}'),
        ({"instances": []}, "there are no rows"),
        ({"instances": [ROWS[0], ROWS[0][:3]]}, "row 1 has 3 values, expected 4"),
        ({"instances": [{}]}, "row 0, sepal_length: a value is missing"),
        ({"instances": [{"x": 1}]}, "row 0, unknown input 'x', expected sepal_length"),
        ({"instances": [[5, 3, 1, 99]]}, "row 0, petal_width: 99 cm is outside"),
        ({"instances": ROWS[0]}, "row 0 is a number, expected a list or object"),
        ({"instances": 1}, "instances: expected a list, got a number"),
        ({"instances": ROWS, "parameters": {"warm": 1}}, "parameters are not supported, got warm"),
        ({"instances": ROWS, "note": 1}, "unknown field 'note', expected instances, parameters"),
        (ROWS, 'expected an object, got a list: send {"instances": […]}'),
        ({"instance": ROWS}, "unknown field 'instance': did you mean 'instances'?"),
    ],
)
def test_an_invalid_instance_is_refused_with_the_reason(body: Any, message: str) -> None:
    response = service().post("/vertex/predict", content=json.dumps(body))
    assert response.status_code == 422
    assert message in response.json()["error"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"instances": [[NaN, 1, 1, 1]]}', b"\xff"])
def test_invalid_json_is_refused(content: bytes) -> None:
    response = service().post("/vertex/predict", content=content)
    assert response.status_code == 400
    assert response.json()["error"]


def test_predictions_follow_the_decision_threshold_and_probabilities_stay() -> None:
    found = predictions(RISKS, Client(VertexPrediction(risk_predictor()).routes()))
    assert [row["prediction"] for row in found] == DECISIONS
    assert [row["probabilities"]["yes"] for row in found] == pytest.approx([0.1, 0.2, 0.45, 0.9])
    assert [row["confidence"] for row in found] == pytest.approx([0.9, 0.2, 0.45, 0.9])


def test_an_id_comes_back_with_its_prediction_and_is_refused_by_its_row() -> None:
    named = [dict(zip(petals.SPEC.input_names, row)) for row in ROWS]
    found = predictions([{**named[0], "id": 17}, ROWS[0], {**named[1], "id": "b"}], service())
    assert [row.get("id") for row in found] == [17, None, "b"]
    body = {"instances": [{**named[0], "id": "a"}, {**named[1], "id": "", "petal_width": 99}]}
    response = service().post("/vertex/predict", json=body)
    assert response.status_code == 422
    assert response.json()["error"].startswith("row 1, id: '' is not an ID: send 1 to 200")
    assert response.json()["error"].endswith("; petal_width: 99 cm is outside [0.1, 30]")
