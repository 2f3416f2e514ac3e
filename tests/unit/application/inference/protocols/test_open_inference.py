"""The Open Inference Protocol: metadata, inference and refusals."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from application.inference.protocols.open_inference import OpenInference
from domain.contract import Classes, ModelSpec, Number, Quantity
from tests import petals
from tests.kinds import KINDS
from tests.protocols import (
    DECISIONS,
    RISKS,
    Client,
    expected,
    labels,
    predictor_of,
    risk_predictor,
    rows_of,
)
from tests.strength import examples

MODEL = "/v2/models/petals"
INFER = f"{MODEL}/infer"
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]]
NAMES = petals.SPEC.input_names
RENTS = KINDS["regression"].SPEC
TYPES = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "INT8": "i1", "INT16": "<i2"} | {
    **{"INT32": "<i4", "INT64": "<i8", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4"},
    "UINT64": "<u8",
}


def service(spec: ModelSpec = petals.SPEC) -> Client:
    """A client of one model."""
    return Client(OpenInference(spec.name, "7", predictor_of(spec)).routes())


PETALS = service()


def tensor(values: Any, name: str = "inputs", datatype: str = "FP32", **more: Any) -> Any:
    """A tensor in JSON."""
    shape = list(np.shape(values))
    return {"name": name, "shape": shape, "datatype": datatype, "data": values, **more}


def infer(*tensors: Any, client: Client = PETALS, path: str = INFER, **more: Any) -> Any:
    """The outputs for tensors in JSON, by name."""
    response = client.post(path, json={"inputs": tensors, **more})
    assert response.status_code == 200, response.text
    return {output["name"]: output for output in response.json()["outputs"]}


def refused(
    body: Any, client: Client = PETALS, path: str = INFER, length: str | None = None
) -> str:
    """Why a body is refused with 400; `length` is the header with the length of its JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {} if length is None else {"Inference-Header-Content-Length": length}
    response = client.post(path, content=content, headers=headers)
    assert response.status_code == 400, response.text
    assert list(response.json()) == ["error"]
    return str(response.json()["error"])


def binary(*tensors: tuple[str, str, Sequence[int], bytes], **more: Any) -> dict[str, Any]:
    """A request with binary tensors: name, datatype, shape and bytes of each."""
    inputs = [
        {
            **{"name": name, "datatype": datatype, "shape": list(shape)},
            "parameters": {"binary_data_size": len(data)},
        }
        for name, datatype, shape, data in tensors
    ]
    head = json.dumps({"inputs": inputs, **more}).encode()
    return {
        "content": head + b"".join(data for *_, data in tensors),
        "headers": {"Inference-Header-Content-Length": str(len(head))},
    }


def strings(*values: str | bytes) -> bytes:
    """A binary tensor of strings."""
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    return b"".join(struct.pack("<I", len(value)) + value for value in encoded)


def columns(spec: ModelSpec, rows: Sequence[Sequence[Any]]) -> list[Any]:
    """A tensor for each input of the contract."""
    found = []
    for item, values in zip(spec.inputs, zip(*rows)):
        datatype = "FP64" if item.kind in ("number", "tensor") else "BYTES"
        if item.kind == "category":
            values = tuple(str(v).lower() if isinstance(v, bool) else v for v in values)
        found.append(tensor(list(values), item.name, datatype))
    return found


# metadata


def test_the_server_has_a_name_and_an_extension() -> None:
    response = PETALS.get("/v2").json()
    assert response == {"name": "petals", "version": "7", "extensions": ["binary_tensor_data"]}


