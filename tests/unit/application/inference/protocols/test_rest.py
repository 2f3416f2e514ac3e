"""Every endpoint of the tutorial, called through the application without a server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from application.inference.predictor import Predictor
from application.inference.protocols.http import Request
from application.inference.protocols.rest import RestApi
from application.monitoring.recorder import PredictionRecorder
from application.ports.prediction_log import FeedbackLog
from domain.contract import Category, Classes, ModelSpec, Number, Quantity, Tensor, Text
from domain.errors import PredictionLogError
from infrastructure.storage.prediction_log import SqlPredictionLog
from tests import petals
from tests.fakes import (
    SETOSA,
    VERSICOLOR,
    VIRGINICA,
    FakeClassifier,
    FakeMetrics,
    FakePredictionLog,
)
from tests.rest_service import POST_ONLY, Echo, FakeModel, Response, Service

NAMES = petals.SPEC.input_names
FLOWER = dict(zip(NAMES, SETOSA))
IDENTITY = {"model_name": "iris_classifier_pipeline", "version": "1.0.0-a"}
RENT = ModelSpec(
    "rent",
    (
        Number("Total Area", "m²", 5, 500, nullable=True),
        Category("class", ("east", "west"), nullable=True, unseen="missing"),
        Category("furnished", ("false", "true")),
    ),
    Quantity("rent", "EUR", 0.8),
)
SIZES = ModelSpec(
    "sizes",
    (Number("a b", "m", 0, 9, nullable=True), Number("c", "m", 0, 9)),
    Quantity("size"),
)
IMAGE = ModelSpec("image", (Tensor("pixels", (2, 3), 0, 1),), Classes(("dark", "light")))
REVIEW = ModelSpec("review", (Text("words", 9),), Quantity("length"))
ERROR_TYPES = {
    400: "invalid_input",
    404: "unknown_prediction",
    413: "too_large",
    422: "invalid_input",
}
Open = Callable[..., Service]


def document() -> dict[str, Any]:
    """BentoML's OpenAPI document of the endpoints."""
    paths: dict[str, Any] = {
        path: {"post": {"responses": {200: {}}}} for path in (*POST_ONLY, "/health_check")
    }
    return {"openapi": "3.0.2", "paths": paths}


@pytest.fixture(name="open_service")
def _open_service() -> Iterator[Open]:
    recorders: list[PredictionRecorder] = []

    def open_service(
        failure: Exception | None = None,
        log: FeedbackLog | None = None,
        max_rows: int = 5,
        spec: ModelSpec = petals.SPEC,
    ) -> Service:
        model: FakeModel = FakeClassifier(failure) if spec == petals.SPEC else Echo(spec)
        name, version = IDENTITY.values()
        metrics, fake_log = FakeMetrics(), FakePredictionLog(version=version)
        used_log = log or fake_log
        # the thread never flushes: endpoints that need the log do
        recorder = PredictionRecorder(spec, metrics, used_log, interval=3600)
        recorders.append(recorder)
        predictor = Predictor(spec, model, recorder, max_rows)
        api = RestApi(name, version, predictor, recorder, used_log, metrics, document)
        return Service(api, model, metrics, fake_log)

    yield open_service
    for recorder in recorders:
        recorder.close()


@pytest.fixture(name="service")
def _service(open_service: Open) -> Service:
    return open_service()


def classes(response: Response) -> list[str]:
    """The predicted class of each row."""
    assert response.status == 200
    return [prediction["prediction"] for prediction in response.json["predictions"]]


def assert_refused(service: Service, response: Response, status: int, text: str) -> None:
    """Refused with this status and text, counted once, and neither predicted nor recorded."""
    assert response.status == status
    assert text in response.json["error"]
    assert response.json["request_id"] == response.headers[b"x-request-id"].decode()
    assert set(response.json) == {"error", "request_id"}
    assert service.metrics.errors == {ERROR_TYPES[status]: 1}
    assert not service.model.calls
    assert not service.log.predictions and not service.log.labels


def test_a_prediction_has_class_number_confidence_and_probabilities(service: Service) -> None:
    response = service.post("/classify", [VIRGINICA, SETOSA])
    first, second = response.json["predictions"]
    assert first == {
        "prediction": "virginica",
        "prediction_id": 2,
        "confidence": pytest.approx(0.8),
        "probabilities": pytest.approx({"setosa": 0.1, "versicolor": 0.1, "virginica": 0.8}),
        "row": 0,
    }
    assert (second["prediction"], second["prediction_id"], second["row"]) == ("setosa", 0, 1)
    assert {key: response.json[key] for key in IDENTITY} == IDENTITY
    assert response.json["request_id"]


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("/classify", [SETOSA]),
        ("/classify", SETOSA),
        ("/predict", [SETOSA]),
        ("/predict", SETOSA),
        ("/predict_json", FLOWER),
        ("/classify", [[5, 3, 1, 1]]),
        ("/classify", [5, 3, 1, 1]),
        ("/classify_json", FLOWER),
        ("/classify_json", dict(reversed(FLOWER.items()))),
        ("/classify_json", {"instances": [FLOWER]}),
    ],
    ids=[
        "rows",
        "one flat row",
        "rows to predict",
        "one flat row to predict",
        "one object to predict",
        "whole numbers",
        "a flat row of whole numbers",
        "one object",
        "an object in another order",
        "instances",
    ],
)
def test_every_form_of_one_flower_gets_the_same_prediction(
    service: Service, path: str, data: Any
) -> None:
    assert classes(service.post(path, data)) == ["setosa"]
    assert len(service.model.calls) == 1


