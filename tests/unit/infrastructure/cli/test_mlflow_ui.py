"""Runs and versions in the browser."""

from __future__ import annotations

import json
import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from infrastructure.cli.__main__ import main


def test_a_port_in_use_is_reported_in_one_line_with_its_holder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////no/such.db")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert main(["mlflow-ui", "--port", str(port)]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"error: port {port} is in use by ")
    assert f"(pid {os.getpid()})" in message
    assert f"make mlflow-ui PORT={port + 1}" in message
    assert message.count("\n") == 1


class Tracking(BaseHTTPRequestHandler):
    """A tracking server that responds to a search for experiments."""

    def do_POST(self) -> None:  # pylint: disable=invalid-name  # http.server calls it so
        """All of them."""
        names = {"7": "iris_production_pipeline", "0": "Default", "2": "older"}
        found = [{"experiment_id": number, "name": name} for number, name in names.items()]
        body = json.dumps({"experiments": found}).encode()
        self.send_response(200 if self.path.endswith("/mlflow/experiments/search") else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(autouse=True)
def _no_desktop(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


def test_each_experiment_has_a_link_to_its_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Tracking) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        assert main(["mlflow-ui"]) == 0
        server.shutdown()
    output = capsys.readouterr().out
    assert f"{url}/#/experiments/7/runs?workflowType=machine_learning" in output
    assert [line.split()[0] for line in output.splitlines()] == [
        "iris_production_pipeline",
        "older",
    ]


def test_if_the_server_does_not_respond_all_experiments_are_linked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        assert main(["mlflow-ui"]) == 0
    assert f"{url}/#/experiments?workflowType=machine_learning" in capsys.readouterr().out