@pytest.mark.parametrize("path", [MODEL, f"{MODEL}/versions/7"])
def test_a_model_of_numbers_has_one_tensor_of_all_inputs_and_its_outputs(path: str) -> None:
    response = PETALS.get(path).json()
    assert response["name"] == "petals" and response["versions"] == ["7"]
    assert response["platform"] == "onnxruntime_onnx"
    (item,) = response["inputs"]
    assert (item["name"], item["datatype"], item["shape"]) == ("inputs", "FP32", [-1, 4])
    assert item["parameters"]["columns"].startswith("sepal_length (cm), sepal_width (cm)")
    prediction, probabilities = response["outputs"]
    assert prediction == {"name": "prediction", "datatype": "BYTES", "shape": [-1]}
    assert probabilities["shape"] == [-1, 3]
    assert probabilities["parameters"] == {"classes": "setosa, versicolor, virginica"}


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        ("regression", [("area", "FP32", [-1]), ("district", "BYTES", [-1])]),
        ("mixed", [("weight", "FP32", [-1]), ("image", "FP32", [-1, 3, 4])]),
        ("text", [("review", "BYTES", [-1])]),
        ("tensor", [("image", "FP32", [-1, 3, 4])]),
    ],
)
def test_a_model_of_other_inputs_has_a_tensor_for_each(kind: str, first: list[Any]) -> None:
    spec = KINDS[kind].SPEC
    inputs = service(spec).get(f"/v2/models/{spec.name}").json()["inputs"]
    assert [item["name"] for item in inputs] == list(spec.input_names)
    found = [(item["name"], item["datatype"], item["shape"]) for item in inputs]
    assert found[: len(first)] == first


def test_units_categories_and_the_interval_are_in_the_metadata() -> None:
    response = service(RENTS).get("/v2/models/rents").json()
    area, district, _ = response["inputs"]
    assert area["parameters"] == {"unit": "m²"}
    assert district["parameters"] == {"categories": "east, north, west"}
    assert [item["name"] for item in response["outputs"]] == ["prediction", "lower", "upper"]
    assert {(item["datatype"], *item["shape"]) for item in response["outputs"]} == {("FP32", -1)}


@pytest.mark.parametrize("path", [f"{MODEL}/ready", f"{MODEL}/versions/7/ready"])
def test_a_model_that_is_reached_is_ready(path: str) -> None:
    assert PETALS.get(path).json() == {"name": "petals", "ready": True}


@pytest.mark.parametrize(
    "path", ["/v2/models/rents", f"{MODEL}/versions/8/infer", "/v2/models/", f"{MODEL}/tune"]
)
def test_an_unknown_model_or_version_gets_404(path: str) -> None:
    protocol = OpenInference("petals", "7", predictor_of(petals.SPEC))
    route = protocol.fallback(path)
    assert route and path not in protocol.routes()
    client = Client({path: route})
    for response in client.get(path), client.post(path):
        assert response.status_code == 404
        assert path in response.json()["error"] and "/v2/models/petals/versions/7" in response.text


def test_other_paths_are_not_the_protocols() -> None:
    protocol = OpenInference("petals", "7", predictor_of(petals.SPEC))
    assert [protocol.fallback(path) for path in ("/v2", "/v2/repository", "/", "/predict")] == (
        [None] * 4
    )


# inference


@pytest.mark.parametrize("path", [INFER, f"{MODEL}/versions/7/infer"])
@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
@pytest.mark.parametrize("data", [ROWS, [value for row in ROWS for value in row]])
def test_rows_of_numbers_are_one_tensor_flat_or_nested(
    path: str, datatype: str, data: list[Any]
) -> None:
    outputs = infer(tensor(ROWS, datatype=datatype) | {"data": data}, path=path)
    assert outputs["prediction"]["data"] == labels(petals.SPEC, ROWS)
    assert outputs["probabilities"]["shape"] == [2, 3]
    assert outputs["probabilities"]["data"] == expected(petals.SPEC, ROWS).ravel().tolist()


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_contract_takes_a_tensor_for_each_input(kind: str) -> None:
    spec, rows = KINDS[kind].SPEC, rows_of(kind)
    client, path = service(spec), f"/v2/models/{spec.name}/infer"
    outputs = infer(*columns(spec, rows), client=client, path=path)
    predictions = expected(spec, rows)
    if spec.classes:
        assert outputs["prediction"]["data"] == labels(spec, rows)
        assert outputs["probabilities"]["data"] == predictions.ravel().tolist()
    else:
        for column, name in enumerate(spec.output_columns):
            assert outputs[name]["data"] == predictions[:, column].tolist()


def test_numbers_may_come_one_by_one_in_any_order_and_as_columns() -> None:
    tensors = [tensor([[row[i]] for row in ROWS], name) for i, name in enumerate(NAMES)]
    outputs = infer(*reversed(tensors))
    assert outputs["prediction"]["data"] == labels(petals.SPEC, ROWS)


