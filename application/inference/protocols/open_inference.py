"""The Open Inference Protocol, version 2, with Triton's extension for binary tensors.

| endpoint | response |
|---|---|
| GET /v2 | the server |
| GET /v2/models/NAME | names, datatypes and shapes of inputs and outputs |
| GET /v2/models/NAME/ready | whether the model is ready |
| POST /v2/models/NAME/infer | predictions |

``/v2/models/NAME/versions/VERSION`` has the same endpoints. `OpenInference.metadata` has the names
and shapes of the tensors. A number may have any numeric datatype. A missing value is null; in
binary tensors it is NaN, or an empty string.

References:
    https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
    https://docs.nvidia.com/deeplearning/triton-inference-server, Binary Tensor Data Extension
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from application.inference.predictor import Predictor
from application.inference.protocols.http import (
    JSON_LENGTH,
    MOST_DIGITS,
    Refusal,
    Reply,
    Request,
    Route,
)
from application.inference.protocols.json_faults import body_decoder, form_fault
from application.inference.protocols.openapi import (
    JSON,
    LENIENT,
    TEXT,
    Schema,
    list_of,
    object_of,
    operation,
)
from application.inference.protocols.rows import decode_untyped, kind_of
from application.inference.protocols.schema import EXAMPLES
from application.ports.recorder import PredictionResult
from domain.contract import (
    SHOWN_ROWS,
    Category,
    Datetime,
    Input,
    ModelSpec,
    Number,
    Quantity,
    Tensor,
    as_word,
    short_repr,
)
from domain.errors import InputError

OCTETS = "application/octet-stream"
ALL_INPUTS = "inputs"  # the one tensor with every input, if all are numbers

_DATATYPES = {
    "BOOL": np.dtype("?"),
    **{f"UINT{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"INT{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
    "BYTES": np.dtype(object),  # of str, or None
}
_IN_JSON: Mapping[str, Any] = {"b": bool, "u": int, "i": int, "f": float | None, "O": str | None}
_LENGTH = struct.Struct("<I")
_MOST_AXES = 64  # that NumPy supports


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
_RESPONSE: Schema = {
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
    data: msgspec.Raw = msgspec.Raw()  # empty if missing


class _RequestedOutput(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _Inference(msgspec.Struct):
    inputs: list[_InputTensor]
    outputs: list[_RequestedOutput] | None = None
    parameters: dict[str, Any] | None = None
    id: str | None = None


class OpenInference:
    """Serves the protocol for one model.

    Args:
        name, version: of the model, as in paths and responses.
        platform: runtime of the model, in the form ``<project>_<format>``.
    """

    def __init__(
        self, name: str, version: str, predictor: Predictor, platform: str = "onnxruntime_onnx"
    ) -> None:
        self._identity = {"name": name, "version": version}
        self._predictor = predictor
        self._spec = predictor.spec
        self._decode = body_decoder(_Inference)
        self._labels = [_as_bytes(label) for label in self._spec.classes]
        self.metadata: dict[str, Any] = {
            "name": name,
            "versions": [version],
            "platform": platform,
            "inputs": _inputs(self._spec),
            "outputs": _outputs(self._spec),
        }

    def routes(self) -> dict[str, Route]:
        """The route of each path."""
        name, version = self._identity["name"], self._identity["version"]
        routes = {"/v2": _get({**self._identity, "extensions": ["binary_tensor_data"]})}
        for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{version}"):
            routes[path] = _get(self.metadata)
            routes[f"{path}/ready"] = _get({"name": name, "ready": True})
            routes[f"{path}/infer"] = Route(("POST",), self.infer, _refuse)
        return routes

    def paths(self, rows: Sequence[Sequence[Any]]) -> Schema:
        """The paths of the OpenAPI document, without those that name a version.

        Args:
            rows: rows for the examples.
        """
        tag, model = "Open Inference Protocol", "/v2/models/" + self._identity["name"]
        binary = {"type": "string", "format": "binary"}
        length = {"name": JSON_LENGTH.decode(), "in": "header", "schema": {"type": "integer"}}
        infer = operation(
            tag,
            "Predict for tensors",
            bodies={JSON: {**_REQUEST, "example": self._example(rows[:EXAMPLES])}, OCTETS: binary},
            responses={JSON: _RESPONSE, OCTETS: binary},
            error=object_of({"error": TEXT}),
            refusals=LENIENT,
        )
        responses = {JSON: {"type": "object"}}
        ready = operation(tag, "Whether the model is ready", responses=responses)
        return {
            "/v2": {"get": operation(tag, "The server", responses=responses)},
            "/v2/health/live": {"get": operation(tag, "Whether the server is live")},
            "/v2/health/ready": {"get": operation(tag, "Whether the service is ready")},
            model: {"get": operation(tag, "The model's tensors", responses=responses)},
            f"{model}/ready": {"get": ready},
            f"{model}/infer": {"post": {**infer, "parameters": [length]}},
        }

    def _example(self, rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
        columns: list[Any] = [list(rows)]
        if not self._spec.is_numeric:
            columns = [
                _as_words(values) if isinstance(item, Category | Datetime) else values
                for item, values in zip(self._spec.inputs, zip(*rows))
            ]
        tensors = [
            {**tensor, "shape": [len(rows), *tensor["shape"][1:]], "data": data}
            for tensor, data in zip(self.metadata["inputs"], columns)
        ]
        return {"inputs": tensors}

    def fallback(self, path: str) -> Route | None:
        """The route that refuses an unknown model or version; None if `path` names neither."""
        if not path.startswith("/v2/models/"):
            return None

        def refuse_unknown(_request: Request) -> bytes:
            known = "/v2/models/{name}/versions/{version}".format_map(self._identity)
            message = f"nothing at {path[:200]}: the model is at {known}"
            raise Refusal(404, message, "unknown_model")

        return Route(("GET", "POST"), refuse_unknown, _refuse)

    def infer(self, request: Request) -> Reply:
        """Predict for the tensors of a request.

        Raises:
            InputError: a tensor is malformed or breaks the contract.
        """
        head, binary = _split(request)
        inference = self._decode(head)
        outputs = self._requested_outputs(inference)
        tensors = _read_tensors(inference.inputs, binary)
        is_table = list(tensors) == [ALL_INPUTS] and self._spec.is_numeric
        columns = self._split_table(tensors[ALL_INPUTS]) if is_table else self._columns(tensors)
        result = self._predictor.predict_columns(request.request_id, columns, caller=request.caller)
        return self._reply(inference.id, result, outputs)

    def _split_table(self, tensor: np.ndarray) -> dict[str, Any]:
        """The columns of the tensor with every input, shape (n_rows, width)."""
        if tensor.dtype.kind not in "iuf":
            raise InputError(f"{ALL_INPUTS}: expected numbers, with datatype FP32 or FP64")
        if tensor.ndim == 1 and self._spec.width == 1:
            tensor = tensor[:, None]
        _check_shape(ALL_INPUTS, tensor, (self._spec.width,))
        return dict(zip(self._spec.input_names, tensor.T))

    def _columns(self, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """The columns of tensors with one input each."""
        inputs = {item.name: item for item in self._spec.inputs}
        for name in tensors:
            if name not in inputs:
                known = ", ".join(tensor["name"] for tensor in self.metadata["inputs"])
                raise InputError(f"unknown input {name[:60]!r}: expected {known}")
        columns = {name: _values(inputs[name], tensor) for name, tensor in tensors.items()}
        rows = max(map(len, columns.values()), default=0)
        for name, item in inputs.items():
            if item.nullable and name not in columns:
                columns[name] = [None] * rows
        return columns

    def _requested_outputs(self, inference: _Inference) -> dict[str, bool]:
        """Names of the requested outputs, and whether each should be binary."""
        binary = bool((inference.parameters or {}).get("binary_data_output", False))
        known = [tensor["name"] for tensor in self.metadata["outputs"]]
        if not inference.outputs:
            return dict.fromkeys(known, binary)
        requested = {}
        for output in inference.outputs:
            name = output.name
            if name not in known:
                raise InputError(f"unknown output {name[:60]!r}: expected {', '.join(known)}")
            parameters = output.parameters or {}
            for parameter in parameters.keys() - {"binary_data"}:
                raise InputError(f"{name}: unknown parameter {parameter[:60]!r}")
            requested[name] = bool(parameters.get("binary_data", binary))
        return requested

    def _reply(
        self, id_: str | None, result: PredictionResult, requested: Mapping[str, bool]
    ) -> Reply:
        name, version = self._identity["name"], self._identity["version"]
        head: dict[str, Any] = {"model_name": name, "model_version": version}
        if id_ is not None:
            head["id"] = id_
        outputs: list[dict[str, Any]] = []
        parts = []
        for output_name, binary in requested.items():
            output, values = self._output(output_name, result.predictions, binary)
            if binary:
                output["parameters"] = {"binary_data_size": len(values)}
                parts.append(values)
            else:
                output["data"] = values
            outputs.append(output)
        encoded = msgspec.json.encode({**head, "outputs": outputs})
        if not any(requested.values()):
            return Reply(encoded)
        length = (b"Inference-Header-Content-Length", str(len(encoded)).encode())
        return Reply(b"".join([encoded, *parts]), content_type=OCTETS.encode(), headers=[length])

    def _output(
        self, name: str, predictions: np.ndarray, binary: bool
    ) -> tuple[dict[str, Any], Any]:
        """Name, datatype and shape of one output, and its values, as bytes if `binary`.

        Args:
            predictions: shape (n_rows, n_outputs).
        """
        if name == "prediction" and self._spec.classes:
            labels: Sequence[Any] = self._labels if binary else self._spec.classes
            found = [labels[code] for code in self._spec.decide(predictions).tolist()]
            shape = [len(predictions)]
            return _tensor(name, "BYTES", shape), b"".join(found) if binary else found
        values = predictions
        if not self._spec.classes:
            values = predictions[:, self._spec.output_columns.index(name)]
        output = _tensor(name, "FP32", list(values.shape))
        return output, values.astype("<f4").tobytes() if binary else values.ravel().tolist()


def _refuse(status: int, message: str, _request_id: str) -> Reply:
    """The protocol's error format; a broken contract gets status 400 instead of 422."""
    return Reply(msgspec.json.encode({"error": message}), 400 if status == 422 else status)


