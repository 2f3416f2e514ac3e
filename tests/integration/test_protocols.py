"""Every protocol of a served model, with public clients and compared with MLflow's server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import joblib
import mlflow
import numpy as np
import pandas as pd
import pytest
import tritonclient.http as triton
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from tritonclient.utils import InferenceServerException

from domain.evaluation.predictions import predict_function
from tests import petals
from tests.served import Home, free_port

SPEC = petals.SPEC
NAMES = list(SPEC.input_names)
NAME = "petals_pipeline"
TOLERANCE = 1e-5

Predictions = tuple[Sequence[str], Any]  # a label and the probabilities of each row


@pytest.fixture(scope="module", name="flowers")
def fixture_flowers() -> np.ndarray:
    """Every row of the data set, shape (150, 4)."""
    return np.asarray(petals.load().inputs[NAMES], np.float64)


@pytest.fixture(scope="module", name="native")
def fixture_native(home: Home, flowers: np.ndarray) -> np.ndarray:
    """Probabilities from the native model of the package, shape (150, 3)."""
    receipt = json.loads((home.receipts / "train.json").read_text("utf-8"))
    model = predict_function(joblib.load(Path(receipt["package"]) / "model.joblib"), SPEC)
    return np.asarray(model(SPEC.encode_rows(flowers.tolist())))


@pytest.fixture(name="oip")
def fixture_oip(service_url: str) -> Iterator[triton.InferenceServerClient]:
    """Triton's client for the service."""
    with triton.InferenceServerClient(urlsplit(service_url).netloc) as made:
        yield made


@pytest.fixture(name="scoring")
def fixture_scoring(service_url: str) -> ScoringServerClient:
    """MLflow's client for the service."""
    address = urlsplit(service_url)
    return ScoringServerClient(address.hostname, address.port)


