"""Releases on this machine: right answers, processes and states, without a real service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from application.inference.predictor import GOLDEN_TOLERANCE
from domain.errors import DeploymentError
from domain.models.contract import Classes, ModelSpec, Number, Quantity
from infrastructure.deployment.local import (
    Golden,
    LocalEnvironment,
    Release,
    check_answers,
    deployed_in,
    golden_of,
    main,
)
from infrastructure.registry.ledger import FileLedger
from tests.served import free_port

CLASSES = ("setosa", "virginica")
SPEC = ModelSpec("iris", (Number("petal_length", "cm", 0, 30),), Classes(CLASSES))
GOLDEN = Golden(SPEC, [[1.4], [5.2]], [[0.9, 0.1], [0.2, 0.8]])
RENT = ModelSpec("rent", (Number("area", "m²", 5, 500),), Quantity("rent", "EUR"))
RENTS = Golden(RENT, [[30], [200]], [[300, 250, 350], [2000, 1950, 2050]])


def answer(probabilities: list[list[float]], version: str = "1.0.0-a") -> bytes:
    """The body that a service answers with."""
    predictions = [{"probabilities": dict(zip(CLASSES, row))} for row in probabilities]
    return json.dumps({"predictions": predictions, "version": version}).encode()


RIGHT = answer([[0.9, 0.1], [0.2, 0.8]])

Serve = Callable[..., HTTPServer]


@pytest.fixture(name="serve")
def _serve() -> Iterator[Serve]:
    """Starts HTTP servers that give one answer: `serve(body, status)`."""
    with ExitStack() as stack:

        def serve(body: bytes, status: int = 200) -> HTTPServer:
            class Handler(BaseHTTPRequestHandler):
                """Gives the answer and keeps what it was asked."""

                def do_POST(self) -> None:  # pylint: disable=invalid-name
                    """Answer a POST."""
                    size = int(self.headers["Content-Length"])
                    asked.append((self.path, json.loads(self.rfile.read(size))))
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

                def log_message(self, *_: object) -> None:  # pylint: disable=arguments-differ
                    """Say nothing."""

            asked: list[Any] = []
            server = stack.enter_context(HTTPServer(("127.0.0.1", 0), Handler))
            server.asked = asked  # type: ignore[attr-defined]
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            stack.callback(server.shutdown)
            return server

        yield serve


def release_of(process: psutil.Process | subprocess.Popen[bytes], **more: Any) -> Release:
    """A release that is this process."""
    started = psutil.Process(process.pid).create_time()
    return Release(
        **{
            **{"version": "1.0.0-a", "bento_tag": "iris:1.0.0-a", "folder": "nowhere"},
            **{"port": 1, "workers": 1, "pid": process.pid, "started": started},
            **more,
        }
    )


def write_state(folder: Path, release: Release, name: str = "current.json") -> None:
    """The state file of an environment in which the release serves."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(asdict(release)), encoding="utf-8")


