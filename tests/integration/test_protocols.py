"""Every protocol of a served model: asked by public clients, and beside MLflow's own server."""

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

Answers = tuple[Sequence[str], Any]  # a label and the probabilities of each row


@pytest.fixture(scope="module", name="flowers")
def fixture_flowers() -> np.ndarray:
    """Every row of the data set, shape (150, 4)."""
    return np.asarray(petals.load().inputs[NAMES], np.float64)


@pytest.fixture(scope="module", name="native")
def fixture_native(home: Home, flowers: np.ndarray) -> np.ndarray:
    """What the native model of the package answers to them, shape (150, 3)."""
    receipt = json.loads((home.receipts / "train.json").read_text("utf-8"))
    model = predict_function(joblib.load(Path(receipt["package"]) / "model.joblib"), SPEC)
    return np.asarray(model(SPEC.encode_rows(flowers.tolist())))


@pytest.fixture(name="oip")
def fixture_oip(service_url: str) -> Iterator[triton.InferenceServerClient]:
    """Triton's client of the service."""
    with triton.InferenceServerClient(urlsplit(service_url).netloc) as made:
        yield made


@pytest.fixture(name="scoring")
def fixture_scoring(service_url: str) -> ScoringServerClient:
    """MLflow's client of the service."""
    place = urlsplit(service_url)
    return ScoringServerClient(place.hostname, place.port)


@pytest.fixture(scope="module", name="mlflow_url")
def fixture_mlflow_url(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MLflow's own server of the logged model."""
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


# every protocol answers every row as the native model does


def rest_rows(url: str, rows: np.ndarray) -> Answers:
    """The tutorial's endpoint of rows."""
    return shown(httpx.post(f"{url}/predict", json=rows.tolist()).json()["predictions"])


def rest_objects(url: str, rows: np.ndarray) -> Answers:
    """The tutorial's endpoint of objects."""
    body = {"instances": named(rows)}
    return shown(httpx.post(f"{url}/predict_json", json=body).json()["predictions"])


def oip_json(url: str, rows: np.ndarray) -> Answers:
    """One tensor in JSON."""
    return inferred(url, rows, binary=False)


def oip_binary(url: str, rows: np.ndarray) -> Answers:
    """One tensor of single precision in bytes."""
    return inferred(url, rows.astype(np.float32), binary=True)


def oip_columns(url: str, rows: np.ndarray) -> Answers:
    """A tensor of bytes for each input."""
    tensors = [tensor(name, column) for name, column in zip(NAMES, rows.T)]
    with triton.InferenceServerClient(urlsplit(url).netloc) as client:
        return outputs(client.infer(NAME, tensors))


def mlflow_frame(url: str, rows: np.ndarray) -> Answers:
    """A data frame, as MLflow's client sends it."""
    place = urlsplit(url)
    client = ScoringServerClient(place.hostname, place.port)
    found = client.invoke(pd.DataFrame(rows, columns=NAMES)).get_predictions()
    return found["prediction"].tolist(), found[list(SPEC.classes)].to_numpy()


def vertex_lists(url: str, rows: np.ndarray) -> Answers:
    """Vertex AI's instances as lists."""
    body = {"instances": rows.tolist()}
    return shown(httpx.post(f"{url}/vertex/predict", json=body).json()["predictions"])


def vertex_objects(url: str, rows: np.ndarray) -> Answers:
    """Vertex AI's instances as objects."""
    body = {"instances": named(rows)}
    return shown(httpx.post(f"{url}/vertex/predict", json=body).json()["predictions"])


def lines(url: str, rows: np.ndarray) -> Answers:
    """A JSON object a line."""
    body = "\n".join(map(json.dumps, named(rows)))
    headers = {"content-type": "application/x-ndjson"}
    answer = httpx.post(f"{url}/predict_lines", content=body, headers=headers)
    return shown([json.loads(line) for line in answer.text.splitlines()])


def named(rows: np.ndarray) -> list[dict[str, float]]:
    """Rows as objects."""
    return [dict(zip(NAMES, row)) for row in rows.tolist()]


def shown(predictions: Sequence[Mapping[str, Any]]) -> Answers:
    """Labels and probabilities of answers in JSON."""
    probabilities = [[row["probabilities"][name] for name in SPEC.classes] for row in predictions]
    return [row["prediction"] for row in predictions], probabilities


def tensor(name: str, values: np.ndarray, binary: bool = True) -> triton.InferInput:
    """A tensor of Triton's client."""
    made = triton.InferInput(name, values.shape, "FP64" if values.dtype == np.float64 else "FP32")
    return made.set_data_from_numpy(values, binary_data=binary)


def inferred(url: str, rows: np.ndarray, binary: bool) -> Answers:
    """What Triton's client is answered to rows, asking in the form that it gets."""
    wanted = [
        triton.InferRequestedOutput(name, binary_data=binary)
        for name in ("prediction", "probabilities")
    ]
    with triton.InferenceServerClient(urlsplit(url).netloc) as client:
        return outputs(client.infer(NAME, [tensor("inputs", rows, binary)], outputs=wanted))


def outputs(result: triton.InferResult) -> Answers:
    """Labels and probabilities as Triton's client gives them."""
    found = result.as_numpy("prediction").tolist()
    labels = [label.decode() if isinstance(label, bytes) else label for label in found]
    return labels, result.as_numpy("probabilities")


@pytest.mark.parametrize(
    "ask",
    [
        *(rest_rows, rest_objects, oip_json, oip_binary, oip_columns),
        *(mlflow_frame, vertex_lists, vertex_objects, lines),
    ],
)
def test_every_row_is_answered_as_the_native_model_does(
    service_url: str,
    flowers: np.ndarray,
    native: np.ndarray,
    ask: Callable[[str, np.ndarray], Answers],
) -> None:
    labels, probabilities = ask(service_url, flowers)
    assert list(labels) == [SPEC.classes[code] for code in native.argmax(axis=1)]
    np.testing.assert_allclose(probabilities, native, rtol=0, atol=TOLERANCE)


# the Open Inference Protocol, by Triton's client


def test_tritons_client_finds_the_server_and_the_model_live_and_ready(
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


def test_tritons_client_is_answered_by_version_with_its_identity_and_what_it_asks_for(
    oip: triton.InferenceServerClient, flowers: np.ndarray
) -> None:
    (version,) = oip.get_model_metadata(NAME)["versions"]
    asked = tensor("inputs", flowers[:1])
    wanted = [triton.InferRequestedOutput("probabilities")]
    result = oip.infer(NAME, [asked], version, wanted, request_id="mine")
    told = result.get_response()
    assert (told["id"], told["model_name"], told["model_version"]) == ("mine", NAME, version)
    assert result.get_output("prediction") is None
    assert result.as_numpy("probabilities").shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("inputs", np.array([[5.1, 3.5, 99, 0.2]]), "petal_length: 99 cm is outside"),
        ("inputs", np.array([[5.1, 3.5]]), "expected [-1, 4]"),
        ("colours", np.array([[5.1, 3.5]]), "unknown input 'colours'"),
    ],
)
def test_tritons_client_is_told_what_is_wrong(
    oip: triton.InferenceServerClient, name: str, values: np.ndarray, told: str
) -> None:
    with pytest.raises(InferenceServerException) as refused:
        oip.infer(NAME, [tensor(name, values)])
    assert refused.value.status() == "400"
    assert told in str(refused.value)