def _get(content: Mapping[str, Any]) -> Route:
    encoded = msgspec.json.encode(content)
    return Route(("GET",), lambda _request: encoded, _refuse)


def _tensor(
    name: str, datatype: str, shape: Sequence[int], parameters: Mapping[str, str] | None = None
) -> dict[str, Any]:
    tensor = {"name": name, "datatype": datatype, "shape": list(shape)}
    return {**tensor, "parameters": parameters} if parameters else tensor


def _inputs(spec: ModelSpec) -> list[dict[str, Any]]:
    """Metadata of the input tensors; units, categories and columns are in their parameters."""
    if spec.is_numeric:
        parameters = {"columns": ", ".join(map(_name_with_unit, spec.inputs))}
        return [_tensor(ALL_INPUTS, "FP32", (-1, spec.width), parameters)]
    tensors = []
    for item in spec.inputs:
        if isinstance(item, Number):
            parameters = {"unit": item.unit} if item.unit else {}
            tensors.append(_tensor(item.name, "FP32", (-1,), parameters))
        elif isinstance(item, Tensor):
            tensors.append(_tensor(item.name, "FP32", (-1, *item.shape)))
        elif isinstance(item, Category):
            parameters = {"categories": ", ".join(item.categories)}
            tensors.append(_tensor(item.name, "BYTES", (-1,), parameters))
        elif isinstance(item, Datetime):
            tensors.append(_tensor(item.name, "BYTES", (-1,), {"values": item.describe()}))
        else:
            tensors.append(_tensor(item.name, "BYTES", (-1,)))
    return tensors