@pytest.mark.parametrize("datatype", TYPES)
def test_numbers_are_accepted_in_every_datatype(datatype: str) -> None:
    values = np.array([[5, 3, 1, 1], [6, 3, 6, 2]], TYPES[datatype])
    classes = labels(petals.SPEC, values.tolist())
    assert infer(tensor(values.tolist(), datatype=datatype))["prediction"]["data"] == classes
    request = binary(("inputs", datatype, (2, 4), values.tobytes()))
    response = PETALS.post(INFER, **request).json()
    assert response["outputs"][0]["data"] == classes


def test_single_precision_is_not_refused_at_the_end_of_a_range() -> None:
    spec = ModelSpec("narrow", (Number("x", "", -0.3, 0.1),), Classes(("a", "b")))
    ends = np.array([[-0.3], [0.1]], np.float32)
    assert float(ends[0, 0]) < -0.3 and float(ends[1, 0]) > 0.1
    client, path = service(spec), "/v2/models/narrow/infer"
    for name in ("inputs", "x"):
        assert infer(tensor(ends.tolist(), name), client=client, path=path)
        request = binary((name, "FP32", (2, 1), ends.tobytes()))
        assert client.post(path, **request).status_code == 200
    beyond = np.nextafter(ends, np.array([[-1], [1]], np.float32))
    assert "is outside" in refused({"inputs": [tensor(beyond.tolist())]}, client, path)
    doubles = {"inputs": [tensor(ends.tolist(), datatype="FP64")]}
    assert "is outside" in refused(doubles, client, path)


def test_binary_tensors_are_accepted_and_returned() -> None:
    data = np.array(ROWS, "<f4").tobytes()
    parameters = {"binary_data_output": True}
    response = PETALS.post(INFER, **binary(("inputs", "FP32", (2, 4), data), parameters=parameters))
    assert response.headers["content-type"] == "application/octet-stream"
    length = int(response.headers["inference-header-content-length"])
    prediction, probabilities = json.loads(response.content[:length])["outputs"]
    rest = response.content[length:]
    size = prediction["parameters"]["binary_data_size"]
    assert rest[:size] == strings(*labels(petals.SPEC, ROWS))
    assert probabilities["parameters"]["binary_data_size"] == len(rest) - size == 24
    found = np.frombuffer(rest[size:], "<f4").reshape(probabilities["shape"])
    assert (found == expected(petals.SPEC, ROWS)).all()


def test_categories_and_missing_values_are_accepted_as_bytes() -> None:
    rows: list[list[Any]] = [[50.5, "west", "true"], [None, None, "false"]]
    areas = np.array([50.5, np.nan], "<f8").tobytes()
    request = binary(
        ("area", "FP64", (2,), areas),
        ("district", "BYTES", (2, 1), strings("west", "")),
        ("furnished", "BOOL", (2,), b"\x01\x00"),
    )
    response = service(RENTS).post("/v2/models/rents/infer", **request).json()
    assert response["outputs"][0]["data"] == expected(RENTS, rows)[:, 0].tolist()


def test_dates_are_bytes_and_an_empty_one_is_missing() -> None:
    spec = KINDS["dates"].SPEC
    metadata = service(spec).get(f"/v2/models/{spec.name}").json()["inputs"][0]
    assert (metadata["name"], metadata["datatype"]) == ("at", "BYTES")
    assert metadata["parameters"]["values"].endswith("in Europe/Berlin if without an offset")
    times, opened = ["2024-07-01T22:30Z", ""], ["true", "false"]
    tensors = [
        {"name": name, "shape": [2], "datatype": "BYTES", "data": data}
        for name, data in (("at", times), ("open", opened))
    ]
    response = service(spec).post(f"/v2/models/{spec.name}/infer", json={"inputs": tensors}).json()
    rows = [["2024-07-02T00:30", "true"], [None, "false"]]
    assert response["outputs"][0]["data"] == expected(spec, rows)[:, 0].tolist()