@pytest.fixture(name="sleeper")
def _sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for a release."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.fixture(name="places")
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Releases lie in tmp_path, and the ledger as well."""
    monkeypatch.setenv("RELEASES_DIR", str(tmp_path))
    monkeypatch.setenv("LEDGER", str(tmp_path / "ledger.jsonl"))
    return tmp_path


def test_right_answers_are_accepted(serve: Serve) -> None:
    server = serve(RIGHT)
    check_answers(server.server_port, GOLDEN, "1.0.0-a")
    assert server.asked == [("/predict", GOLDEN.rows)]  # type: ignore[attr-defined]


def test_a_difference_within_the_tolerance_is_accepted(serve: Serve) -> None:
    almost = answer([[0.9 - GOLDEN_TOLERANCE / 2, 0.1 + GOLDEN_TOLERANCE / 2], [0.2, 0.8]])
    check_answers(serve(almost).server_port, GOLDEN, "1.0.0-a")


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
        check_answers(serve(answer(wrong)).server_port, GOLDEN, "1.0.0-a")


def rents(*rows: Sequence[float]) -> bytes:
    """The body that a service of rents answers with."""
    predictions = [dict(zip(("prediction", "lower", "upper"), row)) for row in rows]
    return json.dumps({"predictions": predictions, "version": "1.0.0-a"}).encode()


def test_values_may_differ_by_rounding_of_the_largest_one(serve: Serve) -> None:
    almost = rents([300.01, 250, 350], [2000, 1950, 2050.01])
    check_answers(serve(almost).server_port, RENTS, "1.0.0-a")


@pytest.mark.parametrize("upper", [2050.1, float("nan")])
def test_a_wrong_value_or_limit_is_refused(serve: Serve, upper: float) -> None:
    wrong = rents([300, 250, 350], [2000, 1950, upper])
    with pytest.raises(DeploymentError, match="port .*: the answers to the golden .* differ"):
        check_answers(serve(wrong).server_port, RENTS, "1.0.0-a")


def test_the_answers_of_another_version_are_refused(serve: Serve) -> None:
    body = answer([[0.9, 0.1], [0.2, 0.8]], version="1.0.0-b")
    with pytest.raises(DeploymentError, match="answered by 1.0.0-b, not 1.0.0-a"):
        check_answers(serve(body).server_port, GOLDEN, "1.0.0-a")


@pytest.mark.parametrize("status", [404, 500, 503])
def test_an_error_is_refused_even_where_its_body_is_right(serve: Serve, status: int) -> None:
    with pytest.raises(DeploymentError, match=f"answers {status}"):
        check_answers(serve(RIGHT, status).server_port, GOLDEN, "1.0.0-a")


def test_a_port_on_which_nobody_listens_is_refused() -> None:
    port = free_port()
    with pytest.raises(DeploymentError, match=f"port {port} does not answer"):
        check_answers(port, GOLDEN, "1.0.0-a")


@pytest.mark.parametrize(
    "body",
    [
        b"<html>It works!</html>",
        b"[]",
        b'{"version": "1.0.0-a"}',
        answer([[0.9, 0.1]]),
        b'{"version": "1.0.0-a", "predictions": [{}, {}]}',
    ],
)
def test_an_answer_of_another_form_is_refused(serve: Serve, body: bytes) -> None:
    with pytest.raises(DeploymentError):
        check_answers(serve(body).server_port, GOLDEN, "1.0.0-a")


def test_golden_requests_are_read_from_the_one_model_of_a_bento(tmp_path: Path) -> None:
    package = tmp_path / "models/iris_classifier_pipeline/1.0.0-a"
    package.mkdir(parents=True)
    recorded = {"rows": GOLDEN.rows, "answers": GOLDEN.answers}
    (package / "golden.json").write_text(json.dumps(recorded), encoding="utf-8")
    (package / "contract.json").write_text(json.dumps(SPEC.to_dict()), encoding="utf-8")
    assert golden_of(tmp_path) == GOLDEN


def test_a_bento_of_an_older_version_of_the_project_is_refused(tmp_path: Path) -> None:
    package = tmp_path / "models/iris_classifier_pipeline/1.0.0-a"
    package.mkdir(parents=True)
    (package / "golden.json").write_text('{"rows": [], "probabilities": []}', encoding="utf-8")
    (package / "contract.json").write_text('{"classes": ["a", "b"]}', encoding="utf-8")
    with pytest.raises(DeploymentError, match="older version of this project: train and build"):
        golden_of(tmp_path)


def test_a_release_knows_its_running_process(sleeper: subprocess.Popen[bytes]) -> None:
    found = release_of(sleeper).process()
    assert found is not None and found.pid == sleeper.pid


def test_a_reused_pid_is_not_taken_for_the_release(sleeper: subprocess.Popen[bytes]) -> None:
    release = release_of(sleeper)
    earlier = Release(**{**asdict(release), "started": release.started - 60})
    assert earlier.process() is None


def test_an_ended_process_is_none_whether_it_was_waited_for_or_not(
    sleeper: subprocess.Popen[bytes],
) -> None:
    release = release_of(sleeper)
    sleeper.kill()
    while psutil.Process(sleeper.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert release.process() is None
    sleeper.wait()
    assert release.process() is None


def test_nothing_is_current_smoked_or_rolled_back_where_nothing_was_deployed(
    tmp_path: Path,
) -> None:
    environment = LocalEnvironment(tmp_path / "staging", free_port())
    assert environment.current() is None
    with pytest.raises(DeploymentError, match="nothing is deployed"):
        environment.smoke()
    with pytest.raises(DeploymentError, match="no former release"):
        environment.rollback(1, "sqlite://")
    assert environment.stop() is False
    assert not (tmp_path / "staging").exists()


def test_a_public_port_that_is_taken_is_refused_before_anything_is_started(
    serve: Serve, tmp_path: Path
) -> None:
    folder, bento = tmp_path / "staging", tmp_path / "bento"
    bento.mkdir()
    port = serve(RIGHT).server_port
    with pytest.raises(DeploymentError, match=f"port {port} is taken by something else"):
        LocalEnvironment(folder, port).deploy(bento, "1", "iris:1", 1, "sqlite://")
    assert not list(folder.iterdir())


def test_an_environment_that_serves_on_another_port_is_not_moved(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    release = release_of(sleeper)
    write_state(tmp_path, release)
    front = {"pid": release.pid, "started": release.started, "port": free_port()}
    (tmp_path / "front.json").write_text(json.dumps(front), encoding="utf-8")
    environment = LocalEnvironment(tmp_path, free_port())
    with pytest.raises(DeploymentError, match="serves on another port"):
        environment.deploy(tmp_path, "1", "iris:1", 1, "sqlite://")
    assert environment.current() == release
    assert sleeper.poll() is None


def test_stopping_ends_release_and_front_and_keeps_the_release_to_go_back_to(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    release = release_of(sleeper)
    write_state(tmp_path, release)
    environment = LocalEnvironment(tmp_path, free_port())
    assert environment.stop() is True
    assert release.process() is None
    assert sleeper.poll() is not None
    assert environment.current() is None
    assert json.loads((tmp_path / "previous.json").read_text("utf-8")) == asdict(release)
    assert environment.stop() is False


def test_stopping_leaves_a_foreign_process_with_the_same_pid_alone(tmp_path: Path) -> None:
    write_state(tmp_path, release_of(psutil.Process(os.getpid()), started=1.0))
    front = {"pid": os.getpid(), "started": 1.0, "port": 1}
    (tmp_path / "front.json").write_text(json.dumps(front), encoding="utf-8")
    assert LocalEnvironment(tmp_path, free_port()).stop() is False  # and this test goes on


def test_the_status_names_what_runs_and_what_is_dead(
    places: Path, sleeper: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status"]) == 0
    assert "deployed on this machine" in capsys.readouterr().out
    for name, more in (("blue", {}), ("green", {"started": 1.0})):
        write_state(places / name, release_of(sleeper, **more))
        (places / name / "front.json").write_text('{"port": 3000}', encoding="utf-8")
    assert main(["status"]) == 0
    blue, green = capsys.readouterr().out.splitlines()
    assert blue.split()[0] == "blue" and "running, version 1.0.0-a" in blue
    assert green.split()[0] == "green" and "DEAD" in green
    assert "http://127.0.0.1:3000" in green


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smoke"], "nothing is deployed here"),
        (["rollback"], "there is no former release"),
        (["deploy"], "--bento"),
    ],
)
def test_what_cannot_be_done_ends_with_1_and_its_reason(
    places: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main([*arguments, "--port", str(free_port())]) == 1
    assert message in capsys.readouterr().err
    assert not list(places.iterdir())


def test_stopping_nothing_is_no_error(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stop", "--env", "staging"]) == 0
    assert "nothing" in capsys.readouterr().out
    assert not list(places.iterdir())


def test_stopping_is_entered_into_the_ledger_and_stopping_nothing_is_not(
    places: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    write_state(places / "blue", release_of(sleeper))
    assert main(["stop", "--env", "blue"]) == 0
    assert main(["stop", "--env", "blue"]) == 0
    entries = FileLedger(places / "ledger.jsonl").entries()
    assert len(entries) == 1
    entry = entries[0]
    assert (entry.event, entry.model_name, entry.version) == ("stop", "iris", "1.0.0-a")
    assert entry.details == {"env": "blue", "port": None, "bento_tag": "iris:1.0.0-a"}


def test_a_rollback_that_fails_and_changes_nothing_is_not_entered(places: Path) -> None:
    assert main(["rollback", "--env", "blue"]) == 1
    assert not (places / "ledger.jsonl").exists()


def test_what_is_deployed_is_told_with_what_would_be_gone_back_to(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    now, before = release_of(sleeper), release_of(sleeper, version="1.0.0-z")
    write_state(tmp_path / "blue", now)
    write_state(tmp_path / "blue", before, "previous.json")
    write_state(tmp_path / "green", before, "previous.json")
    assert list(deployed_in(tmp_path)) == [
        ("blue", now, True),
        ("blue", before, False),
        ("green", before, False),
    ]
    assert not list(deployed_in(tmp_path / "nowhere"))