def test_several_objects_are_predicted_in_order_with_one_call_of_the_model(
    service: Service,
) -> None:
    flowers = [dict(zip(NAMES, row)) for row in (VERSICOLOR, SETOSA, VIRGINICA)]
    response = service.post("/classify_json", {"instances": flowers})
    assert classes(response) == ["versicolor", "setosa", "virginica"]
    assert [len(rows) for rows in service.model.calls] == [3]


def test_blanks_around_the_json_do_not_matter(service: Service) -> None:
    assert classes(service.call("/classify", b" \r\n[ [5.1, 3.5,\t1.4, 0.2] ]\n")) == ["setosa"]


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/classify", b"", "the body is empty: send JSON; /docs.json has"),
        ("/classify", b"[[5.1, 3.5,", "it ends too early (byte 11)"),
        ("/classify", b"not json", "JSON is malformed"),
        ("/classify", b"{bad", "JSON is malformed"),
        ("/classify_json", b"[5.1, 3.5", "it ends too early (byte 9)"),
        ("/classify", b"\xff\xfe", "JSON is malformed"),
        (
            "/classify",
            b"[[NaN, 1, 1, 1]]",
            "JSON is malformed: it has no NaN or Infinity (byte 2): send null for a missing value",
        ),
        ("/classify", b"[[-Infinity, 1, 1, 1]]", "it has no NaN or Infinity (byte 3): send null"),
        ("/classify_json", rb'{"id": "\ud800"}', r"\ud800 is half of a surrogate pair"),
        ("/feedback", rb'{"id": "\udc00 and more"}', r"\udc00 is half of a surrogate pair"),
        ("/classify", b"[[1, 1, 1, 1]] x", "JSON is malformed: trailing characters"),
        ("/classify_json", b"", "the body is empty: send JSON; /docs.json has"),
        ("/classify_json", b'{"sepal_length": 5.1,', "it ends too early (byte 21)"),
        ("/classify_json", b"{'sepal_length': 5.1}", "JSON is malformed"),
        ("/classify_json", b'{"\xff": 5.1}', "byte 2 is not valid UTF-8: send UTF-8"),
        ("/get_metrics_summary", b'{"hours": ', "it ends too early (byte 10)"),
        ("/get_metrics_summary", b"hours=1", "JSON is malformed"),
        ("/feedback", b"", "the body is empty: send JSON; /docs.json has"),
        ("/feedback", b'{"request_id": "a"', "it ends too early (byte 18)"),
        ("/feedback", b"request_id=a", "JSON is malformed"),
    ],
)
def test_a_body_that_is_not_json_gets_a_400(
    service: Service, path: str, body: bytes, text: str
) -> None:
    assert_refused(service, service.call(path, body), 400, text)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("{}", "expected a list of rows, got an object: send objects to /predict_json or /class"),
        ("null", "expected a list of rows, got null"),
        ('"text"', "expected a list of rows, got a text"),
        ("5.1", "expected a list of rows, got a number"),
        ("[]", "there are no rows: send at least one"),
        ("[[]]", "row 0 has 0 values, expected 4: sepal_length, sepal_width, petal_length"),
        ("[5.1, 3.5, 1.4]", "row 0 has 3 values, expected 4"),
        ("[[5.1, 3.5, 1.4, 0.2], [5.1]]", "row 1 has 1 value, expected 4"),
        ("[[5.1, 3.5, 1.4, 0.2, 1]]", "row 0 has 5 values, expected 4"),
        ('[[5.1, "3.5", 1.4, 0.2]]', "row 0, sepal_width: '3.5' is not a number"),
        ("[[5.1, 3.5, 1.4, null]]", "row 0, petal_width: a value is missing"),
        ("[[5.1, 3.5, true, 0.2]]", "row 0, petal_length: true is not a number"),
        ("[[5.1, 3.5, [1.4], 0.2]]", "row 0, petal_length: [1.4] is not a number"),
        ("[5.1, 3.5, [1.4], 0.2]", "row 0, petal_length: [1.4] is not a number"),
        ("[[5.1, 3.5, 1.4, 0.2], 5.1]", "row 1 is a number, expected a list of values"),
        ('["a"]', "row 0 has 1 value, expected 4"),
        ("[[5.1, 3.5, 1e999, 0.2]]", "row 0, petal_length: the number is infinite, or too large"),
        ("[[5.1, 3.5, -1.4, 0.2]]", "row 0, petal_length: -1.4 cm is outside [0.1, 30]"),
        ("[5.1, 3.5, 1.4, 31]", "row 0, petal_width: 31 cm is outside [0.1, 30]"),
    ],
)
def test_rows_of_a_wrong_form_get_a_422_with_the_position(
    service: Service, body: str, text: str
) -> None:
    assert_refused(service, service.call("/classify", body.encode()), 422, text)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ([SETOSA], "expected an object of inputs, got a list: send lists of values to /predict"),
        (None, "expected an object of inputs, got null"),
        ({}, "; ".join(f"{name}: a value is missing" for name in NAMES)),
        ({name: 1.0 for name in NAMES[:3]}, "row 0, petal_width: a value is missing"),
        (FLOWER | {"colour": 1}, "row 0, unknown input 'colour', expected sepal_length"),
        (FLOWER | {"petal_width": "0.2"}, "row 0, petal_width: '0.2' is not a number"),
        (FLOWER | {"petal_width": None}, "row 0, petal_width: a value is missing"),
        (FLOWER | {"petal_width": [1]}, "row 0, petal_width: [1] is not a number"),
        (FLOWER | {"petal_width": 0}, "row 0, petal_width: 0 cm is outside [0.1, 30]"),
        ({"instances": []}, "there are no rows: send at least one"),
        ({"instances": FLOWER}, "instances: expected a list of objects, got an object"),
        ({"instances": [SETOSA]}, "row 0 is a list, expected an object; send lists of"),
        (
            {"instances": [FLOWER, {"petal_width": 1}]},
            "row 1, sepal_length: a value is missing; sepal_width: a value is missing; petal",
        ),
        (
            {"instances": [FLOWER, FLOWER | {"sepal_width": "a"}]},
            "row 1, sepal_width: 'a' is not a number",
        ),
        ({"instances": [FLOWER], "more": 1}, "unknown field 'more', expected instances"),
        ({"instances": [FLOWER, FLOWER | {"sepal_width": 99}]}, "row 1, sepal_width: 99 cm is out"),
    ],
)
def test_objects_of_a_wrong_form_get_a_422_with_the_position(
    service: Service, data: Any, text: str
) -> None:
    assert_refused(service, service.post("/classify_json", data), 422, text)