@pytest.fixture(scope="module", name="mlflow_url")
def fixture_mlflow_url(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MLflow's own server with the registered model."""
    port = free_port()
    model = ("-m", f"models:/{NAME}@champion", "--env-manager", "local", "-p", str(port))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with (
        (tmp_path_factory.mktemp("mlflow") / "server.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "mlflow", "models", "serve", *model],
            env={**home.environment, "PATH": path},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            ScoringServerClient("127.0.0.1", port).wait_server_ready(60, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)


# every protocol returns the predictions of the native model


def rest_rows(url: str, rows: np.ndarray) -> Predictions:
    """The tutorial's endpoint for rows."""
    return from_json(httpx.post(f"{url}/predict", json=rows.tolist()).json()["predictions"])


def rest_objects(url: str, rows: np.ndarray) -> Predictions:
    """The tutorial's endpoint for objects."""
    body = {"instances": named(rows)}
    return from_json(httpx.post(f"{url}/predict_json", json=body).json()["predictions"])


def oip_json(url: str, rows: np.ndarray) -> Predictions:
    """One tensor as JSON."""
    return infer(url, rows, binary=False)


def oip_binary(url: str, rows: np.ndarray) -> Predictions:
    """One binary tensor in single precision."""
    return infer(url, rows.astype(np.float32), binary=True)


def oip_columns(url: str, rows: np.ndarray) -> Predictions:
    """One binary tensor per input."""
    tensors = [tensor(name, column) for name, column in zip(NAMES, rows.T)]
    with triton.InferenceServerClient(urlsplit(url).netloc) as client:
        return outputs(client.infer(NAME, tensors))


def mlflow_frame(url: str, rows: np.ndarray) -> Predictions:
    """A data frame, as MLflow's client sends it."""
    address = urlsplit(url)
    client = ScoringServerClient(address.hostname, address.port)
    found = client.invoke(pd.DataFrame(rows, columns=NAMES)).get_predictions()
    return found["prediction"].tolist(), found[list(SPEC.classes)].to_numpy()


def vertex_lists(url: str, rows: np.ndarray) -> Predictions:
    """Instances of Vertex AI as lists."""
    body = {"instances": rows.tolist()}
    return from_json(httpx.post(f"{url}/vertex/predict", json=body).json()["predictions"])


def vertex_objects(url: str, rows: np.ndarray) -> Predictions:
    """Instances of Vertex AI as objects."""
    body = {"instances": named(rows)}
    return from_json(httpx.post(f"{url}/vertex/predict", json=body).json()["predictions"])


def lines(url: str, rows: np.ndarray) -> Predictions:
    """One JSON object per line."""
    body = "\n".join(map(json.dumps, named(rows)))
    headers = {"content-type": "application/x-ndjson"}
    response = httpx.post(f"{url}/predict_lines", content=body, headers=headers)
    return from_json([json.loads(line) for line in response.text.splitlines()])


def named(rows: np.ndarray) -> list[dict[str, float]]:
    """Rows as objects."""
    return [dict(zip(NAMES, row)) for row in rows.tolist()]


def from_json(predictions: Sequence[Mapping[str, Any]]) -> Predictions:
    """Labels and probabilities of predictions in JSON."""
    probabilities = [[row["probabilities"][name] for name in SPEC.classes] for row in predictions]
    return [row["prediction"] for row in predictions], probabilities


def tensor(name: str, values: np.ndarray, binary: bool = True) -> triton.InferInput:
    """A tensor for Triton's client."""
    made = triton.InferInput(name, values.shape, "FP64" if values.dtype == np.float64 else "FP32")
    return made.set_data_from_numpy(values, binary_data=binary)


def infer(url: str, rows: np.ndarray, binary: bool) -> Predictions:
    """Predictions over Triton's client; request and response have the same form."""
    requested = [
        triton.InferRequestedOutput(name, binary_data=binary)
        for name in ("prediction", "probabilities")
    ]
    with triton.InferenceServerClient(urlsplit(url).netloc) as client:
        return outputs(client.infer(NAME, [tensor("inputs", rows, binary)], outputs=requested))


def outputs(result: triton.InferResult) -> Predictions:
    """Labels and probabilities in a result of Triton's client."""
    found = result.as_numpy("prediction").tolist()
    labels = [label.decode() if isinstance(label, bytes) else label for label in found]
    return labels, result.as_numpy("probabilities")


@pytest.mark.parametrize(
    "predict",
    [
        *(rest_rows, rest_objects, oip_json, oip_binary, oip_columns),
        *(mlflow_frame, vertex_lists, vertex_objects, lines),
    ],
)
def test_every_row_gets_the_prediction_of_the_native_model(
    service_url: str,
    flowers: np.ndarray,
    native: np.ndarray,
    predict: Callable[[str, np.ndarray], Predictions],
) -> None:
    labels, probabilities = predict(service_url, flowers)
    assert list(labels) == [SPEC.classes[code] for code in native.argmax(axis=1)]
    np.testing.assert_allclose(probabilities, native, rtol=0, atol=TOLERANCE)


# the Open Inference Protocol, with Triton's client


def test_triton_client_finds_server_and_model_live_and_ready(
    oip: triton.InferenceServerClient,
) -> None:
    assert oip.is_server_live() and oip.is_server_ready()
    assert oip.is_model_ready(NAME)
    assert not oip.is_model_ready("tulips")
    assert not oip.is_model_ready(NAME, "0")
    server, model = oip.get_server_metadata(), oip.get_model_metadata(NAME)
    assert "binary_tensor_data" in server["extensions"]
    (version,) = model["versions"]
    assert oip.is_model_ready(NAME, version)
    assert oip.get_model_metadata(NAME, version) == model
    assert [(item["name"], item["shape"]) for item in model["inputs"]] == [("inputs", [-1, 4])]
    assert [item["name"] for item in model["outputs"]] == ["prediction", "probabilities"]


def test_triton_client_can_select_version_request_id_and_outputs(
    oip: triton.InferenceServerClient, flowers: np.ndarray
) -> None:
    (version,) = oip.get_model_metadata(NAME)["versions"]
    inputs = [tensor("inputs", flowers[:1])]
    requested = [triton.InferRequestedOutput("probabilities")]
    result = oip.infer(NAME, inputs, version, requested, request_id="mine")
    response = result.get_response()
    assert response["id"] == "mine"
    assert (response["model_name"], response["model_version"]) == (NAME, version)
    assert result.get_output("prediction") is None
    assert result.as_numpy("probabilities").shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("inputs", np.array([[5.1, 3.5, 99, 0.2]]), "petal_length: 99 cm is outside"),
        ("inputs", np.array([[5.1, 3.5]]), "expected [-1, 4]"),
        ("colours", np.array([[5.1, 3.5]]), "unknown input 'colours'"),
    ],
)
def test_triton_client_reports_invalid_inputs(
    oip: triton.InferenceServerClient, name: str, values: np.ndarray, message: str
) -> None:
    with pytest.raises(InferenceServerException) as refused:
        oip.infer(NAME, [tensor(name, values)])
    assert refused.value.status() == "400"
    assert message in str(refused.value)


def test_triton_client_reports_an_unknown_model_or_version(
    oip: triton.InferenceServerClient, flowers: np.ndarray
) -> None:
    inputs = [tensor("inputs", flowers)]
    for name, version in (("tulips", ""), (NAME, "0")):
        with pytest.raises(InferenceServerException) as refused:
            oip.infer(name, inputs, version)
        assert refused.value.status() == "404"
        with pytest.raises(InferenceServerException, match="nothing at /v2/models/"):
            oip.get_model_metadata(name, version)


# MLflow's scoring protocol


def test_mlflow_client_finds_the_service_and_its_version(scoring: ScoringServerClient) -> None:
    scoring.wait_server_ready()
    scoring.ping()
    assert scoring.get_version() == mlflow.__version__


ROWS = [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]]
NAMED = [dict(zip(NAMES, row)) for row in ROWS]
COLUMNS = {name: list(column) for name, column in zip(NAMES, zip(*ROWS))}
SAME: list[Any] = [  # MLflow's server and the service accept or refuse the same ones
    {"dataframe_split": {"columns": NAMES, "data": ROWS}},
    {"dataframe_split": {"columns": NAMES, "data": ROWS, "index": [7, 8]}},
    {"dataframe_split": {"columns": NAMES[::-1], "data": [row[::-1] for row in ROWS]}},
    {"dataframe_split": {"columns": ["x", *NAMES], "data": [["a", *row] for row in ROWS]}},
    {"dataframe_records": NAMED},
    {"dataframe_records": [{"x": 1, **row} for row in NAMED]},
    {"instances": NAMED},
    {"instances": COLUMNS},
    {"instances": NAMED[0]},
    {"inputs": NAMED},
    {"inputs": COLUMNS},
    {"inputs": NAMED[1]},
    {"inputs": {name: [round(value) for value in column] for name, column in COLUMNS.items()}},
    {"inputs": COLUMNS, "params": {"x": 1}},
    {"inputs": COLUMNS, "x": 1},
    {},
    {"x": 1},
    [],
    "{",
    {"inputs": COLUMNS, "instances": NAMED},
    {"dataframe_split": {"data": ROWS}},
    {"dataframe_split": {"columns": NAMES[:3], "data": [row[:3] for row in ROWS]}},
    {"dataframe_split": {"columns": NAMES, "data": ROWS, "x": 1}},
    {"dataframe_split": {"columns": NAMES, "data": [ROWS[0], [1]]}},
    {"dataframe_split": ROWS},
    {"dataframe_records": []},
    {"dataframe_records": [NAMED[0], {}]},
    {"instances": ROWS[0]},
    {"inputs": {**COLUMNS, NAMES[0]: ["x", 1.0]}},
    {"inputs": {**COLUMNS, NAMES[0]: [None, 1.0]}},
    {"inputs": {**COLUMNS, NAMES[0]: [float("nan"), 1.0]}},
    {"inputs": {**COLUMNS, NAMES[0]: [99, 1.0]}},
    {"inputs": {**COLUMNS, NAMES[0]: [1.0]}},
]


