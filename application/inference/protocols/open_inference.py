"""The Open Inference Protocol, version 2, with Triton's extension for binary tensors.

| endpoint | answer |
|---|---|
| GET /v2 | the server |
| GET /v2/models/NAME | names, datatypes and shapes of what goes in and comes out |
| GET /v2/models/NAME/ready | whether it answers |
| POST /v2/models/NAME/infer | predictions |

A model is found at ``/v2/models/NAME/versions/VERSION`` too. Tensors are named and shaped as
`OpenInference.metadata` says. A number may come in any numeric datatype; what is missing is null,
in binary tensors NaN, or for words no bytes.

References:
    https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
    https://docs.nvidia.com/deeplearning/triton-inference-server, Binary Tensor Data Extension
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
import numpy as np

from application.inference.predictor import Predictor
from application.inference.protocols.http import JSON_LENGTH, Refusal, Reply, Request, Route
from application.inference.protocols.openapi import (
    JSON,
    LENIENT,
    TEXT,
    Schema,
    list_of,
    object_of,
    operation,
)
from application.inference.protocols.schema import EXAMPLES
from application.ports.recorder import PredictionResult
from domain.contract import Category, Input, ModelSpec, Number, Quantity, Tensor, as_word
from domain.errors import InputError

OCTETS = "application/octet-stream"
TOGETHER = "inputs"  # the tensor that holds every input where all are numbers

_DATATYPES = {
    "BOOL": np.dtype("?"),
    **{f"UINT{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"INT{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
    "BYTES": np.dtype(object),  # of str, or None
}
_IN_JSON: Mapping[str, Any] = {"b": bool, "u": int, "i": int, "f": float | None, "O": str | None}
_LENGTH = struct.Struct("<I")
_MOST_AXES = 64  # of an array of NumPy
_MOST_DIGITS = 18  # of a length in bytes


_PARAMETERS: Schema = {"type": "object", "nullable": True}
_TENSOR: Schema = {
    "type": "object",
    "properties": {
        "name": TEXT,
        "shape": list_of({"type": "integer", "minimum": 1}),
        "datatype": {**TEXT, "enum": list(_DATATYPES)},
        "data": {"type": "array", "items": {}},
        "parameters": _PARAMETERS,
    },
    "required": ["name", "shape", "datatype"],
}
_REQUEST: Schema = {
    "type": "object",
    "properties": {
        "inputs": list_of(_TENSOR),
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": TEXT, "parameters": _PARAMETERS},
                "required": ["name"],
            },
            "nullable": True,
        },
        "parameters": _PARAMETERS,
        "id": {**TEXT, "nullable": True},
    },
    "required": ["inputs"],
}
_ANSWER: Schema = {
    "type": "object",
    "properties": {
        "model_name": TEXT,
        "model_version": TEXT,
        "id": TEXT,
        "outputs": list_of(_TENSOR),
    },
    "required": ["model_name", "model_version", "outputs"],
}


class _InputTensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: msgspec.Raw = msgspec.Raw()  # empty where there is none


class _WantedTensor(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _Inference(msgspec.Struct):
    inputs: list[_InputTensor]
    outputs: list[_WantedTensor] | None = None
    parameters: dict[str, Any] | None = None
    id: str | None = None


class OpenInference:
    """Answers the protocol for one model.

    Args:
        name, version: of the model, as paths and answers have them.
        platform: what runs it, in the form ``<project>_<format>``.
    """

    def __init__(
        self, name: str, version: str, predictor: Predictor, platform: str = "onnxruntime_onnx"
    ) -> None:
        self._identity = {"name": name, "version": version}
        self._predictor = predictor
        self._spec = predictor.spec
        self._decode = msgspec.json.Decoder(_Inference).decode
        self._labels = [_as_bytes(label) for label in self._spec.classes]
        self.metadata: dict[str, Any] = {
            "name": name,
            "versions": [version],
            "platform": platform,
            "inputs": _inputs(self._spec),
            "outputs": _outputs(self._spec),
        }

    def routes(self) -> dict[str, Route]:
        """Every path that is answered."""
        name, version = self._identity["name"], self._identity["version"]
        found = {"/v2": _get({**self._identity, "extensions": ["binary_tensor_data"]})}
        for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{version}"):
            found[path] = _get(self.metadata)
            found[f"{path}/ready"] = _get({"name": name, "ready": True})
            found[f"{path}/infer"] = Route(("POST",), self.infer, _refuse)
        return found

    def paths(self, rows: Sequence[Sequence[Any]]) -> Schema:
        """The same in an OpenAPI document; of the paths of a model, those without a version.

        Args:
            rows: of which examples are made.
        """
        tag, model = "Open Inference Protocol", "/v2/models/" + self._identity["name"]
        binary = {"type": "string", "format": "binary"}
        length = {"name": JSON_LENGTH.decode(), "in": "header", "schema": {"type": "integer"}}
        infer = operation(
            tag,
            "Predict for tensors",
            bodies={JSON: {**_REQUEST, "example": self._example(rows[:EXAMPLES])}, OCTETS: binary},
            answers={JSON: _ANSWER, OCTETS: binary},
            error=object_of({"error": TEXT}),
            refusals=LENIENT,
        )
        answers = {JSON: {"type": "object"}}
        return {
            "/v2": {"get": operation(tag, "The server", answers=answers)},
            "/v2/health/live": {"get": operation(tag, "Whether the server lives")},
            "/v2/health/ready": {"get": operation(tag, "Whether the service is ready")},
            model: {"get": operation(tag, "The model's tensors", answers=answers)},
            f"{model}/ready": {"get": operation(tag, "Whether it answers", answers=answers)},
            f"{model}/infer": {"post": {**infer, "parameters": [length]}},
        }

    def _example(self, rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
        columns: list[Any] = [list(rows)]
        if not self._spec.is_numeric:
            columns = [
                _words_of(values) if isinstance(item, Category) else values
                for item, values in zip(self._spec.inputs, zip(*rows))
            ]
        tensors = [
            {**tensor, "shape": [len(rows), *tensor["shape"][1:]], "data": data}
            for tensor, data in zip(self.metadata["inputs"], columns)
        ]
        return {"inputs": tensors}

    def fallback(self, path: str) -> Route | None:
        """What tells that there is no such model or version; None where `path` asks for none."""
        if not path.startswith("/v2/models/"):
            return None

        def tell(_request: Request) -> bytes:
            there = "/v2/models/{name}/versions/{version}".format_map(self._identity)
            raise Refusal(404, f"nothing is at {path[:200]}: there is {there}", "unknown_model")

        return Route(("GET", "POST"), tell, _refuse)

    def infer(self, request: Request) -> Reply:
        """Answer tensors with tensors.

        Raises:
            InputError: a tensor is malformed or breaks the contract.
        """
        head, binary = _split(request)
        inference = self._decode(head)
        wanted = self._wanted(inference)
        tensors = _read(inference.inputs, binary)
        together = list(tensors) == [TOGETHER] and self._spec.is_numeric
        columns = self._table(tensors[TOGETHER]) if together else self._columns(tensors)
        answered = self._predictor.predict_columns(request.request_id, columns)
        return self._reply(inference.id, answered, wanted)

    def _table(self, tensor: np.ndarray) -> dict[str, Any]:
        """The columns of one tensor that holds every input, shape (n_rows, width)."""
        if tensor.dtype.kind not in "iuf":
            raise InputError(f"{TOGETHER}: expected numbers, by datatype FP32 or FP64")
        if tensor.ndim == 1 and self._spec.width == 1:
            tensor = tensor[:, None]
        _check_shape(TOGETHER, tensor, (self._spec.width,))
        return dict(zip(self._spec.input_names, tensor.T))

    def _columns(self, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
        inputs = {item.name: item for item in self._spec.inputs}
        for name in tensors:
            if name not in inputs:
                told = ", ".join(tensor["name"] for tensor in self.metadata["inputs"])
                raise InputError(f"{name[:60]!r} is no input: expected {told}")
        columns = {name: _values(inputs[name], tensor) for name, tensor in tensors.items()}
        rows = max(map(len, columns.values()), default=0)
        for name, item in inputs.items():
            if item.nullable and name not in columns:
                columns[name] = [None] * rows
        return columns

    def _wanted(self, inference: _Inference) -> dict[str, bool]:
        """Names of the outputs, and whether each is to be binary."""
        binary = bool((inference.parameters or {}).get("binary_data_output", False))
        there = [tensor["name"] for tensor in self.metadata["outputs"]]
        if not inference.outputs:
            return dict.fromkeys(there, binary)
        wanted = {}
        for output in inference.outputs:
            name = output.name
            if name not in there:
                raise InputError(f"{name[:60]!r} is no output: there are {', '.join(there)}")
            parameters = output.parameters or {}
            for parameter in parameters.keys() - {"binary_data"}:
                raise InputError(f"{name}: the parameter {parameter[:60]!r} is not known")
            wanted[name] = bool(parameters.get("binary_data", binary))
        return wanted

    def _reply(
        self, id_: str | None, answered: PredictionResult, wanted: Mapping[str, bool]
    ) -> Reply:
        name, version = self._identity["name"], self._identity["version"]
        head: dict[str, Any] = {"model_name": name, "model_version": version}
        if id_ is not None:
            head["id"] = id_
        outputs: list[dict[str, Any]] = []
        parts = []
        for wish, binary in wanted.items():
            output, values = self._output(wish, answered.answers, binary)
            if binary:
                output["parameters"] = {"binary_data_size": len(values)}
                parts.append(values)
            else:
                output["data"] = values
            outputs.append(output)
        encoded = msgspec.json.encode({**head, "outputs": outputs})
        if not any(wanted.values()):
            return Reply(encoded)
        length = (b"Inference-Header-Content-Length", str(len(encoded)).encode())
        return Reply(b"".join([encoded, *parts]), content_type=OCTETS.encode(), headers=[length])

    def _output(self, name: str, answers: np.ndarray, binary: bool) -> tuple[dict[str, Any], Any]:
        """One output: what it is, and its values, in bytes where it is to be binary.

        Args:
            answers: shape (n_rows, n_answers).
        """
        if name == "prediction" and self._spec.classes:
            labels: Sequence[Any] = self._labels if binary else self._spec.classes
            found = [labels[code] for code in answers.argmax(axis=1).tolist()]
            shape = [len(answers)]
            return _tensor(name, "BYTES", shape), b"".join(found) if binary else found
        values = (
            answers if self._spec.classes else answers[:, self._spec.output_columns.index(name)]
        )
        output = _tensor(name, "FP32", list(values.shape))
        return output, values.astype("<f4").tobytes() if binary else values.ravel().tolist()


def _refuse(status: int, told: str, _request_id: str) -> Reply:
    """The protocol's form of an error; what breaks the contract is told with 400."""
    return Reply(msgspec.json.encode({"error": told}), 400 if status == 422 else status)