@pytest.mark.parametrize(
    ("path", "data"), [("/classify", [SETOSA] * 6), ("/classify_json", {"instances": [FLOWER] * 6})]
)
def test_too_many_rows_get_a_413_with_the_limit(service: Service, path: str, data: Any) -> None:
    assert_refused(service, service.post(path, data), 413, "6 rows are too many: send at most 5")


@pytest.mark.parametrize("path", ["/classify_json", "/feedback"])
def test_json_that_is_nested_too_deeply_is_the_callers_fault(service: Service, path: str) -> None:
    depth = 100_000
    response = service.call(path, b'{"a": ' + b"[" * depth + b"]" * depth + b"}")
    assert response.status in (400, 422)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", POST_ONLY)
def test_another_method_gets_a_405_with_the_allowed_one(
    service: Service, path: str, method: str
) -> None:
    response = service.call(path, method=method)
    assert response.status == 405
    assert response.headers[b"allow"] == b"POST"
    assert response.json["error"] == f"method {method} is not allowed here: use POST"
    assert response.json["request_id"] == response.headers[b"x-request-id"].decode()
    assert not service.inner.reached


def test_the_health_check_supports_three_methods_and_no_other(service: Service) -> None:
    response = service.call("/health_check", method="DELETE")
    assert response.status == 405
    assert response.headers[b"allow"] == b"GET, POST, HEAD"
    assert response.json["error"] == "method DELETE is not allowed here: use GET, POST, HEAD"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_health_check_names_the_model(service: Service, method: str) -> None:
    response = service.call("/health_check", method=method)
    assert response.status == 200
    assert response.json == {
        "status": "healthy",
        **IDENTITY,
        "task": "classification",
        "classes": ["setosa", "versicolor", "virginica"],
        "metrics_endpoint": "/metrics",
    }


@pytest.mark.parametrize("path", ["/classify", "/classify_json"])
def test_a_model_that_explodes_is_counted_and_the_response_leaks_nothing(
    open_service: Open, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    service = open_service(failure=RuntimeError("password=hunter2 in model.onnx"))
    response = service.post(path, [SETOSA] if path == "/classify" else FLOWER)
    assert response.status == 500
    assert response.json == {
        "error": "internal error: see the service's log",
        "request_id": response.headers[b"x-request-id"].decode(),
    }
    assert service.metrics.errors == {"internal": 1}
    assert not service.metrics.predictions
    for secret in (b"hunter2", b"RuntimeError", b"Traceback", b"onnx", b".py"):
        assert secret not in response.body
    assert "hunter2" in caplog.text
    assert response.json["request_id"] in caplog.text


def test_a_service_works_again_after_an_error(service: Service) -> None:
    service.log.failures.append(OSError("database is locked"))
    service.post("/classify", [SETOSA])
    broken = service.post("/get_metrics_summary", {})
    assert broken.status == 500
    assert b"locked" not in broken.body
    assert service.post("/get_metrics_summary", {}).status == 200


@pytest.mark.parametrize("request_id", ["order-17.a_B", "7", "x" * 64])
def test_a_plain_request_id_of_the_caller_is_kept(service: Service, request_id: str) -> None:
    headers = [(b"accept", b"*/*"), (b"x-request-id", request_id.encode())]
    response = service.call("/classify", json.dumps([SETOSA]).encode(), headers=headers)
    assert response.json["request_id"] == request_id
    assert response.headers[b"x-request-id"] == request_id.encode()
    assert service.post("/feedback", {"request_id": request_id, "actual_class": 0}).status == 200


@pytest.mark.parametrize(
    "request_id",
    [b"", b"a b", b"x" * 65, b"caf\xe9", b"a\r\nset-cookie: b", b"a\n", b"../a", b"{}"],
)
def test_any_other_request_id_is_replaced_by_a_new_one(service: Service, request_id: bytes) -> None:
    headers = [(b"x-request-id", request_id)]
    response = service.call("/classify", json.dumps([SETOSA]).encode(), headers=headers)
    assert response.status == 200
    assert response.headers[b"x-request-id"] == response.json["request_id"].encode()
    assert len(response.json["request_id"]) == 32


def test_every_request_has_an_identity_of_its_own(service: Service) -> None:
    ids = [service.post("/classify", [SETOSA]).json["request_id"] for _ in range(20)]
    assert len(set(ids)) == 20


def test_a_summary_takes_in_the_request_just_before_it(service: Service) -> None:
    service.post("/classify", [SETOSA, VIRGINICA])
    response = service.post("/get_metrics_summary", {"hours": 2})
    assert response.status == 200
    assert response.json["status"] == "success"
    metrics = response.json["metrics"]
    assert metrics["time_period_hours"] == 2
    assert metrics["total_predictions"] == 2
    assert metrics["class_distribution"] == {"setosa": 1, "versicolor": 0, "virginica": 1}
    assert "accuracy" not in metrics


@pytest.mark.parametrize("body", [b"", b"{}", b'{"hours": 1}', b'{"hours": 1.0}'])
def test_a_summary_covers_one_hour_by_default(service: Service, body: bytes) -> None:
    response = service.call("/get_metrics_summary", body)
    assert response.status == 200
    assert response.json["metrics"]["time_period_hours"] == 1


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"hours": 0}', "hours: 0 is not between 0 and 8784"),
        ('{"hours": -1}', "hours: -1 is not between 0 and 8784"),
        ('{"hours": 8785}', "hours: 8785 is not between 0 and 8784"),
        ('{"hours": "1"}', "hours: expected a number, got a text"),
        ('{"hours": null}', "hours: expected a number, got null"),
        ('{"days": 1}', "unknown field 'days', expected hours"),
        ('{"hour": 1}', "unknown field 'hour': did you mean 'hours'?"),
        ("[1]", 'expected an object, got a list: send {"hours": 1}'),
    ],
)
def test_a_summary_of_an_invalid_period_gets_a_422(service: Service, body: str, text: str) -> None:
    assert_refused(service, service.call("/get_metrics_summary", body.encode()), 422, text)