def test_nullable_inputs_may_be_left_out_or_null() -> None:
    client, path = service(RENTS), "/v2/models/rents/infer"
    furnished = tensor([True, False], "furnished", "BOOL")
    values = expected(RENTS, [[None, None, "true"], [None, None, "false"]])[:, 0].tolist()
    nulls = [tensor([None, None], "area"), tensor([None, None], "district", "BYTES")]
    for tensors in ([furnished], [furnished, *nulls]):
        assert infer(*tensors, client=client, path=path)["prediction"]["data"] == values


def test_only_the_requested_outputs_are_returned_each_in_its_format() -> None:
    outputs = [{"name": "probabilities", "parameters": {"binary_data": True}}]
    response = PETALS.post(INFER, json={"inputs": [tensor(ROWS)], "outputs": outputs})
    length = int(response.headers["inference-header-content-length"])
    assert [item["name"] for item in json.loads(response.content[:length])["outputs"]] == (
        ["probabilities"]
    )
    assert response.content[length:] == expected(petals.SPEC, ROWS).tobytes()
    plain = infer(tensor(ROWS), outputs=[{"name": "prediction"}])
    assert list(plain) == ["prediction"]


def test_one_output_may_be_json_and_the_others_binary() -> None:
    outputs = [{"name": "prediction", "parameters": {"binary_data": False}}]
    parameters = {"binary_data_output": True}
    found = infer(tensor(ROWS), outputs=outputs, parameters=parameters)
    assert found["prediction"]["data"] == labels(petals.SPEC, ROWS)


def test_null_is_the_same_as_absent() -> None:
    body = {"inputs": [tensor(ROWS, parameters=None)], "outputs": None, "parameters": None}
    assert PETALS.post(INFER, json=body).json()["outputs"][0]["data"] == labels(petals.SPEC, ROWS)


def test_a_response_has_model_version_and_request_id() -> None:
    response = PETALS.post(INFER, json={"id": "mine", "inputs": [tensor(ROWS)]}).json()
    assert (response["id"], response["model_name"], response["model_version"]) == (
        "mine",
        "petals",
        "7",
    )
    assert "id" not in PETALS.post(INFER, json={"inputs": [tensor(ROWS)]}).json()