def _name_with_unit(item: Any) -> str:
    return f"{item.name} ({item.unit})" if item.unit else str(item.name)


def _outputs(spec: ModelSpec) -> list[dict[str, Any]]:
    """Metadata of the output tensors."""
    if isinstance(spec.output, Quantity):
        return [_tensor(name, "FP32", (-1,)) for name in spec.output_columns]
    parameters = {"classes": ", ".join(spec.classes)}
    probabilities = _tensor("probabilities", "FP32", (-1, len(spec.classes)), parameters)
    return [_tensor("prediction", "BYTES", (-1,)), probabilities]


def _split(request: Request) -> tuple[bytes, memoryview]:
    """The JSON of a request, and the binary tensors after it."""
    header = request.headers.get(JSON_LENGTH)
    length = len(request.body)
    if header is not None:
        if not header.isdigit() or len(header) > MOST_DIGITS or int(header) > length:
            raise InputError(
                f"Inference-Header-Content-Length: {header[:20].decode('latin-1')!r} is not a "
                f"length within a body of {length} bytes"
            )
        length = int(header)
    return request.body[:length], memoryview(request.body)[length:]


def _read_tensors(inputs: Sequence[_InputTensor], binary: memoryview) -> dict[str, np.ndarray]:
    """The tensors of a request by name, in their shapes."""
    tensors: dict[str, np.ndarray] = {}
    for tensor in inputs:
        name = tensor.name
        if name in tensors:
            raise InputError(f"duplicate input {name[:60]!r}")
        if tensor.datatype not in _DATATYPES:
            known = ", ".join(_DATATYPES)
            raise InputError(f"{name}: unknown datatype {tensor.datatype[:20]!r}: use {known}")
        if not 0 < len(tensor.shape) <= _MOST_AXES or min(tensor.shape) < 1:
            raise InputError(f"{name}: invalid shape {str(tensor.shape)[:60]}")
        size = (tensor.parameters or {}).get("binary_data_size")
        if size is None:
            tensors[name] = _from_json(tensor)
            continue
        if not isinstance(size, int) or not 0 <= size <= len(binary):
            raise InputError(
                f"{name}: binary_data_size is {size}, but {len(binary)} bytes are left"
            )
        tensors[name] = _from_bytes(tensor, binary[:size])
        binary = binary[size:]
    if len(binary):
        raise InputError(f"{len(binary)} bytes after the last tensor")
    return tensors