def test_feedback_joins_the_prediction_just_before_it(service: Service) -> None:
    request_id = service.post("/classify", [SETOSA, VIRGINICA]).json["request_id"]
    label = {"request_id": request_id, "row": 1, "actual_class": "versicolor"}
    response = service.post("/feedback", label)
    assert response.status == 200
    assert response.json == {
        "status": "feedback_recorded",
        "request_id": request_id,
        "row": 1,
        "predicted_class": "virginica",
        "actual_class": "versicolor",
        "correct": False,
        "joined": True,
    }


def test_feedback_without_a_row_is_for_the_first_one(service: Service) -> None:
    request_id = service.post("/classify", SETOSA).json["request_id"]
    response = service.post("/feedback", {"request_id": request_id, "actual_class": 0})
    assert (response.json["row"], response.json["correct"]) == (0, True)


@pytest.mark.parametrize("extra", [{}, {"confidence": 0.8}, {"confidence": None}])
def test_feedback_by_inputs_joins_the_prediction_for_them(
    service: Service, extra: dict[str, Any]
) -> None:
    request_id = service.post("/classify_json", FLOWER).json["request_id"]
    labels = {"predicted_class": "setosa", "actual_class": 0}
    response = service.post("/feedback", FLOWER | labels | extra)
    assert response.status == 200
    assert (response.json["request_id"], response.json["joined"]) == (request_id, True)


def test_feedback_counts_in_the_summary_but_not_as_a_prediction(service: Service) -> None:
    request_id = service.post("/classify", [SETOSA, VIRGINICA]).json["request_id"]
    for row, actual in enumerate(("setosa", "setosa")):
        label = {"request_id": request_id, "row": row, "actual_class": actual}
        assert service.post("/feedback", label).status == 200
    metrics = service.post("/get_metrics_summary", {}).json["metrics"]
    assert metrics["total_predictions"] == 2
    assert metrics["labeled_predictions"] == 2
    assert metrics["accuracy"] == service.metrics.accuracy == 0.5
    assert {"precision", "recall", "f1_score"} <= set(metrics)
    assert service.metrics.predictions.total() == 2


@pytest.mark.parametrize("by_inputs", [False, True])
def test_synthetic_feedback_is_accepted_and_recorded_nowhere(
    service: Service, by_inputs: bool
) -> None:
    mark = [(b"x-synthetic", b"demo"), (b"x-request-id", b"mine-1")]
    request_id = service.post("/classify", SETOSA).json["request_id"]
    found = FLOWER | {"predicted_class": 0} if by_inputs else {"request_id": request_id}

    def send(actual: object) -> Response:
        body = json.dumps({**found, "actual_class": actual}).encode()
        return service.call("/feedback", body, headers=mark)

    assert send(2).json == {
        "status": "feedback_recorded",
        "request_id": "mine-1" if by_inputs else request_id,
        "row": 0,
        "actual_class": "virginica",
        "joined": False,
        "synthetic": True,
    }
    assert send("rose").status == 422
    assert service.metrics.synthetic == {"demo": 2}
    assert service.metrics.accuracy is None and not service.log.labels
    assert not service.metrics.errors


def test_feedback_for_an_unknown_prediction_gets_a_404(
    service: Service,
) -> None:
    response = service.post("/feedback", {"request_id": "nobody", "row": 2, "actual_class": 0})
    assert_refused(service, response, 404, "no prediction 'nobody', row 2, in the log")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"request_id": "a"}, "actual_class: a value is missing"),
        ({"request_id": 7, "actual_class": 0}, "request_id: 7 is not a text"),
        ({"request_id": "a", "actual_class": 0, "row": "0"}, "row: '0' is not a whole number"),
        ({"request_id": "a", "actual_class": 0, "row": 0.5}, "row: 0.5 is not a whole number"),
        ({"request_id": "a", "actual_class": 0.5}, "actual_class: 0.5 is not one of setosa, versi"),
        ({"request_id": "a", "actual_class": True}, "actual_class: true is not one of setosa, ve"),
        ({"request_id": "a", "actual_class": None}, "actual_class: a value is missing"),
        ({"request_id": "a", "actual_class": "rose"}, "actual_class: 'rose' is not one of setosa"),
        ({"request_id": "a", "actual_class": 3}, "actual_class: 3 is not one of setosa, versi"),
        ({"request_id": "a", "actual_class": 0, "more": 1}, "unknown field 'more', expected requ"),
        ({}, "the prediction is not named: send actual_class with id, or with request_id and row"),
        ({"actual_class": 0}, "or with the inputs and predicted_class"),
        (FLOWER, "predicted_class: a value is missing; actual_class: a value is missing"),
        (FLOWER | {"predicted_class": 0}, "actual_class: a value is missing"),
        (
            FLOWER | {"predicted_class": "rose", "actual_class": 0},
            "predicted_class: 'rose' is not one of setosa, versicolor, virginica",
        ),
        (
            FLOWER | {"predicted_class": 0, "actual_class": 0, "sepal_width": 99},
            "row 0, sepal_width: 99 cm is outside",
        ),
        (
            FLOWER | {"predicted_class": 0, "actual_class": 0, "confidence": "high"},
            "confidence: 'high' is not a number",
        ),
        (FLOWER | {"predicted_class": 0, "actual_class": 0, "more": 1}, "unknown field 'more'"),
        ([], "expected an object, got a list: send actual_class with id"),
    ],
)
def test_feedback_of_a_wrong_form_gets_a_422_with_the_position(
    service: Service, data: Any, text: str
) -> None:
    assert_refused(service, service.post("/feedback", data), 422, text)


