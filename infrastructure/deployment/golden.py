"""Golden requests, whose predictions a release must reproduce before it gets traffic."""

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

TRANSCRIPTION_SECONDS = 300  # for half a minute of speech, on a slow machine


@dataclass(frozen=True)
class Golden:
    """Requests with the predictions recorded in training.

    Attributes:
        rows: rows in the form of a request.
        predictions: of shape (n_rows, n_outputs), by the contract's `output_columns`.
        recording: for a transcriber, the file that is sent instead of rows.
        actual: true values of the rows, in the form of feedback; empty if the package has none.
    """

    spec: ModelSpec
    rows: Sequence[Sequence[Any]]
    predictions: Sequence[Sequence[float]]
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
        DeploymentError: the Bento is missing, or was built by an older version of this project.
    """
    if not (bento / "bento.yaml").exists():
        raise DeploymentError(f"the Bento {bento} is missing: run make bento-build deploy")
    packages = [path.parent for path in bento.glob("models/*/*/golden.json")]
    if len(packages) != 1:
        raise DeploymentError(
            f"the Bento {bento} has {len(packages)} models instead of one: run make bento-build"
        )
    (package,) = packages
    recorded = json.loads((package / "golden.json").read_text(encoding="utf-8"))
    contract = json.loads((package / "contract.json").read_text(encoding="utf-8"))
    try:
        spec, rows = ModelSpec.from_dict(contract), recorded["rows"]
        recording = package / rows[0][0] if spec.task == "transcription" else None
        return Golden(spec, rows, recorded["answers"], recording, recorded.get("actual", ()))
    except KeyError as error:
        raise DeploymentError(
            f"the Bento {bento} was built by an older version of this project: train and build it "
            "again"
        ) from error


def check_golden_predictions(
    port: int, golden: Golden, version: str, api_key: str = "", source: str = "golden"
) -> None:
    """Send the golden requests to a port and compare the predictions.

    A transcriber only has to respond: it has reproduced the transcript of its golden recording
    before it became ready.

    Args:
        source: value of the X-Synthetic header, so that the requests do not count as traffic.

    Raises:
        DeploymentError: there is no response, it is wrong, or it comes from another version.
    """
    path, sent, kind = golden.request
    patience = TRANSCRIPTION_SECONDS if golden.recording else 10
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
    try:
        headers = {"Content-Type": kind, "X-API-Key": api_key, "X-Synthetic": source}
        connection.request("POST", path, sent, headers)
        response = connection.getresponse()
        body = response.read()
    except OSError as error:
        raise DeploymentError(f"port {port} does not respond: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise DeploymentError(f"port {port} returned status {response.status}: {body[:300]!r}")
    try:
        content = json.loads(body)
        served_version = content["version"]
        items = [] if golden.recording else content["predictions"]
        predictions = [_values_of(item, golden.spec) for item in items]
    except (ValueError, KeyError, TypeError) as error:
        raise DeploymentError(
            f"port {port} returned an unexpected response: {body[:300]!r}"
        ) from error
    if served_version != version:
        raise DeploymentError(f"port {port} serves version {served_version}, not {version}")
    if golden.recording:
        return
    try:
        check_golden(golden.spec, predictions, golden.predictions)
    except PackageError as error:
        raise DeploymentError(f"port {port}: {error}") from error


def _values_of(prediction: Any, spec: ModelSpec) -> list[float]:
    """The values of one prediction, by the contract's `output_columns`."""
    values = prediction["probabilities"] if spec.classes else prediction
    return [float(values[name]) for name in spec.output_columns]