def _get(answer: Mapping[str, Any]) -> Route:
    encoded = msgspec.json.encode(answer)
    return Route(("GET",), lambda _request: encoded, _refuse)


def _tensor(
    name: str, datatype: str, shape: Sequence[int], parameters: Mapping[str, str] | None = None
) -> dict[str, Any]:
    found = {"name": name, "datatype": datatype, "shape": list(shape)}
    return {**found, "parameters": parameters} if parameters else found


def _inputs(spec: ModelSpec) -> list[dict[str, Any]]:
    """The inputs in the protocol's terms; what they mean stands in their parameters."""
    if spec.is_numeric:
        told = {"columns": ", ".join(map(_told, spec.inputs))}
        return [_tensor(TOGETHER, "FP32", (-1, spec.width), told)]
    found = []
    for item in spec.inputs:
        if isinstance(item, Number):
            told = {"unit": item.unit} if item.unit else {}
            found.append(_tensor(item.name, "FP32", (-1,), told))
        elif isinstance(item, Tensor):
            found.append(_tensor(item.name, "FP32", (-1, *item.shape)))
        else:
            told = {"categories": ", ".join(item.categories)} if isinstance(item, Category) else {}
            found.append(_tensor(item.name, "BYTES", (-1,), told))
    return found


def _told(item: Any) -> str:
    return f"{item.name} ({item.unit})" if item.unit else str(item.name)