def test_feedback_for_a_row_that_no_database_can_hold_is_the_callers_fault(
    open_service: Open, tmp_path: Path
) -> None:
    log = SqlPredictionLog(f"sqlite:///{tmp_path / 'predictions.db'}", "petals")
    service = open_service(log=log)
    for row, status in ((2**31 - 1, 404), (2**31, 422), (2**70, 422), (-1, 422)):
        label = {"request_id": f"{'0' * 12}7{'a' * 19}", "row": row, "actual_class": 0}
        assert service.post("/feedback", label).status == status
    log.close()


@pytest.mark.parametrize("request_id", ["a" * 50_000, "a\0b", "\0", "a\nb", "", "\x1b[2J"])
def test_feedback_with_an_invalid_id_is_refused_before_the_database_is_queried(
    open_service: Open, tmp_path: Path, request_id: str
) -> None:
    log = SqlPredictionLog(f"sqlite:///{tmp_path / 'predictions.db'}", "petals")
    label = {"request_id": request_id, "actual_class": 0}
    service = open_service(log=log)
    response = service.post("/feedback", label)
    log.close()
    assert_refused(service, response, 422, "expected 1 to 80 letters, digits, '.', '_' or '-'")


def test_a_busy_log_refuses_only_feedback_that_is_valid_and_says_when_to_retry(
    open_service: Open,
) -> None:
    log = FakePredictionLog([PredictionLogError("the log is busy: retry later")])
    service = open_service(log=log)
    service.post("/classify", SETOSA)  # waits to be logged
    for invalid in (
        {"request": "a", "actual_class": 0},
        {"request_id": "?", "actual_class": 0},
        {"request_id": "a", "actual_class": "rose"},
        FLOWER | {"predicted_class": 0, "actual_class": "rose"},
    ):
        assert service.post("/feedback", invalid).status == 422
    assert log.failures  # nothing was written yet
    response = service.post("/feedback", {"request_id": "a", "actual_class": 0})
    assert (response.status, response.headers[b"retry-after"]) == (503, b"1")
    assert response.json["error"] == "the log is busy: retry later"
    assert service.metrics.dropped == 1


CLIENTS = 80


@pytest.mark.parametrize(
    "unknown",
    [
        {"request_id": "nobody"},
        {"request_id": f"{'0' * 12}7{'a' * 19}"},
        FLOWER | {"predicted_class": 0},
    ],
    ids=["by name", "by an old identity", "by inputs"],
)
def test_valid_feedback_is_accepted_at_once_during_many_unknown_ones(
    open_service: Open, tmp_path: Path, unknown: dict[str, Any]
) -> None:
    log = SqlPredictionLog(f"sqlite:///{tmp_path / 'predictions.db'}", "petals")
    service = open_service(log=log)
    good = {"request_id": service.post("/predict", VIRGINICA).json["request_id"]}
    measured = asyncio.Event()

    async def send(label: dict[str, Any]) -> Response:
        return await service.send("/feedback", json.dumps(label | {"actual_class": 0}).encode())

    async def keep_sending(statuses: set[int]) -> None:
        while not measured.is_set():
            response = await send(unknown)
            statuses.add(response.status)
            if response.status == 503:
                assert int(response.headers[b"retry-after"]) >= 1
                await asyncio.sleep(0.1)  # these clients are impatient

    async def measure() -> tuple[list[float], set[int]]:
        statuses: set[int] = set()
        clients = [asyncio.create_task(keep_sending(statuses)) for _ in range(CLIENTS)]
        seconds = []
        for _ in range(20):
            await asyncio.sleep(0.02)
            start = time.perf_counter()
            while (await send(good)).status == 503:  # all of them come at once
                await asyncio.sleep(0.02)
            seconds.append(time.perf_counter() - start)
        measured.set()
        await asyncio.gather(*clients)
        return seconds, statuses

    seconds, statuses = asyncio.run(measure())
    log.close()
    assert sorted(seconds)[10] < 0.5, seconds
    assert statuses <= {200, 404, 503}
    assert statuses & {200, 404}


@pytest.mark.parametrize("path", ["/transcribe", "/classify/", "/Classify", "/predict/json"])
def test_any_other_path_gets_a_404(service: Service, path: str) -> None:
    assert service.call(path).status == 404
    assert not service.inner.reached


def test_handled_requests_do_not_reach_the_inner_application(service: Service) -> None:
    service.post("/classify", [SETOSA])
    service.call("/classify", b"")
    service.call("/health_check", method="GET")
    assert not service.inner.reached