# refusals


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "the inputs sepal_length, sepal_width, petal_length, petal_width are missing: exp"),
        ([tensor(ROWS) | {"shape": [2, 3]}], "inputs: the shape is [2, 3], but the data have"),
        ([tensor(ROWS[0], datatype="FP64")], "inputs: the shape is [4], expected [-1, 4]"),
        ([tensor([ROWS])], "inputs: the shape is [1, 2, 4], expected [-1, 4]"),
        ([tensor([row[:3] for row in ROWS])], "inputs: the shape is [2, 3], expected [-1, 4]"),
        ([tensor(ROWS) | {"shape": [0, 4]}], "invalid shape [0, 4]"),
        ([tensor(ROWS) | {"shape": [-1, 4]}], "invalid shape [-1, 4]"),
        ([tensor(ROWS) | {"shape": []}], "invalid shape []"),
        ([tensor(ROWS) | {"shape": [1] * 65}], "invalid shape [1, 1"),
        ([tensor(ROWS) | {"shape": [10**30, 10**30]}], "but the data have the shape (2, 4)"),
        ([tensor(ROWS) | {"data": [[1, 2, 3, 4], [1]]}], "the lists have different lengths"),
        ([tensor(ROWS) | {"datatype": "FP8"}], "unknown datatype 'FP8': use BOOL"),
        ([tensor([["a"] * 4], datatype="BYTES")], "inputs: expected numbers"),
        ([tensor([[True] * 4], datatype="BOOL")], "inputs: expected numbers"),
        ([tensor([["a"] * 4])], "inputs: value 0, 0 is 'a', which is not FP32; value 0, 1 is 'a'"),
        ([tensor([[1.5] * 4], datatype="INT32")], "inputs: value 0, 0 is 1.5, which is not INT32"),
        (
            [tensor([[5.1, 3.5, 1.4, "a"], [1, {}, 1, 1]])],
            "inputs: value 0, 3 is 'a', which is not",
        ),
        ([tensor([[5.1, 3.5, 1.4, "a"], [1, {}, 1, 1]])], "; value 1, 1 is {}, which is not FP32"),
        ([tensor([5.1, True, 1.4, 0.2]) | {"shape": [1, 4]}], "inputs: value 1 is true, which"),
        (
            [tensor(["a"] * 12) | {"shape": [3, 4]}],
            "value 9 is 'a', which is not FP32; and further",
        ),
        ([tensor(ROWS) | {"data": 5}], "inputs: expected a list of data, got a number"),
        ([tensor([[300] * 4], datatype="INT8")], "inputs: a value exceeds the range of INT8"),
        ([tensor([[-1] * 4], datatype="UINT64")], "inputs: a value exceeds the range of UINT64"),
        ([tensor([[1e39] * 4])], "row 0, sepal_length: the number is infinite, or too large"),
        ([tensor([[None] * 4])], "row 0, sepal_length: a value is missing"),
        ([tensor([ROWS[0], [5, 3, 99, 1]])], "row 1, petal_length: 99 cm is outside"),
        ([tensor(ROWS), tensor(ROWS)], "duplicate input 'inputs'"),
        ([tensor([1.0], "colour")], "unknown input 'colour': expected inputs"),
        (
            [tensor([1.0], NAMES[0])],
            "the inputs sepal_width, petal_length, petal_width are missing",
        ),
        ([{"name": "inputs", "shape": [1, 4], "datatype": "FP32"}], "has neither data nor"),
        ([{"name": "inputs", "shape": [1, 4]}], "inputs[0]: the field datatype is missing"),
        ([tensor([1.0, 2.0], name) for name in NAMES[:3]] + [tensor([1.0], NAMES[3])], "length"),
        ([tensor([1.0, 2.0], name) for name in NAMES[:3]] + [tensor([[1, 2]], NAMES[3])], "shape"),
        ([tensor(["x"], name, "BYTES") for name in NAMES], "'x' is not a number"),
        ([tensor(ROWS, parameters={"binary_data_size": 4})], "size is 4, but 0 bytes are left"),
        ([tensor(ROWS, parameters={"binary_data_size": "4"})], "binary_data_size is 4"),
    ],
)
def test_malformed_tensors_are_refused_with_the_reason(inputs: list[Any], message: str) -> None:
    assert message in refused({"inputs": inputs})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is empty"),
        (b"[]", "expected an object, got a list"),
        (b"{}", "the field inputs is missing"),
        (b'{"inputs": 1}', "inputs: expected a list, got a number"),
        (b'{"inputs": [5]}', "inputs[0]: expected an object, got a number"),
        (
            b'{"inputs":[{"name":"inputs","shape":[1,1],"datatype":"FP32","data":[1e999]}]}',
            "inputs, value [0]: the number is too large",
        ),
        (b'{"inputs": [', "it ends too early (byte 12)"),
        (b'{"id": 7, "inputs": []}', "id: expected a text, got a number"),
        (b'{"parameters":{"a":' + b"[" * 5000, "nested too deeply"),
        (
            b'{"inputs":[{"name":"inputs","shape":[1,4],"datatype":"FP32","data":[NaN,1,1,1]}]}',
            "malformed",
        ),
    ],
)
def test_malformed_requests_are_refused(body: bytes, message: str) -> None:
    assert message in refused(body)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([{"name": "shape"}], "unknown output 'shape': expected prediction, probabilities"),
        (
            [{"name": "probabilities", "parameters": {"classification": 2}}],
            "probabilities: unknown parameter 'classification'",
        ),
    ],
)
def test_unknown_outputs_are_refused(outputs: list[Any], message: str) -> None:
    assert message in refused({"inputs": [tensor(ROWS)], "outputs": outputs})


@pytest.mark.parametrize(
    ("size", "data", "message"),
    [
        (32, b"\0" * 31, "binary_data_size is 32, but 31 bytes are left"),
        (32, b"\0" * 33, "1 bytes after the last tensor"),
        (16, b"\0" * 16, "[2, 4] of FP32 are 32 bytes, but binary_data_size is 16"),
        (-1, b"", "binary_data_size is -1"),
    ],
)
def test_bytes_that_do_not_fit_a_tensor_are_refused(size: int, data: bytes, message: str) -> None:
    parameters = {"binary_data_size": size}
    tensors = [{"name": "inputs", "shape": [2, 4], "datatype": "FP32", "parameters": parameters}]
    head = json.dumps({"inputs": tensors}).encode()
    assert message in refused(head + data, length=str(len(head)))


