"""Golden requests are read from a Bento and sent to a port; the predictions are compared."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from application.inference.predictor import GOLDEN_TOLERANCE
from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.errors import DeploymentError
from infrastructure.deployment.golden import Golden, check_golden_predictions, golden_of
from tests.served import free_port

CLASSES = ("setosa", "virginica")
SPEC = ModelSpec("iris", (Number("petal_length", "cm", 0, 30),), Classes(CLASSES))
GOLDEN = Golden(SPEC, [[1.4], [5.2]], [[0.9, 0.1], [0.2, 0.8]])
RENT = ModelSpec("rent", (Number("area", "m²", 5, 500),), Quantity("rent", "EUR"))
RENTS = Golden(RENT, [[30], [200]], [[300, 250, 350], [2000, 1950, 2050]])


def response_body(probabilities: list[list[float]], version: str = "1.0.0-a") -> bytes:
    """The body of a service's response."""
    predictions = [{"probabilities": dict(zip(CLASSES, row))} for row in probabilities]
    return json.dumps({"predictions": predictions, "version": version}).encode()


RIGHT = response_body([[0.9, 0.1], [0.2, 0.8]])

Serve = Callable[..., HTTPServer]


@pytest.fixture(name="serve")
def _serve() -> Iterator[Serve]:
    """Starts HTTP servers with one fixed response: `serve(body, status)`."""
    with ExitStack() as stack:

        def serve(body: bytes, status: int = 200) -> HTTPServer:
            class Handler(BaseHTTPRequestHandler):
                """Sends the response and keeps the requests."""

                def do_POST(self) -> None:  # pylint: disable=invalid-name
                    """Respond to a POST."""
                    size = int(self.headers["Content-Length"])
                    requests.append((self.path, json.loads(self.rfile.read(size))))
                    marks.append(self.headers["X-Synthetic"])
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

                def log_message(self, *_: object) -> None:  # pylint: disable=arguments-differ
                    """Say nothing."""

            requests: list[Any] = []
            marks: list[str] = []
            server = stack.enter_context(HTTPServer(("127.0.0.1", 0), Handler))
            server.requests, server.marks = requests, marks  # type: ignore[attr-defined]
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            stack.callback(server.shutdown)
            return server

        yield serve


def test_right_predictions_are_accepted(serve: Serve) -> None:
    server = serve(RIGHT)
    check_golden_predictions(server.server_port, GOLDEN, "1.0.0-a")
    check_golden_predictions(server.server_port, GOLDEN, "1.0.0-a", source="smoke")
    assert server.requests == [("/predict", GOLDEN.rows)] * 2  # type: ignore[attr-defined]
    assert server.marks == ["golden", "smoke"]  # type: ignore[attr-defined]


def test_a_difference_within_the_tolerance_is_accepted(serve: Serve) -> None:
    almost = response_body([[0.9 - GOLDEN_TOLERANCE / 2, 0.1 + GOLDEN_TOLERANCE / 2], [0.2, 0.8]])
    check_golden_predictions(serve(almost).server_port, GOLDEN, "1.0.0-a")


@pytest.mark.parametrize(
    "wrong",
    [
        [[0.9, 0.1], [0.2 + 3 * GOLDEN_TOLERANCE, 0.8]],
        [[0.1, 0.9], [0.2, 0.8]],
        [[0.2, 0.8], [0.9, 0.1]],
        [[float("nan"), 0.1], [0.2, 0.8]],
    ],
)
def test_a_wrong_probability_is_refused(serve: Serve, wrong: list[list[float]]) -> None:
    with pytest.raises(DeploymentError, match="differ"):
        check_golden_predictions(serve(response_body(wrong)).server_port, GOLDEN, "1.0.0-a")


def rents(*rows: Sequence[float]) -> bytes:
    """The body of a response with rents."""
    predictions = [dict(zip(("prediction", "lower", "upper"), row)) for row in rows]
    return json.dumps({"predictions": predictions, "version": "1.0.0-a"}).encode()


def test_values_may_differ_by_rounding_of_the_largest_one(serve: Serve) -> None:
    almost = rents([300.01, 250, 350], [2000, 1950, 2050.01])
    check_golden_predictions(serve(almost).server_port, RENTS, "1.0.0-a")


@pytest.mark.parametrize("upper", [2050.1, float("nan")])
def test_a_wrong_value_or_limit_is_refused(serve: Serve, upper: float) -> None:
    wrong = rents([300, 250, 350], [2000, 1950, upper])
    with pytest.raises(DeploymentError, match="port .*: the predictions for the golden .* differ"):
        check_golden_predictions(serve(wrong).server_port, RENTS, "1.0.0-a")


def test_predictions_of_another_version_are_refused(serve: Serve) -> None:
    body = response_body([[0.9, 0.1], [0.2, 0.8]], version="1.0.0-b")
    with pytest.raises(DeploymentError, match="serves version 1.0.0-b, not 1.0.0-a"):
        check_golden_predictions(serve(body).server_port, GOLDEN, "1.0.0-a")


@pytest.mark.parametrize("status", [404, 500, 503])
def test_an_error_status_is_refused_even_with_a_right_body(serve: Serve, status: int) -> None:
    with pytest.raises(DeploymentError, match=f"returned status {status}"):
        check_golden_predictions(serve(RIGHT, status).server_port, GOLDEN, "1.0.0-a")


def test_a_port_without_a_listener_is_refused() -> None:
    port = free_port()
    with pytest.raises(DeploymentError, match=f"port {port} does not respond"):
        check_golden_predictions(port, GOLDEN, "1.0.0-a")


@pytest.mark.parametrize(
    "body",
    [
        b"<html>It works!</html>",
        b"[]",
        b'{"version": "1.0.0-a"}',
        response_body([[0.9, 0.1]]),
        b'{"version": "1.0.0-a", "predictions": [{}, {}]}',
    ],
)
def test_a_response_of_another_form_is_refused(serve: Serve, body: bytes) -> None:
    with pytest.raises(DeploymentError):
        check_golden_predictions(serve(body).server_port, GOLDEN, "1.0.0-a")


def test_golden_requests_are_read_from_the_one_model_of_a_bento(tmp_path: Path) -> None:
    package = tmp_path / "models/iris_classifier_pipeline/1.0.0-a"
    package.mkdir(parents=True)
    recorded = {"rows": GOLDEN.rows, "answers": GOLDEN.predictions}
    (tmp_path / "bento.yaml").touch()
    (package / "golden.json").write_text(json.dumps(recorded), encoding="utf-8")
    (package / "contract.json").write_text(json.dumps(SPEC.to_dict()), encoding="utf-8")
    assert golden_of(tmp_path) == GOLDEN  # a package of an older version, without labels
    actual = ["setosa", "virginica"]
    (package / "golden.json").write_text(json.dumps({**recorded, "actual": actual}), "utf-8")
    assert golden_of(tmp_path).actual == actual


def test_a_bento_of_an_older_version_of_the_project_is_refused(tmp_path: Path) -> None:
    package = tmp_path / "models/iris_classifier_pipeline/1.0.0-a"
    package.mkdir(parents=True)
    (tmp_path / "bento.yaml").touch()
    (package / "golden.json").write_text('{"rows": [], "probabilities": []}', encoding="utf-8")
    (package / "contract.json").write_text('{"classes": ["a", "b"]}', encoding="utf-8")
    with pytest.raises(DeploymentError, match="older version of this project: train and build"):
        golden_of(tmp_path)