def test_the_document_has_the_refusals(service: Service) -> None:
    response = service.call("/docs.json", method="GET")
    assert response.status == 200
    assert response.json["openapi"] == "3.0.2"
    for path, item in response.json["paths"].items():
        wanted = {"200", "400", "413", "415", "422", "500", "503", "504"}
        wanted |= {"404"} if path == "/feedback" else set()
        assert set(item["post"]["responses"]) == wanted


def test_only_routes_that_query_the_log_always_run_in_a_thread(service: Service) -> None:
    routes = service.api.routes()
    waiting = {path for path, route in routes.items() if route.waits}
    assert waiting == {"/feedback", "/get_metrics_summary"}
    assert set(routes) == {*POST_ONLY, "/health_check", "/docs.json"}


def test_a_handler_is_called_without_an_application_too(service: Service) -> None:
    found = json.loads(service.api.predict(Request("a", {}, json.dumps([SETOSA]).encode())))
    assert found["request_id"] == "a"
    assert found["predictions"] == service.post("/predict", [SETOSA]).json["predictions"]


def test_a_predicted_value_has_interval_coverage_and_unit(open_service: Open) -> None:
    service = open_service(spec=RENT)
    response = service.post("/predict", [[50, "east", True], [None, None, "false"]])
    assert response.status == 200
    assert response.json == {
        "predictions": [
            {"prediction": 50, "lower": 40, "upper": 60, "row": 0},
            {"prediction": -1, "lower": -11, "upper": 9, "row": 1},
        ],
        "coverage": 0.8,
        "unit": "EUR",
        "request_id": response.json["request_id"],
        **IDENTITY,
    }


def test_values_have_no_class_endpoints_and_no_classes(open_service: Open) -> None:
    service = open_service(spec=RENT)
    for path in ("/classify", "/classify_json"):
        assert not service.post(path, [50, "east", True]).messages
    assert service.inner.reached == ["/classify", "/classify_json"]
    health = service.call("/health_check", method="GET").json
    assert health["task"] == "regression" and "classes" not in health


@pytest.mark.parametrize(
    ("data", "encoded"),
    [
        ({"Total Area": 50, "class": "east", "furnished": True}, [50, 0, 1]),
        ({"class": "west", "furnished": "false", "Total Area": 50}, [50, 1, 0]),
        ({"Total Area": None, "class": None, "furnished": "true"}, [np.nan, np.nan, 1]),
        ({"furnished": False}, [np.nan, np.nan, 0]),
        ({"class": "moon", "furnished": False}, [np.nan, np.nan, 0]),
    ],
    ids=["in order", "out of order", "null", "left out", "unseen"],
)
def test_inputs_of_any_name_are_encoded_as_the_contract_says(
    open_service: Open, data: dict[str, Any], encoded: list[float]
) -> None:
    service = open_service(spec=RENT)
    assert service.post("/predict_json", data).status == 200
    assert service.post("/predict", [data.get(name) for name in RENT.input_names]).status == 200
    for rows in service.model.calls:
        np.testing.assert_array_equal(rows, [encoded])


@pytest.mark.parametrize(
    ("path", "data", "text"),
    [
        ("/predict_json", {"Total Area": 50}, "row 0, furnished: a value is missing"),
        ("/predict_json", {"furnished": None}, "row 0, furnished: a value is missing"),
        ("/predict_json", {"furnished": [True]}, "row 0, furnished: [true] is not a word"),
        (
            "/predict_json",
            {"Total Area": "50", "furnished": True},
            "row 0, Total Area: '50' is not a number",
        ),
        (
            "/predict_json",
            {"furnished": "perhaps"},
            "row 0, furnished: 'perhaps' is not one of false",
        ),
        ("/predict", [["50", "east", True]], "row 0, Total Area: '50' is not a number"),
        ("/predict", [[[1, 2], "east", True]], "row 0, Total Area: [1, 2] is not a number"),
        ("/predict", [[{"a": 1}, "east", True]], 'row 0, Total Area: {"a": 1} is not a number'),
        (
            "/predict",
            [[True, "east", True], [50, "east", True]],
            "Total Area: true is not a number",
        ),
        ("/predict", [[50, "east", None]], "row 0, furnished: a value is missing"),
        ("/predict", [[50, "east", True], 50], "row 1 is a number, expected a list of values"),
        ("/predict", [[50, True]], "row 0 has 2 values, expected 3: Total Area, class, furnished"),
        ("/predict", {"rows": []}, "expected a list of rows, got an object: send objects to /pre"),
    ],
)
def test_mixed_inputs_that_break_the_contract_are_refused_with_their_place(
    open_service: Open, path: str, data: Any, text: str
) -> None:
    service = open_service(spec=RENT)
    assert_refused(service, service.post(path, data), 422, text)


@pytest.mark.parametrize("data", [[[None, 1]], [None, 1], {"c": 1}, {"a b": None, "c": 1.0}])
def test_nullable_numbers_may_be_missing(open_service: Open, data: Any) -> None:
    service = open_service(spec=SIZES)
    path = "/predict_json" if isinstance(data, dict) else "/predict"
    assert service.post(path, data).json["predictions"][0]["prediction"] == -1
    np.testing.assert_array_equal(service.model.calls[0], [[np.nan, 1]])


def test_a_number_that_must_not_be_missing_is_refused_by_its_name(open_service: Open) -> None:
    service = open_service(spec=SIZES)
    response = service.post("/predict", [[1, 1], [1, None]])
    assert_refused(service, response, 422, "row 1, c: a value is missing")