@pytest.mark.parametrize("body", SAME, ids=lambda body: json.dumps(body)[:60])
def test_each_body_gets_the_same_response_as_from_mlflow_server(
    service_url: str, mlflow_url: str, body: Any
) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    headers = {"content-type": "application/json"}
    ours, theirs = (
        httpx.post(f"{url}/invocations", content=content, headers=headers)
        for url in (service_url, mlflow_url)
    )
    assert ours.status_code == theirs.status_code, (ours.text, theirs.text)
    assert ours.headers["content-type"] == theirs.headers["content-type"] == "application/json"
    if ours.status_code == 200:
        assert ours.json() == theirs.json()
        assert [list(row) for row in ours.json()["predictions"]] == [
            list(row) for row in theirs.json()["predictions"]
        ]
    else:
        assert {"error_code", "message"} == ours.json().keys() <= theirs.json().keys()


def test_ping_version_and_content_types_match_mlflow_server(
    service_url: str, mlflow_url: str
) -> None:
    for path in ("/ping", "/version"):
        ours, theirs = (httpx.get(f"{url}{path}") for url in (service_url, mlflow_url))
        assert (ours.status_code, ours.text) == (theirs.status_code, theirs.text)
    for url in (service_url, mlflow_url):
        headers = {"content-type": "text/plain"}
        response = httpx.post(f"{url}/invocations", content="x", headers=headers)
        assert response.status_code == 415


# Vertex AI, and many rows in one body


def test_vertex_reports_an_invalid_instance(service_url: str) -> None:
    body = {"instances": [[5.1, 3.5, 99, 0.2]]}
    response = httpx.post(f"{service_url}/vertex/predict", json=body)
    assert response.status_code == 422
    assert "petal_length: 99 cm is outside" in response.json()["error"]


def test_each_line_gets_a_response_that_identifies_it_for_feedback(
    service_url: str, flowers: np.ndarray
) -> None:
    rows = np.tile(flowers, (20, 1)).tolist()
    rows[1500] = [5.1, 3.5, 99, 0.2]
    body = "\n".join(map(json.dumps, rows))
    headers = {"content-type": "application/x-ndjson"}
    response = httpx.post(f"{service_url}/predict_lines", content=body, headers=headers)
    found = [json.loads(line) for line in response.text.splitlines()]
    assert [line["line"] for line in found] == list(range(3000))
    assert [line["line"] for line in found if "error" in line] == [1500]
    last = found[-1]
    label = {"request_id": last["request_id"], "row": last["row"], "actual_class": "setosa"}
    feedback = httpx.post(f"{service_url}/feedback", json=label).json()
    assert feedback["predicted_class"] == last["prediction"] and feedback["joined"]
