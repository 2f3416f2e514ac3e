"""The demonstration: the metrics that it reads, its output and its errors."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from domain.contract import Category, Classes, ModelSpec, Number
from domain.errors import DeploymentError
from infrastructure.cli.__main__ import main
from infrastructure.deployment.demo import Service, demonstrate
from infrastructure.deployment.golden import Golden
from infrastructure.monitoring.metrics.model_metrics import start_metrics_server
from infrastructure.monitoring.metrics.service_metrics import ServiceMetrics


@pytest.fixture(scope="module", name="url")
def _url() -> Iterator[str]:
    """The address of a server that has the metrics of a model."""
    registry = CollectorRegistry()
    metrics = ServiceMetrics("iris", "1.0.0-a", ("setosa", "virginica"), registry)
    metrics.record_predictions(np.array([0, 0]), np.array([0.75, 0.25]), np.array([0.5]))
    metrics.set_drift({"petal_width": 0.1})
    server, thread = start_metrics_server(0, registry)
    with closing(server.socket):
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(5)


def test_metrics_are_read_by_name_and_the_labels_that_differ(url: str) -> None:
    read = Service(url).metrics()
    assert read['ml_predictions_total{class="setosa"}'] == 2
    assert read['ml_predictions_total{class="virginica"}'] == 0
    assert read['ml_prediction_confidence_sum{class="setosa"}'] == 1
    assert read["ml_prediction_duration_seconds_sum"] == 0.5
    assert read['ml_data_drift_score{feature="petal_width"}'] == 0.1


def test_buckets_and_creation_times_are_left_out(url: str) -> None:
    assert {name.partition("{")[0] for name in Service(url).metrics()} == {
        "ml_predictions_total",
        "ml_prediction_duration_seconds_count",
        "ml_prediction_duration_seconds_sum",
        "ml_prediction_confidence_count",
        "ml_prediction_confidence_sum",
        "ml_data_drift_score",
        "ml_prediction_log_dropped_rows_total",
        "ml_prediction_log_spooled_rows",
        "ml_prediction_errors_total",
    }


def test_a_service_that_does_not_respond_is_named() -> None:
    with pytest.raises(DeploymentError, match="http://127.0.0.1:1/metrics does not respond"):
        Service("http://127.0.0.1:1").metrics()


def test_without_a_deployment_the_error_says_to_deploy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RELEASES_DIR", str(tmp_path))
    assert main(["demo", "--env", "staging"]) == 1
    assert "nothing is deployed in staging: run make deploy" in capsys.readouterr().err


class Another(BaseHTTPRequestHandler):
    """The service of another model, which rejects rows of this one."""

    def do_GET(self) -> None:  # pylint: disable=invalid-name
        """Respond with the model's name."""
        self.reply(200, b'{"status": "healthy", "model_name": "wine"}')

    def do_POST(self) -> None:  # pylint: disable=invalid-name
        """Reject the rows."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(422, b"{}")

    def reply(self, status: int, body: bytes) -> None:
        """Send a status and a body."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:  # pylint: disable=arguments-differ
        """Say nothing."""


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("iris", ": it serves wine, not iris; set ENV or PORT to another one"),
        ("wine", ""),
        ("", ""),
    ],
)
def test_an_error_response_is_reported_with_the_model_that_is_served(model: str, more: str) -> None:
    with HTTPServer(("127.0.0.1", 0), Another) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with pytest.raises(DeploymentError) as caught:
            Service(url, model=model).post("/predict", [[1]])
        server.shutdown()
    message = str(caught.value)
    assert message.startswith(f"{url}/predict returned 422 ") and message.endswith(more)
    assert ("it serves" in message) is bool(more)


class Wrong(BaseHTTPRequestHandler):
    """A service that predicts setosa for every flower, and keeps the requests."""

    def do_POST(self) -> None:  # pylint: disable=invalid-name
        """Respond to a prediction request or a feedback."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(  # type: ignore[attr-defined]
            (self.path, body, self.headers["X-Synthetic"])
        )
        prediction = {"row": 0, "prediction": "setosa", "confidence": 0.9}
        response: dict[str, Any] = {"predictions": [prediction], "request_id": "1"}
        if self.path == "/feedback":
            response = {"status": "feedback_recorded", "actual_class": body["actual_class"]}
        self.reply(json.dumps(response).encode())

    def do_GET(self) -> None:  # pylint: disable=invalid-name
        """Respond with the number of synthetic requests so far."""
        count = len(self.server.requests)  # type: ignore[attr-defined]
        counted = b'ml_synthetic_requests_total{source="demo"} %d\n' % count if count else b""
        self.reply(counted)

    def reply(self, body: bytes) -> None:
        """Send status 200 and a body."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:  # pylint: disable=arguments-differ
        """Say nothing."""


@pytest.mark.parametrize("actual", [["versicolor"], []])
def test_the_feedback_is_the_actual_class_from_the_holdout(
    capsys: pytest.CaptureFixture[str], actual: list[str]
) -> None:
    inputs = (Number("petal_length", "cm", 0, 30), Category("場所", ("台北", "高雄")))
    spec = ModelSpec("iris", inputs, Classes(("setosa", "versicolor")))
    golden = Golden(spec, [[4.5, "台北"]], [[0.9, 0.1]], actual=actual)
    with HTTPServer(("127.0.0.1", 0), Wrong) as server:
        requests: list[Any] = []
        server.requests = requests  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        demonstrate(Service(f"http://127.0.0.1:{server.server_port}"), golden)
        server.shutdown()
    output = capsys.readouterr().out
    feedback = {"request_id": "1", "row": 0, "actual_class": "versicolor"}
    expected = [("/predict", [[4.5, "台北"]], "demo"), ("/feedback", feedback, "demo")]
    assert requests == expected[: 1 + len(actual)]
    assert 'request   POST /predict [[4.5, "台北"]]\n' in output
    assert ("actual value versicolor, from the hold-out" if actual else "train it again") in output
    assert f'ml_synthetic_requests_total{{source="demo"}} 0 → {len(requests)}' in output