PIXELS = [[0, 0.5, 1], [1, 1, 0]]


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("/predict", [[PIXELS]]),
        ("/predict", [PIXELS]),
        ("/classify", [PIXELS]),
        ("/predict_json", {"pixels": PIXELS}),
        ("/predict_json", {"instances": [{"pixels": PIXELS}]}),
    ],
)
def test_an_image_is_accepted_in_every_form(open_service: Open, path: str, data: Any) -> None:
    service = open_service(spec=IMAGE)
    assert classes(service.post(path, data)) == ["light"]
    np.testing.assert_array_equal(service.model.calls[0], [np.ravel(PIXELS)])


@pytest.mark.parametrize(
    ("path", "data", "text"),
    [
        ("/predict", PIXELS, "row 0 has 2 values, expected 1: pixels"),
        ("/predict", [[[[0, 1], [1, 0]]]], "pixels: expected 2 × 3 numbers, got 2 × 2"),
        ("/predict", [[[[0, 2, 1], [1, 1, 0]]]], "pixels: 2 is outside [0, 1]"),
        ("/predict", [[[[0, "a", 1], [1, 1, 0]]]], "pixels: expected 2 × 3 numbers"),
        ("/predict_json", {"pixels": [["a"]]}, "pixels: expected 2 × 3 numbers, got 1 × 1"),
        ("/predict_json", {"pixels": 1}, "pixels: expected 2 × 3 numbers, got a single value"),
    ],
)
def test_an_image_of_another_shape_is_refused_with_its_shape(
    open_service: Open, path: str, data: Any, text: str
) -> None:
    service = open_service(spec=IMAGE)
    assert_refused(service, service.post(path, data), 422, text)


def test_a_text_is_accepted_in_every_form_and_refused_if_too_long(open_service: Open) -> None:
    service = open_service(spec=REVIEW)
    forms = [("/predict", [["grüße"]]), ("/predict", ["grüße"])]
    for path, data in [*forms, ("/predict_json", {"words": "grüße"})]:
        assert service.post(path, data).json["predictions"][0]["prediction"] == 5
    long = open_service(spec=REVIEW)
    assert_refused(
        long, long.post("/predict", ["a" * 10]), 422, "words: the text has 10 characters"
    )


def test_feedback_on_values_is_measured_by_its_error(open_service: Open) -> None:
    service = open_service(spec=RENT)
    row = {"Total Area": 50, "class": "east", "furnished": True}
    request_id = service.post("/predict_json", row).json["request_id"]
    by_inputs = service.post("/feedback", {**row, "predicted": 50, "actual": 47.5})
    assert by_inputs.status == 200
    assert by_inputs.json == {
        "status": "feedback_recorded",
        "request_id": request_id,
        "row": 0,
        "predicted": 50,
        "actual": 47.5,
        "absolute_error": 2.5,
        "joined": True,
    }
    again = service.post("/feedback", {"request_id": request_id, "actual": 45})
    assert again.json["absolute_error"] == service.metrics.mean_absolute_error == 5
    figures = service.post("/get_metrics_summary", {}).json["metrics"]
    assert figures["labeled_predictions"] == 1 and figures["average_prediction"] == 50


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"request_id": "a"}, "actual: a value is missing"),
        ({"request_id": "a", "actual": "much"}, "actual: 'much' is not a finite number"),
        ({"request_id": "a", "actual": 1, "actual_class": 1}, "unknown field 'actual_class'"),
        (
            {"furnished": True, "predicted": 1, "actual": 1, "confidence": 1},
            "unknown field 'confidence'",
        ),
        ({"furnished": True, "actual": 1}, "predicted: a value is missing"),
    ],
)
def test_feedback_on_values_of_a_wrong_form_is_refused(
    open_service: Open, data: Any, text: str
) -> None:
    service = open_service(spec=RENT)
    assert_refused(service, service.post("/feedback", data), 422, text)


def test_inputs_may_have_the_names_of_fields_of_requests(open_service: Open) -> None:
    names = ("instances", "request_id", "actual")
    spec = ModelSpec("odd", tuple(Number(name, "", 0, 9) for name in names), Quantity("q"))
    service = open_service(spec=spec)
    response = service.post("/predict_json", {"instances": 1, "request_id": 2, "actual": 3})
    assert response.json["predictions"][0]["prediction"] == 1
    label = {"request_id": response.json["request_id"], "actual": 2}
    assert service.post("/feedback", label).json["joined"] is True


@pytest.mark.parametrize("path", ["/predict", "/predict_json", "/classify_json"])
def test_predictions_and_the_log_follow_the_decision_threshold(
    open_service: Open, path: str
) -> None:
    output = Classes(("yes", "no"), "leaves", positive="yes", threshold=0.2)
    spec = ModelSpec("risk", (Number("risk", "", 0, 1),), output)
    service = open_service(spec=spec)
    rows = [[0.1], [0.2], [0.45], [0.9]]
    by_name = {"instances": [{"risk": risk} for (risk,) in rows]}
    response = service.post(path, rows if path == "/predict" else by_name).json
    found = response["predictions"]
    assert [row["prediction"] for row in found] == ["no", "yes", "yes", "yes"]
    assert [row["probabilities"]["yes"] for row in found] == pytest.approx([0.1, 0.2, 0.45, 0.9])
    assert [row["confidence"] for row in found] == pytest.approx([0.9, 0.2, 0.45, 0.9])
    label = {"request_id": response["request_id"], "row": 1, "actual_class": "yes"}
    assert service.post("/feedback", label).json["correct"]
    summary = service.post("/get_metrics_summary", {}).json["metrics"]
    assert summary["class_distribution"] == {"yes": 3, "no": 1}


# IDs of rows