def _outputs(spec: ModelSpec) -> list[dict[str, Any]]:
    if isinstance(spec.output, Quantity):
        return [_tensor(name, "FP32", (-1,)) for name in spec.output_columns]
    told = {"classes": ", ".join(spec.classes)}
    shape = (-1, len(spec.classes))
    return [_tensor("prediction", "BYTES", (-1,)), _tensor("probabilities", "FP32", shape, told)]


def _split(request: Request) -> tuple[bytes, memoryview]:
    """The JSON of a request, and the binary tensors behind it."""
    told = request.headers.get(JSON_LENGTH)
    length = len(request.body)
    if told is not None:
        if not told.isdigit() or len(told) > _MOST_DIGITS or int(told) > length:
            raise InputError(
                f"Inference-Header-Content-Length: {told[:20].decode('latin-1')!r} is no length "
                f"within a body of {length} bytes"
            )
        length = int(told)
    return request.body[:length], memoryview(request.body)[length:]


def _read(inputs: Sequence[_InputTensor], binary: memoryview) -> dict[str, np.ndarray]:
    """The tensors of a request by name, in their shapes."""
    tensors: dict[str, np.ndarray] = {}
    for tensor in inputs:
        name = tensor.name
        if name in tensors:
            raise InputError(f"{name[:60]!r} is there twice")
        if tensor.datatype not in _DATATYPES:
            known = ", ".join(_DATATYPES)
            raise InputError(f"{name}: {tensor.datatype[:20]!r} is no datatype: there are {known}")
        if not 0 < len(tensor.shape) <= _MOST_AXES or min(tensor.shape) < 1:
            raise InputError(f"{name}: {str(tensor.shape)[:60]} is no shape of rows")
        size = (tensor.parameters or {}).get("binary_data_size")
        if size is None:
            tensors[name] = _from_json(tensor)
            continue
        if not isinstance(size, int) or not 0 <= size <= len(binary):
            raise InputError(f"{name}: binary_data_size is {size}, {len(binary)} bytes are there")
        tensors[name] = _from_bytes(tensor, binary[:size])
        binary = binary[size:]
    if len(binary):
        raise InputError(f"{len(binary)} bytes are behind the last tensor")
    return tensors