@pytest.mark.parametrize("length", ["x", "-1", "1000000", "9" * 5000, "1.5", ""])
def test_an_invalid_length_of_json_is_refused(length: str) -> None:
    body = json.dumps({"inputs": [tensor(ROWS)]}).encode()
    assert "is not a length within a body" in refused(body, length=length)


@pytest.mark.parametrize(
    ("shape", "data", "message"),
    [
        ((2,), strings("east"), "district: the shape is [2], but the data have 1 strings"),
        ((1,), strings("east")[:-1], "string 0 exceeds the tensor's 7 bytes"),
        ((1,), b"\xff\xff\xff\xff", "string 0 exceeds"),
        ((2,), strings("east") + b"\0", "string 1 exceeds"),
        ((1,), strings(b"\xff"), "string 0 is not valid UTF-8"),
        ((1,), strings("sea") * 1, "row 0, furnished: a value is missing"),
    ],
)
def test_bytes_that_are_not_strings_are_refused(
    shape: tuple[int, ...], data: bytes, message: str
) -> None:
    request = binary(("district", "BYTES", shape, data), ("furnished", "BYTES", (1,), strings("")))
    if "furnished" in message:
        request = binary(("district", "BYTES", shape, data))
        message = "the input furnished is missing"
    response = service(RENTS).post("/v2/models/rents/infer", **request)
    assert response.status_code == 400
    assert message in response.json()["error"]


def test_too_many_rows_get_413() -> None:
    rows = [ROWS[0]] * 10_001
    response = PETALS.post(INFER, json={"inputs": [tensor(rows)]})
    assert response.status_code == 413
    assert "10001 rows are too many" in response.json()["error"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(0, 8, width=32), min_size=4, max_size=4), min_size=1))
def test_json_and_bytes_give_the_same_predictions(rows: list[list[float]]) -> None:
    array = np.array(rows, np.float32)
    plain = PETALS.post(INFER, json={"inputs": [tensor(array.tolist())]})
    packed = PETALS.post(INFER, **binary(("inputs", "FP32", array.shape, array.tobytes())))
    low, high = (
        np.array([getattr(item, end) for item in petals.SPEC.inputs], np.float32)
        for end in ("minimum", "maximum")
    )
    in_range = ((array >= low) & (array <= high)).all()
    assert plain.status_code == packed.status_code == (200 if in_range else 400)
    assert plain.json() == packed.json()


@settings(max_examples=examples(200), deadline=None)
@given(st.binary(max_size=80), st.integers(0, 90))
def test_no_bytes_make_the_service_fail(data: bytes, length: int) -> None:
    head = b'{"inputs":[{"name":"district","shape":[1],"datatype":"BYTES","parameters":'
    head += b'{"binary_data_size":%d}}]}' % len(data)
    client = service(RENTS)
    for body, size in ((data, length), (head + data, len(head)), (head + data, length)):
        header = {"Inference-Header-Content-Length": str(size)}
        response = client.post("/v2/models/rents/infer", content=body, headers=header)
        assert response.status_code == 400, response.text
        assert response.json()["error"]


def test_an_interval_is_three_tensors() -> None:
    spec = ModelSpec("rent", (Number("area", "m²", 5, 500, nullable=True),), Quantity("rent"))
    outputs = infer(tensor([30, None]), client=service(spec), path="/v2/models/rent/infer")
    assert {name: item["data"] for name, item in outputs.items()} == (
        {"prediction": [30, -1], "lower": [29, -2], "upper": [31, 0]}
    )


def test_predictions_follow_the_decision_threshold_and_probabilities_stay() -> None:
    client = Client(OpenInference("risk", "7", risk_predictor()).routes())
    path = "/v2/models/risk/infer"
    found = infer(tensor(RISKS), client=client, path=path)
    assert found["prediction"]["data"] == DECISIONS
    assert found["probabilities"]["data"][1::2] == pytest.approx([0.1, 0.2, 0.45, 0.9])
    outputs = [{"name": "prediction", "parameters": {"binary_data": True}}]
    request = {"inputs": [tensor(RISKS)], "outputs": outputs}
    content = client.post(path, json=request).content
    assert content.endswith(strings(*DECISIONS))
