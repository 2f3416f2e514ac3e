"""Golden requests: what a release must answer right before it takes the traffic."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from application.inference.predictor import check_golden
from domain.contract import ModelSpec
from domain.errors import DeploymentError, PackageError

HEARING_SECONDS = 300  # for half a minute of speech, on a slow machine


@dataclass(frozen=True)
class Golden:
    """Requests with the answers recorded in training.

    Attributes:
        rows: rows as requests have them.
        answers: of shape (n_rows, n_answers), by the contract's `output_columns`.
        recording: what is sent in place of rows to a transcriber.
        actual: what the rows really are, as feedback says it; empty where the package has not
            recorded that.
    """

    spec: ModelSpec
    rows: Sequence[Sequence[Any]]
    answers: Sequence[Sequence[float]]
    recording: Path | None = None
    actual: Sequence[str | float] = ()

    @property
    def request(self) -> tuple[str, bytes, str]:
        """Path, body and content type of the request."""
        if self.recording:
            return "/transcribe", self.recording.read_bytes(), "audio/flac"
        return "/predict", json.dumps(list(self.rows)).encode(), "application/json"


def golden_of(bento: Path) -> Golden:
    """The golden requests of the one model in an exported Bento.

    Raises:
        DeploymentError: the Bento is gone, or was built by an older version of this project.
    """
    if not (bento / "bento.yaml").exists():
        raise DeploymentError(f"{bento} is gone: `make bento-build deploy` makes it anew")
    packages = [path.parent for path in bento.glob("models/*/*/golden.json")]
    if len(packages) != 1:
        raise DeploymentError(f"{bento} is no Bento of one model: run make bento-build")
    (package,) = packages
    recorded = json.loads((package / "golden.json").read_text(encoding="utf-8"))
    contract = json.loads((package / "contract.json").read_text(encoding="utf-8"))
    try:
        spec, rows = ModelSpec.from_dict(contract), recorded["rows"]
        recording = package / rows[0][0] if spec.task == "transcription" else None
        return Golden(spec, rows, recorded["answers"], recording, recorded.get("actual", ()))
    except KeyError as error:
        raise DeploymentError(
            f"{bento} was built by an older version of this project: train and build it again"
        ) from error


def check_golden_predictions(
    port: int, golden: Golden, version: str, api_key: str = "", source: str = "golden"
) -> None:
    """Send the golden requests to a port and compare the answers.

    A transcriber has heard its golden recording again before it became ready, to the word; here it
    must answer at all.

    Args:
        source: what the requests are marked with, so that they count as no traffic.

    Raises:
        DeploymentError: no answer, a wrong one, or one of another version.
    """
    path, sent, kind = golden.request
    patience = HEARING_SECONDS if golden.recording else 10
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
    try:
        headers = {"Content-Type": kind, "X-API-Key": api_key, "X-Synthetic": source}
        connection.request("POST", path, sent, headers)
        response = connection.getresponse()
        body = response.read()
    except OSError as error:
        raise DeploymentError(f"port {port} does not answer: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise DeploymentError(f"port {port} answers {response.status}: {body[:300]!r}")
    try:
        answer = json.loads(body)
        answered_by = answer["version"]
        predictions = [] if golden.recording else answer["predictions"]
        given = [_answer_of(item, golden.spec) for item in predictions]
    except (ValueError, KeyError, TypeError) as error:
        raise DeploymentError(f"port {port} answers in another form: {body[:300]!r}") from error
    if answered_by != version:
        raise DeploymentError(f"port {port} is answered by {answered_by}, not {version}")
    if golden.recording:
        return
    try:
        check_golden(golden.spec, given, golden.answers)
    except PackageError as error:
        raise DeploymentError(f"port {port}: {error}") from error


def _answer_of(prediction: Any, spec: ModelSpec) -> list[float]:
    """One row's answer, by the contract's `output_columns`."""
    figures = prediction["probabilities"] if spec.classes else prediction
    return [float(figures[name]) for name in spec.output_columns]