def _from_json(tensor: _InputTensor) -> np.ndarray:
    """A tensor whose values stand in a flat list, or in lists of its shape."""
    name, shape = tensor.name, tuple(tensor.shape)
    if not bytes(tensor.data):
        raise InputError(f"{name}: neither data nor binary_data_size is there")
    dtype = _DATATYPES[tensor.datatype]
    values, nested = _decoded(tensor.data, dtype.kind, len(shape))
    try:
        with np.errstate(over="ignore"):  # what is too large is infinite, and refused as such
            array = np.array(values, dtype)
    except OverflowError as error:
        raise InputError(f"{name}: a value is none of {tensor.datatype}") from error
    except ValueError as error:
        raise InputError(f"{name}: the lists are of different lengths") from error
    if array.shape != shape if nested else array.size != math.prod(shape):
        told = f"the shape {array.shape}" if nested else f"{array.size} values"
        raise InputError(f"{name}: the shape is {list(shape)}, but the data have {told}")
    return array.reshape(shape)


def _decoded(data: msgspec.Raw, kind: str, depth: int) -> tuple[list[Any], bool]:
    """Values of a tensor as its JSON has them, and whether they stand in nested lists."""
    if depth > 1 and bytes(data).lstrip()[1:].lstrip()[:1] == b"[":
        return _decoder(kind, depth)(data), True
    return _decoder(kind, 1)(data), False


@cache
def _decoder(kind: str, depth: int) -> Callable[[msgspec.Raw], list[Any]]:
    found: Any = _IN_JSON[kind]
    for _ in range(depth):
        found = list[found]
    return msgspec.json.Decoder(found).decode


def _from_bytes(tensor: _InputTensor, data: memoryview) -> np.ndarray:
    """A tensor of little-endian values without gaps, row by row."""
    name, shape = tensor.name, tuple(tensor.shape)
    dtype, count = _DATATYPES[tensor.datatype], math.prod(shape)
    if dtype.kind == "O":
        words = np.array([*_words(name, data), None], dtype)[:-1]  # an array even of no words
        if len(words) != count:
            raise InputError(
                f"{name}: the shape is {list(shape)}, but {len(words)} words are there"
            )
        return words.reshape(shape)
    if len(data) != count * dtype.itemsize:
        raise InputError(
            f"{name}: {list(shape)} of {tensor.datatype} are {count * dtype.itemsize} bytes, "
            f"but binary_data_size is {len(data)}"
        )
    if dtype.kind == "b":
        return np.not_equal(np.frombuffer(data, np.uint8), 0).reshape(shape)
    return np.frombuffer(data, dtype).reshape(shape)


def _words(name: str, data: memoryview) -> list[str]:
    """Words that each come behind their length."""
    words: list[str] = []
    place = 0
    while place < len(data):
        start = place + _LENGTH.size
        end = start + _LENGTH.unpack_from(data, place)[0] if start <= len(data) else start
        if end > len(data):
            raise InputError(
                f"{name}: word {len(words)} ends behind the tensor's {len(data)} bytes"
            )
        try:
            words.append(str(data[start:end], "utf-8"))
        except UnicodeDecodeError as error:
            raise InputError(f"{name}: word {len(words)} is no UTF-8") from error
        place = end
    return words


def _words_of(values: Sequence[Any]) -> list[str | None]:
    """Categories as words, whatever requests write them as."""
    return [None if value is None else as_word(value) for value in values]


def _as_bytes(word: str) -> bytes:
    encoded = word.encode()
    return _LENGTH.pack(len(encoded)) + encoded


def _values(item: Input, tensor: np.ndarray) -> Any:
    """The values of one input; of words without bytes, None where they may be missing."""
    if isinstance(item, Tensor):
        _check_shape(item.name, tensor, item.shape)
        return tensor
    if tensor.ndim != 1:
        _check_shape(item.name, tensor, (1,))
    if not isinstance(item, Category):
        return tensor.ravel()
    words = tensor.ravel().tolist()
    if item.nullable and "" not in item.categories:
        words = [None if word == "" else word for word in words]
    return words


def _check_shape(name: str, tensor: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise InputError where the shape is not (n_rows, *shape)."""
    if tensor.shape[1:] != shape:
        raise InputError(
            f"{name}: the shape is {list(tensor.shape)}, expected {[-1, *shape]}, -1 being rows"
        )