def test_tritons_client_is_told_that_there_is_no_such_model_or_version(
    oip: triton.InferenceServerClient, flowers: np.ndarray
) -> None:
    asked = [tensor("inputs", flowers)]
    for name, version in (("tulips", ""), (NAME, "0")):
        with pytest.raises(InferenceServerException) as refused:
            oip.infer(name, asked, version)
        assert refused.value.status() == "404"
        with pytest.raises(InferenceServerException, match="nothing at /v2/models/"):
            oip.get_model_metadata(name, version)


# MLflow's scoring protocol


def test_mlflows_client_finds_the_service_and_its_version(scoring: ScoringServerClient) -> None:
    scoring.wait_server_ready()
    scoring.ping()
    assert scoring.get_version() == mlflow.__version__


ROWS = [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]]
NAMED = [dict(zip(NAMES, row)) for row in ROWS]
COLUMNS = {name: list(column) for name, column in zip(NAMES, zip(*ROWS))}
SAME: list[Any] = [  # MLflow's server answers, or refuses, each of these, and so does the service
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
def test_a_body_is_answered_or_refused_as_mlflows_own_server_does(
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


def test_ping_version_and_other_content_types_are_as_mlflows_own(
    service_url: str, mlflow_url: str
) -> None:
    for path in ("/ping", "/version"):
        ours, theirs = (httpx.get(f"{url}{path}") for url in (service_url, mlflow_url))
        assert (ours.status_code, ours.text) == (theirs.status_code, theirs.text)
    for url in (service_url, mlflow_url):
        headers = {"content-type": "text/plain"}
        answer = httpx.post(f"{url}/invocations", content="x", headers=headers)
        assert answer.status_code == 415


# Vertex AI, and many rows in one body


def test_vertex_is_told_what_is_wrong(service_url: str) -> None:
    answer = httpx.post(f"{service_url}/vertex/predict", json={"instances": [[5.1, 3.5, 99, 0.2]]})
    assert answer.status_code == 422
    assert "petal_length: 99 cm is outside" in answer.json()["error"]


def test_lines_of_many_parts_are_answered_each_in_its_place_with_what_feedback_needs(
    service_url: str, flowers: np.ndarray
) -> None:
    rows = np.tile(flowers, (20, 1)).tolist()
    rows[1500] = [5.1, 3.5, 99, 0.2]
    body = "\n".join(map(json.dumps, rows))
    headers = {"content-type": "application/x-ndjson"}
    answer = httpx.post(f"{service_url}/predict_lines", content=body, headers=headers)
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["line"] for line in found] == list(range(3000))
    assert [line["line"] for line in found if "error" in line] == [1500]
    last = found[-1]
    report = {"request_id": last["request_id"], "row": last["row"], "actual_class": "setosa"}
    told = httpx.post(f"{service_url}/feedback", json=report).json()
    assert told["predicted_class"] == last["prediction"] and told["joined"]