def _from_json(tensor: _InputTensor) -> np.ndarray:
    """A tensor whose values are in a flat list, or in lists nested by its shape."""
    name, shape = tensor.name, tuple(tensor.shape)
    if not bytes(tensor.data):
        raise InputError(f"{name}: has neither data nor binary_data_size")
    dtype = _DATATYPES[tensor.datatype]
    try:
        values, nested = _decode_values(tensor.data, dtype.kind, len(shape))
    except msgspec.ValidationError as error:
        raise InputError(_wrong_values(tensor) or f"{name}, value {form_fault(error)}") from error
    try:
        with np.errstate(over="ignore"):  # too large becomes infinite, which the contract refuses
            array = np.array(values, dtype)
    except OverflowError as error:
        raise InputError(f"{name}: a value exceeds the range of {tensor.datatype}") from error
    except ValueError as error:
        raise InputError(f"{name}: the lists have different lengths") from error
    if array.shape != shape if nested else array.size != math.prod(shape):
        found = f"the shape {array.shape}" if nested else f"{array.size} values"
        raise InputError(f"{name}: the shape is {list(shape)}, but the data have {found}")
    return array.reshape(shape)


def _decode_values(data: msgspec.Raw, kind: str, depth: int) -> tuple[list[Any], bool]:
    """The values in a tensor's JSON, and whether they are in nested lists."""
    nested = depth > 1 and _is_nested(data)
    return _decoder(kind, depth if nested else 1)(data), nested


