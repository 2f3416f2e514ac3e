"""Tests of a running service of iris, or of another model with its contract.

`SERVICE_URL=http://127.0.0.1:3000 pytest application/inference/services/test_service.py` tests a
running service; without SERVICE_URL, the exported Bento is served with two workers. Requests are
marked as synthetic, except in tests of metrics and feedback: these cause traffic, feedback and
drift in the service.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest

SETOSA = [5.1, 3.5, 1.4, 0.2]
VIRGINICA = [6.7, 3.0, 5.2, 2.3]
NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
NAMED = dict(zip(NAMES, SETOSA))


def eventually(check: Callable[[], bool]) -> bool:
    """Whether the check passes within five seconds; metrics are written in batches."""
    deadline = time.monotonic() + 5
    while not (done := check()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return done


def metric(client: httpx.Client, name: str, **labels: str) -> float:
    """Sum of the samples of a metric with these labels."""
    total = 0.0
    for line in client.get("/metrics").text.splitlines():
        if line.startswith(f"{name}{{") and all(f'{k}="{v}"' in line for k, v in labels.items()):
            total += float(line.rsplit(" ", 1)[1])
    return total


def summary(client: httpx.Client, hours: float = 1) -> Any:
    """The figures of the metrics summary."""
    response = client.post("/get_metrics_summary", json={"hours": hours})
    assert response.status_code == 200, response.text
    assert response.json()["status"] == "success"
    return response.json()["metrics"]


def test_predictions_have_class_and_probabilities(client: httpx.Client) -> None:
    response = client.post("/classify", json=[SETOSA, VIRGINICA]).json()
    assert [item["prediction"] for item in response["predictions"]] == ["setosa", "virginica"]
    assert [item["prediction_id"] for item in response["predictions"]] == [0, 2]
    assert [item["row"] for item in response["predictions"]] == [0, 1]
    for item in response["predictions"]:
        assert item["confidence"] == item["probabilities"][item["prediction"]]
        assert sum(item["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert set(item["probabilities"]) == {"setosa", "versicolor", "virginica"}


def test_flat_rows_and_named_inputs_get_the_same_predictions(client: httpx.Client) -> None:
    responses = [
        client.post("/classify", json=[SETOSA]),
        client.post("/classify", json=SETOSA),
        client.post("/predict", json=[SETOSA]),
        client.post("/predict", json=SETOSA),
        client.post("/predict_json", json=NAMED),
        client.post("/predict_json", json={"instances": [NAMED]}),
        client.post("/classify_json", json=NAMED),
        client.post("/classify_json", json={"instances": [NAMED]}),
        client.post("/classify_json", json=dict(reversed(NAMED.items()))),
    ]
    assert {response.status_code for response in responses} == {200}
    assert all(r.json()["predictions"] == responses[0].json()["predictions"] for r in responses)


def test_a_row_gets_the_same_prediction_alone_and_in_a_batch(client: httpx.Client) -> None:
    alone = client.post("/classify", json=VIRGINICA).json()["predictions"][0]
    batch = client.post("/classify", json=[SETOSA] * 50 + [VIRGINICA]).json()["predictions"][-1]
    assert batch["probabilities"] == alone["probabilities"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_health_check_names_model_and_version(client: httpx.Client, method: str) -> None:
    response = client.request(method, "/health_check").json()
    assert response["status"] == "healthy"
    assert response["model_name"] in ("iris_classifier_pipeline", "petals_pipeline")
    assert response["version"].startswith("1.0.0-")
    assert response["task"] == "classification"
    assert response["classes"] == ["setosa", "versicolor", "virginica"]
    assert client.get(response["metrics_endpoint"]).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/classify", "[[1, 2, 3]]", 422, "row 0 has 3 values, expected 4"),
        ("/classify", "[[1, 2, 3, 4], [1]]", 422, "row 1 has 1 value"),
        ("/classify", '[["a", 1, 2, 3]]', 422, "row 0, sepal_length: 'a' is not a number"),
        ("/classify", "[[1, null, 2, 3]]", 422, "row 0, sepal_width: a value is missing"),
        ("/classify", "[[1, NaN, 2, 3]]", 400, "malformed"),
        (
            "/classify",
            "[[1, 1e999, 2, 3]]",
            422,
            "row 0, sepal_width: the number is infinite, or too large",
        ),
        ("/classify", "[[1, -2, 2, 3]]", 422, "row 0, sepal_width: -2 cm is outside"),
        ("/classify", "[]", 422, "no rows"),
        ("/classify", "[[]]", 422, "row 0 has 0 values"),
        ("/classify", "", 400, ""),
        ("/classify", "flower", 400, "malformed"),
        ("/classify", '{"rows": 1}', 422, "send objects to /predict_json"),
        ("/classify", str([SETOSA] * 10_001), 413, "10001 rows are too many"),
        ("/predict", "[[1, -2, 2, 3]]", 422, "row 0, sepal_width: -2 cm is outside"),
        ("/predict_json", '{"sepal_length": 5.1}', 422, "row 0, sepal_width: a value is missing"),
        ("/classify_json", '{"sepal_length": 5.1}', 422, "row 0, sepal_width: a value is missing"),
        ("/classify_json", '{"instances": [{}]}', 422, "row 0, sepal_length: a value is missing"),
        ("/classify_json", '{"instances": []}', 422, "no rows"),
        ("/classify_json", "[1, 2, 3, 4]", 422, "send lists of values to /predict"),
        ("/get_metrics_summary", '{"hours": 0}', 422, "hours"),
        ("/get_metrics_summary", '{"days": 1}', 422, "unknown field 'days', expected hours"),
        ("/feedback", '{"actual_class": "setosa"}', 422, "the prediction is not named"),
    ],
)
def test_an_invalid_request_is_refused_with_the_reason(
    client: httpx.Client, path: str, body: str, status: int, message: str
) -> None:
    response = client.post(path, content=body)
    assert response.status_code == status, response.text
    assert message in response.json()["error"]


def test_feedback_on_an_unknown_prediction_gets_a_404(traffic: httpx.Client) -> None:
    response = traffic.post("/feedback", json={"request_id": "unknown", "actual_class": "setosa"})
    assert response.status_code == 404
    assert "no prediction 'unknown', row 0, in the log" in response.json()["error"]


def test_a_too_large_body_gets_a_413(client: httpx.Client) -> None:
    assert client.post("/classify", content=b"[" + b" " * 9_000_000 + b"]").status_code == 413


def test_another_method_gets_a_405_with_the_allowed_one(client: httpx.Client) -> None:
    response = client.get("/classify")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


def test_refused_requests_are_counted_as_errors_and_not_as_predictions(
    traffic: httpx.Client,
) -> None:
    errors = metric(traffic, "ml_prediction_errors_total", error_type="invalid_input")
    predictions = metric(traffic, "ml_predictions_total")
    for _ in range(5):
        traffic.post("/classify", json=[[1]])
    counted = errors + 5
    assert eventually(
        lambda: metric(traffic, "ml_prediction_errors_total", error_type="invalid_input") == counted
    )
    assert metric(traffic, "ml_predictions_total") == predictions


def test_every_prediction_is_counted_once_with_several_workers(service_url: str) -> None:
    with httpx.Client(base_url=service_url) as client:
        before = metric(client, "ml_predictions_total", **{"class": "setosa"})
        requests = metric(client, "ml_prediction_duration_seconds_count")
        confidence = metric(client, "ml_prediction_confidence_count", **{"class": "setosa"})
        logged = summary(client)["total_predictions"]
        for _ in range(40):  # with new connections, so that both workers get some
            httpx.post(f"{service_url}/classify", json=[SETOSA, SETOSA])
        assert eventually(
            lambda: metric(client, "ml_predictions_total", **{"class": "setosa"}) == before + 80
        )
        assert metric(client, "ml_prediction_duration_seconds_count") == requests + 40
        assert (
            metric(client, "ml_prediction_confidence_count", **{"class": "setosa"})
            == confidence + 80
        )
        assert eventually(lambda: summary(client)["total_predictions"] == logged + 80)


def test_the_summary_has_the_documented_figures(traffic: httpx.Client) -> None:
    traffic.post("/classify", json=[SETOSA, VIRGINICA])
    assert eventually(lambda: summary(traffic)["total_predictions"] > 0)
    figures = summary(traffic)
    assert figures["time_period_hours"] == 1
    assert 0 < figures["average_confidence"] <= 1
    assert 0 < figures["average_latency_seconds"] < 10
    assert sum(figures["class_distribution"].values()) == figures["total_predictions"]
    assert figures["predictions_per_hour"] == figures["total_predictions"]


def test_feedback_labels_its_prediction_and_is_not_a_prediction(service_url: str) -> None:
    with httpx.Client(base_url=service_url) as client:
        response = client.post("/classify", json=[SETOSA, VIRGINICA]).json()
        logged = summary(client)
        for _ in range(10):  # repeated feedback stays one label
            result = httpx.post(
                f"{service_url}/feedback",
                json={"request_id": response["request_id"], "row": 1, "actual_class": "versicolor"},
            )
            assert result.status_code == 200, result.text
            assert result.json()["status"] == "feedback_recorded"
            assert result.json()["predicted_class"] == "virginica"
            assert result.json()["correct"] is False
        after = summary(client)
    assert after["total_predictions"] == logged["total_predictions"]
    assert after["labeled_predictions"] == logged.get("labeled_predictions", 0) + 1


def test_feedback_by_inputs_labels_the_latest_prediction_for_them(traffic: httpx.Client) -> None:
    flower = [5.0 + (uuid.uuid4().int % 1000) / 1000, 3.4, 1.5, 0.2]
    response = traffic.post("/classify", json=flower).json()
    result = traffic.post(
        "/feedback",
        json={
            **dict(zip(NAMES, flower)),
            "predicted_class": "setosa",
            "actual_class": 0,
            "confidence": 0.9,
        },
    ).json()
    assert result["joined"] is True
    assert result["request_id"] == response["request_id"]
    assert result["correct"] is True


def test_live_accuracy_equals_that_of_the_summary(traffic: httpx.Client) -> None:
    request_id = traffic.post("/classify", json=SETOSA).json()["request_id"]
    feedback = {"request_id": request_id, "actual_class": "setosa"}
    assert traffic.post("/feedback", json=feedback).status_code == 200
    figures = summary(traffic, hours=24)
    assert metric(traffic, "ml_model_accuracy") == pytest.approx(figures["accuracy"])
    assert {"precision", "recall", "f1_score"} <= set(figures)


def test_drift_is_detected_for_each_input(traffic: httpx.Client) -> None:
    traffic.post("/classify", json=[[25.0, 25.0, 25.0, 25.0]] * 1000)
    # drift is checked at most every ten seconds: predict until then
    deadline = time.monotonic() + 30
    while metric(traffic, "ml_data_drift_score", feature="petal_width") <= 0.25:
        assert time.monotonic() < deadline, "the drift score did not rise"
        traffic.post("/classify", json=[[25.0, 25.0, 25.0, 25.0]])
        time.sleep(0.1)
    for name in NAMES:
        assert metric(traffic, "ml_data_drift_score", feature=name) > 0.25


def test_synthetic_requests_get_ordinary_responses_and_count_only_by_source(
    client: httpx.Client, traffic: httpx.Client
) -> None:
    logged = summary(traffic)["total_predictions"]
    name = {"x-request-id": f"mine-{uuid.uuid4().hex}"}
    lines = {**name, "content-type": "application/x-ndjson"}
    requests: list[dict[str, Any]] = [
        {"url": "/classify", "json": SETOSA, "headers": name},
        {"url": "/predict_json", "json": NAMED, "headers": name},
        {"url": "/predict_lines", "content": str(SETOSA), "headers": lines},
        {"url": "/invocations", "json": {"instances": [SETOSA]}, "headers": name},
    ]
    ordinary = [traffic.post(**request) for request in requests]
    assert eventually(lambda: summary(traffic)["total_predictions"] == logged + len(requests))
    before, figures = metric(client, "ml_synthetic_requests_total", source="test"), summary(traffic)
    names = ("ml_predictions_total", "ml_prediction_errors_total", "ml_model_accuracy")
    counted = [metric(client, name) for name in names]
    for request, response in zip(requests, ordinary):
        marked = client.post(**request)
        assert (marked.status_code, marked.content) == (200, response.content)
    label = {**name, "actual_class": "virginica"}
    label["request_id"] = label.pop("x-request-id")
    result = client.post("/feedback", json=label)
    assert (result.status_code, result.json()["status"]) == (200, "feedback_recorded")
    assert client.post("/classify", json=[[1]]).status_code == 422
    sent = len(requests) + 2
    assert metric(client, "ml_synthetic_requests_total", source="test") == before + sent
    assert summary(traffic) == figures
    assert [metric(client, name) for name in names] == counted


def test_a_request_keeps_its_request_id(client: httpx.Client) -> None:
    name = f"mine-{uuid.uuid4().hex}"
    response = client.post("/classify", json=SETOSA, headers={"x-request-id": name})
    assert response.json()["request_id"] == response.headers["x-request-id"] == name


def test_endpoints_of_bentoml_are_available(client: httpx.Client) -> None:
    for path in ("/livez", "/readyz", "/healthz", "/metrics", "/docs.json", "/"):
        assert client.get(path).status_code == 200, path


def test_openapi_examples_are_valid_and_name_every_input(client: httpx.Client) -> None:
    paths = client.get("/docs.json").json()["paths"]
    for path in ("/predict", "/predict_json", "/classify", "/classify_json"):
        body = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert client.post(path, json=body["example"]).status_code == 200
        assert all(name in str(body) for name in NAMES)


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, *sys.argv[1:]]))