@pytest.mark.parametrize("row_id", ["order-17", "訂單 \\ 17", 17, -3, 2**63 - 1, 17.0])
def test_the_id_of_a_named_row_comes_back_as_it_was_sent(service: Service, row_id: Any) -> None:
    response = service.post("/predict_json", {**FLOWER, "id": row_id})
    (found,) = response.json["predictions"]
    assert found.pop("id") == row_id
    (plain,) = service.post("/predict_json", FLOWER).json["predictions"]
    assert found == plain
    instances = [FLOWER, {"id": row_id, **FLOWER}, {**FLOWER, "id": None}]
    several = service.post("/classify_json", {"instances": instances}).json["predictions"]
    assert [item.get("id") for item in several] == [None, row_id, None]


def test_a_name_that_is_escaped_in_json_is_the_same_name(service: Service) -> None:
    body = json.dumps(FLOWER)[:-1].encode() + rb', "\u0069d": "a"}'
    assert service.call("/predict_json", body).json["predictions"][0]["id"] == "a"


def test_every_wrong_id_and_value_of_a_request_is_told_by_its_row(service: Service) -> None:
    rows = [{**FLOWER, "id": "a"}, {**FLOWER, "id": 0.5}, {**FLOWER, "petal_width": 99, "id": ""}]
    response = service.post("/predict_json", {"instances": rows})
    assert response.status == 422
    first, second = response.json["error"].split("; row ")
    assert first.startswith("row 1, id: 0.5 is not an ID: send 1 to 200 characters")
    assert second.startswith("2, id: '' is not an ID")
    assert second.endswith("petal_width: 99 cm is outside [0.1, 30]")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (
            {"instances": [FLOWER, {**FLOWER, "id": "b", "sepal_width": "wide"}]},
            "row 1, sepal_width: 'wide' is not a number",
        ),
        ({"id": "a"}, "row 0, sepal_length: a value is missing; sepal_width: a value is missing"),
        ({**FLOWER, "id": "a", "more": 1}, "unknown input 'more'"),
        ({**FLOWER, "id": ["a"]}, 'row 0, id: ["a"] is not an ID'),
    ],
)
def test_a_wrong_body_with_ids_is_refused_with_its_position(
    service: Service, data: Any, text: str
) -> None:
    assert_refused(service, service.post("/predict_json", data), 422, text)


def test_names_that_json_escapes_may_have_an_id_beside_them(open_service: Open) -> None:
    spec = ModelSpec("m", (Number('a "b"', "", 0, 9), Number("c", "", 0, 9)), Quantity("q"))
    service = open_service(spec=spec)
    response = service.post("/predict_json", {'a "b"': 1, "c": 2, "id": "x"})
    assert response.json["predictions"][0]["id"] == "x"


def test_an_input_called_id_is_no_key(open_service: Open) -> None:
    spec = ModelSpec("m", (Number("id", "", 0, 9), Number("x", "", 0, 9)), Quantity("q"))
    service = open_service(spec=spec)
    response = service.post("/predict_json", {"id": 3, "x": 1})
    assert response.json["predictions"] == [{"prediction": 3, "lower": -7, "upper": 13, "row": 0}]
    labels = {"predicted": 3, "actual": 4}
    assert service.post("/feedback", {"id": 3, "x": 1, **labels}).json["joined"] is True
    assert service.post("/feedback", {"id": 3, "actual": 4}).status == 422


@pytest.mark.parametrize("asked", ["17", 17, 17.0])
def test_feedback_by_id_labels_the_latest_row_with_it(service: Service, asked: Any) -> None:
    service.post("/predict_json", {**FLOWER, "id": 17})
    rows = [{**dict(zip(NAMES, row)), "id": 17} for row in (SETOSA, VIRGINICA)]
    request_id = service.post("/predict_json", {"instances": rows}).json["request_id"]
    response = service.post("/feedback", {"id": asked, "actual_class": "versicolor"})
    assert response.status == 200
    assert response.json == {
        "status": "feedback_recorded",
        "request_id": request_id,
        "row": 1,
        "id": asked,
        "predicted_class": "virginica",
        "actual_class": "versicolor",
        "correct": False,
        "joined": True,
    }
    assert type(response.json["id"]) is type(asked)


def test_synthetic_feedback_by_id_is_recorded_nowhere(service: Service) -> None:
    body = json.dumps({"id": "a", "actual_class": 2}).encode()
    response = service.call("/feedback", body, headers=[(b"x-synthetic", b"demo")])
    assert (response.json["id"], response.json["actual_class"]) == ("a", "virginica")
    assert response.json["synthetic"] is True and not service.log.labels


@pytest.mark.parametrize(
    ("data", "status", "text"),
    [
        ({"id": "nobody", "actual_class": 0}, 404, "no prediction with the id 'nobody' in the log"),
        ({"id": "", "actual_class": 0}, 422, "id: '' is not an ID"),
        ({"id": 0.5, "actual_class": 0}, 422, "id: 0.5 is not an ID"),
        ({"id": 2.0**53, "actual_class": 0}, 422, "id: 9007199254740992.0 is a float, which may"),
        ({"id": None, "actual_class": 0}, 422, "id: a value is missing"),
        ({"id": ["a"], "actual_class": 0}, 422, 'id: ["a"] is not an ID'),
        ({"id": "a"}, 422, "actual_class: a value is missing"),
        ({"id": "a", "row": 0, "actual_class": 0}, 422, "unknown field 'row'"),
        ({"id": "a", "request_id": "a", "actual_class": 0}, 422, "unknown field 'id'"),
        (
            {"id": "a", **FLOWER, "actual_class": 0},
            422,
            "unknown fields 'sepal_length', 'sepal_width', 'petal_le",
        ),
    ],
)
def test_feedback_by_an_id_that_is_wrong_is_refused(
    service: Service, data: Any, status: int, text: str
) -> None:
    assert_refused(service, service.post("/feedback", data), status, text)