def _is_nested(data: msgspec.Raw) -> bool:
    return bytes(data).lstrip()[1:].lstrip()[:1] == b"["


def _wrong_values(tensor: _InputTensor) -> str:
    """The first values in a tensor's JSON that its datatype does not have; empty if all fit."""
    values = decode_untyped(tensor.data)
    if not isinstance(values, list):
        return f"{tensor.name}: expected a list of data, got {kind_of(values)}"
    depth = len(tensor.shape) if _is_nested(tensor.data) else 1
    kind = _IN_JSON[_DATATYPES[tensor.datatype].kind]
    wrong = (item for item in _places(values, depth) if not _is_of(kind, item[1]))
    faults = [
        f"value {place} is {short_repr(value)}, which is not {tensor.datatype}"
        for place, value in islice(wrong, SHOWN_ROWS + 1)
    ]
    more = "; and further values" if len(faults) > SHOWN_ROWS else ""
    return f"{tensor.name}: {'; '.join(faults[:SHOWN_ROWS])}{more}" if faults else ""


def _places(values: Any, depth: int, place: tuple[int, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Values in lists of this depth, and their positions on each axis."""
    if len(place) == depth or not isinstance(values, list):
        yield ", ".join(map(str, place)), values
        return
    for index, value in enumerate(values):
        yield from _places(value, depth, (*place, index))


def _is_of(kind: Any, value: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


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
        strings = np.array([*_strings(name, data), None], dtype)[:-1]  # dtype even if it is empty
        if len(strings) != count:
            raise InputError(
                f"{name}: the shape is {list(shape)}, but the data have {len(strings)} strings"
            )
        return strings.reshape(shape)
    if len(data) != count * dtype.itemsize:
        raise InputError(
            f"{name}: {list(shape)} of {tensor.datatype} are {count * dtype.itemsize} bytes, "
            f"but binary_data_size is {len(data)}"
        )
    if dtype.kind == "b":
        return np.not_equal(np.frombuffer(data, np.uint8), 0).reshape(shape)
    return np.frombuffer(data, dtype).reshape(shape)


def _strings(name: str, data: memoryview) -> list[str]:
    """Strings that each follow their length."""
    strings: list[str] = []
    position = 0
    while position < len(data):
        start = position + _LENGTH.size
        end = start + _LENGTH.unpack_from(data, position)[0] if start <= len(data) else start
        if end > len(data):
            raise InputError(
                f"{name}: string {len(strings)} exceeds the tensor's {len(data)} bytes"
            )
        try:
            strings.append(str(data[start:end], "utf-8"))
        except UnicodeDecodeError as error:
            raise InputError(f"{name}: string {len(strings)} is not valid UTF-8") from error
        position = end
    return strings


def _as_words(values: Sequence[Any]) -> list[str | None]:
    """Categories as words; a request may also write them as numbers or booleans."""
    return [None if value is None else as_word(value) for value in values]


def _as_bytes(word: str) -> bytes:
    encoded = word.encode()
    return _LENGTH.pack(len(encoded)) + encoded


def _values(item: Input, tensor: np.ndarray) -> Any:
    """The values of one input."""
    if isinstance(item, Tensor):
        _check_shape(item.name, tensor, item.shape)
        return tensor
    if tensor.ndim != 1:
        _check_shape(item.name, tensor, (1,))
    values = tensor.ravel()
    return values.tolist() if tensor.dtype == object else values


def _check_shape(name: str, tensor: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise InputError if the shape is not (n_rows, *shape)."""
    if tensor.shape[1:] != shape:
        raise InputError(
            f"{name}: the shape is {list(tensor.shape)}, expected {[-1, *shape]} (-1: rows)"
        )
