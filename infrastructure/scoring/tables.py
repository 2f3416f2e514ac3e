"""Tables in files, read and written in batches: Parquet, CSV and NDJSON, by suffix."""

# pylint: disable=no-member  # pyarrow.compute defines its functions at import

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from tqdm import tqdm

from application.inference.protocols.json_faults import json_fault
from application.inference.scoring import BATCH_ROWS, rows_at_once
from domain.contract import (
    MISSING_WORDS,
    NUMBER,
    Category,
    Datetime,
    Input,
    ModelSpec,
    Number,
    RepeatedValues,
    Tensor,
)
from domain.data.csv_layout import csv_layout
from domain.errors import DataError, reason_of

_BATCH_BYTES = 2**23  # in the file; several times as much in memory
_GROUP_BYTES = 2**26  # of a row group in memory
_JSON = msgspec.json.Encoder(enc_hook=str)
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1  # of int64

Values = Sequence[Any] | np.ndarray


class Batch(Protocol):
    """Some rows of a table.

    Attributes:
        columns: values of the inputs that the table has, by name, as `ModelSpec.encode` takes them.
    """

    columns: Mapping[str, Values]

    def __len__(self) -> int:
        """How many rows."""

    def rows(self, kept: np.ndarray) -> pa.RecordBatch:
        """The rows at these positions, which must satisfy the contract, in the table's schema."""

    def originals(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """The rows at these positions as they are in the file."""


class Table(Protocol):
    """A table that is read once from start to end.

    Attributes:
        schema: its columns as they are copied to the output.
        total: number of rows; None if unknown.
    """

    schema: pa.Schema
    total: int | None

    def batches(self) -> Iterator[Batch]:
        """The rows in file order.

        Raises:
            DataError: the file cannot be read.
        """


class Sink(Protocol):
    """A file that rows are written to."""

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append rows of the schema that it was opened with."""

    def close(self) -> None:
        """Write everything that is still buffered."""


def open_table(path: Path, spec: ModelSpec) -> Table:
    """A table with the inputs of a contract.

    Raises:
        DataError: the file does not exist, its suffix is unknown, or it cannot be read.
    """
    kind = _by_suffix(path, _TABLES)
    if not path.is_file():
        raise DataError(f"the file {path} does not exist")
    with _read_errors(path):
        return kind(path, spec)


@contextmanager
def open_sink(path: Path, draft: Path, schema: pa.Schema) -> Iterator[Sink]:
    """A file in the format of the suffix of `path`, written to `draft`.

    Only Parquet keeps the schema's metadata.

    Raises:
        DataError: the suffix is unknown, or the format cannot store a value.
    """
    try:
        with closing(_by_suffix(path, _SINKS)(draft, schema)) as sink:
            yield sink
    except pa.ArrowException as error:
        raise DataError(f"cannot write {path}: {reason_of(error)}") from error


def check_output(path: Path) -> None:
    """Check that a file can be written to this path.

    Raises:
        DataError: the suffix is unknown, or the folder does not exist.
    """
    _by_suffix(path, _SINKS)
    if not path.parent.is_dir():
        raise DataError(f"cannot write {path.name}: the folder {path.parent} does not exist")


def write_lines(file: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append objects to a binary file as NDJSON; values that JSON lacks become text or null."""
    file.write(_JSON.encode_lines(rows))


class _ArrowBatch:
    """Rows in Arrow; `original` has the same rows as they are in the file."""

    def __init__(
        self, batch: pa.RecordBatch, columns: Mapping[str, Values], original: pa.RecordBatch
    ) -> None:
        self.columns = columns
        self._batch, self._original = batch, original

    def __len__(self) -> int:
        return int(self._batch.num_rows)

    def rows(self, kept: np.ndarray) -> pa.RecordBatch:
        """The rows at these positions."""
        return self._batch if len(kept) == len(self) else self._batch.take(pa.array(kept))

    def originals(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """The rows at these positions as they are in the file."""
        return list(self._original.take(pa.array(positions, pa.int64())).to_pylist())


class ParquetTable:
    """Parquet: columns are copied as they are."""

    def __init__(self, path: Path, spec: ModelSpec) -> None:
        # read pages on demand: a row group may be as large as the file
        self._file = pq.ParquetFile(path, buffer_size=2**16, pre_buffer=False)
        self.schema = self._file.schema_arrow.remove_metadata()
        self._path, self._spec = path, spec
        self.total: int | None = self._file.metadata.num_rows

    def batches(self) -> Iterator[Batch]:
        """The rows in file order."""
        metadata = self._file.metadata
        size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
        fitting = _BATCH_BYTES * metadata.num_rows // max(1, size)
        rows = max(1, min(rows_at_once(self._spec), fitting))
        with _read_errors(self._path):
            for batch in self._file.iter_batches(rows):
                arrays = dict(zip(self.schema.names, batch.columns, strict=True))
                columns = {
                    item.name: _values_of(item, arrays[item.name])
                    for item in self._spec.inputs
                    if item.name in arrays
                }
                yield _ArrowBatch(batch, columns, batch)


class CsvTable:
    """CSV: numbers of the contract become float64; all other columns are copied as text.

    Fields are read as `parse` of each input does.
    """

    def __init__(self, path: Path, spec: ModelSpec) -> None:
        self._path, self._spec = path, spec
        layout = csv_layout(path)
        self._reader = pa_csv.open_csv(
            path,
            pa_csv.ReadOptions(block_size=_BATCH_BYTES, skip_rows=layout.skipped),
            pa_csv.ParseOptions(delimiter=layout.separator, newlines_in_values=True),
            pa_csv.ConvertOptions(
                default_column_type=pa.string(), null_values=[""], strings_can_be_null=True
            ),
        )
        numbers = {item.name for item in spec.inputs if isinstance(item, Number)}
        self.schema = pa.schema(
            (name, pa.float64() if name in numbers else pa.string())
            for name in map(str.strip, self._reader.schema.names)
        )
        self.total: int | None = None

    def batches(self) -> Iterator[Batch]:
        """The rows in file order."""
        rows = rows_at_once(self._spec)
        with _read_errors(self._path):
            for block in self._reader:
                for start in range(0, block.num_rows, rows):
                    yield self._batch(block.slice(start, rows))

    def _batch(self, text: pa.RecordBatch) -> Batch:
        arrays = dict(zip(self.schema.names, text.columns, strict=True))
        columns: dict[str, Values] = {}
        for item in self._spec.inputs:
            if item.name not in arrays:
                continue
            column = arrays[item.name]
            if isinstance(item, Number) and item.decimal:
                columns[item.name] = [_parse(item, field) for field in column.to_pylist()]
                numbers = [n if isinstance(n, float) else None for n in columns[item.name]]
                arrays[item.name] = pa.array(numbers, pa.float64())
            elif isinstance(item, Number):
                arrays[item.name], columns[item.name] = _parse_numbers(column)
            elif isinstance(item, Category | Datetime):
                fields = _repeated(column)
                parsed = [_parse(item, field) for field in fields.distinct]
                columns[item.name] = RepeatedValues(parsed, fields.positions)
            else:
                columns[item.name] = [_parse(item, field) for field in column.to_pylist()]
        batch = pa.RecordBatch.from_arrays(list(arrays.values()), schema=self.schema)
        return _ArrowBatch(batch, columns, text)


@dataclass(frozen=True, slots=True)
class _JsonColumn:
    """The Arrow type of a column, and how to convert JSON values to it; None stays None."""

    type: pa.DataType
    convert: Callable[[Any], Any]


class _JsonBatch:
    """Rows that are JSON objects."""

    def __init__(
        self, objects: list[dict[str, Any]], spec: ModelSpec, columns: Mapping[str, _JsonColumn]
    ) -> None:
        self.columns: Mapping[str, Values] = {
            name: [row.get(name) for row in objects] for name in spec.input_names if name in columns
        }
        self._objects, self._columns = objects, columns

    def __len__(self) -> int:
        return len(self._objects)

    def rows(self, kept: np.ndarray) -> pa.RecordBatch:
        """The rows at these positions."""
        objects = [self._objects[row] for row in kept]
        arrays = {}
        for name, column in self._columns.items():
            values = (row.get(name) for row in objects)
            converted = [None if value is None else column.convert(value) for value in values]
            arrays[name] = pa.array(converted, column.type)
        return pa.record_batch(arrays)

    def originals(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """The rows at these positions as they are in the file."""
        return [self._objects[row] for row in positions]


class NdjsonTable:
    """One JSON object per line. The file is read twice: the first time for its columns.

    A column of strings, booleans, integers or numbers keeps its type; one of mixed types, lists or
    objects becomes text. An object may lack a column.
    """

    def __init__(self, path: Path, spec: ModelSpec) -> None:
        self._path, self._spec = path, spec
        kinds: dict[str, set[type]] = {}
        total = 0
        for objects in tqdm(self._objects(), "  columns", unit="batch", leave=False, disable=None):
            total += len(objects)
            for row in objects:
                for name, value in row.items():
                    kinds.setdefault(name, set()).add(_kind_of(value))
        inputs = {item.name: item for item in spec.inputs}
        self._columns = {name: _column_of(found, inputs.get(name)) for name, found in kinds.items()}
        self.schema = pa.schema((name, column.type) for name, column in self._columns.items())
        self.total: int | None = total

    def batches(self) -> Iterator[Batch]:
        """The rows in file order."""
        for objects in self._objects():
            yield _JsonBatch(objects, self._spec, self._columns)

    def _objects(self) -> Iterator[list[dict[str, Any]]]:
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        most = rows_at_once(self._spec)
        objects: list[dict[str, Any]] = []
        size = 0
        with _read_errors(self._path), self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.isspace():
                    continue
                try:
                    objects.append(decode(line))
                except (msgspec.DecodeError, RecursionError) as error:
                    reason = json_fault(error, line)
                    raise DataError(
                        f"cannot read {self._path}: line {number} is not a JSON object: {reason}"
                    ) from error
                size += len(line)
                if len(objects) == most or size >= _BATCH_BYTES:
                    yield objects
                    objects, size = [], 0
        if objects:
            yield objects


class _ParquetSink:
    """Parquet: one row group per batch, or for several small batches, since each row group uses
    memory until the file is closed."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._buffered: list[pa.RecordBatch] = []

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        self._buffered.append(batch)
        rows = sum(buffered.num_rows for buffered in self._buffered)
        size = sum(buffered.nbytes for buffered in self._buffered)
        if rows >= BATCH_ROWS // 2 or size >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write everything that is still buffered."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._buffered:
            self._writer.write_table(pa.Table.from_batches(self._buffered))
            self._buffered = []


class _CsvSink:
    """CSV: lists and structures are written as JSON."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = pa.schema((field.name, _csv_type(field.type)) for field in schema)
        self._writer = pa_csv.CSVWriter(path, self._schema)

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        columns = [_for_csv(column) for column in batch.columns]
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        """Write everything that is still buffered."""
        self._writer.close()


class _NdjsonSink:
    """One JSON object per line."""

    def __init__(self, path: Path, _: pa.Schema) -> None:
        self._file = path.open("wb")

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        write_lines(self._file, batch.to_pylist())

    def close(self) -> None:
        """Write everything that is still buffered."""
        self._file.close()


_TABLES: Mapping[str, Callable[[Path, ModelSpec], Table]] = {
    ".parquet": ParquetTable,
    ".csv": CsvTable,
    ".ndjson": NdjsonTable,
    ".jsonl": NdjsonTable,
}
_SINKS: Mapping[str, Callable[[Path, pa.Schema], Sink]] = {
    ".parquet": _ParquetSink,
    ".csv": _CsvSink,
    ".ndjson": _NdjsonSink,
    ".jsonl": _NdjsonSink,
}


def _by_suffix(path: Path, kinds: Mapping[str, Any]) -> Any:
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{path} has an unknown format: its name must end in {', '.join(kinds)}")
    return kind


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """Raise errors of reading as a DataError that names the file."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {reason_of(error)}") from error


def _values_of(item: Input, column: pa.Array) -> Values:
    """An Arrow column in the form that the input accepts, which later rejects invalid values."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if isinstance(item, Datetime):
        return _moments(column, item.zone)
    if isinstance(item, Number):
        return _numbers_of(item, column)
    if isinstance(column, pa.FixedShapeTensorArray):
        return column.to_numpy_ndarray()
    if isinstance(item, Tensor):
        tensor = _as_tensor(column, item.shape)
        if tensor is not None:
            return tensor
    if isinstance(item, Category) and not pa.types.is_nested(column.type):
        return _repeated(column)
    is_text = _is_text(column.type)
    return column.to_numpy(zero_copy_only=False) if is_text else list(column.to_pylist())


def _numbers_of(item: Number, column: pa.Array) -> Values:
    if _is_number(column.type):
        return pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    parses = item.decimal and _is_text(column.type)
    return [_parse(item, value) if parses else value for value in column.to_pylist()]


def _moments(column: pa.Array, zone: str) -> Values:
    """Dates and times as datetime64, those with a time zone in `zone`; other values as they are."""
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        column = pc.local_timestamp(pc.cast(column, pa.timestamp(column.type.unit, zone)))
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return column.to_numpy(zero_copy_only=False)
    return _repeated(column) if _is_text(column.type) else list(column.to_pylist())


def _repeated(column: pa.Array) -> RepeatedValues:
    """The values of a column; None where it is null."""
    encoded = column.dictionary_encode()
    distinct, positions = encoded.dictionary.to_pylist(), encoded.indices
    if positions.null_count:
        positions = positions.fill_null(len(distinct))
        distinct.append(None)
    return RepeatedValues(distinct, positions.to_numpy())


def _parse(item: Input, field: str | None) -> Any:
    return None if field is None else item.parse(field)


def _as_tensor(column: pa.Array, shape: Sequence[int]) -> np.ndarray | None:
    """Nested lists as an array of shape (n_rows, \\*shape); None if not all have that shape."""
    rows = len(column)
    for length in shape:
        if column.null_count or not _is_list(column.type):
            return None
        if pc.unique(pc.list_value_length(column)).to_pylist() != [length]:
            return None
        column = column.flatten()
    if column.null_count or not _is_number(column.type) or pa.types.is_decimal(column.type):
        return None
    return column.to_numpy(zero_copy_only=False).reshape((rows, *shape))


def _parse_numbers(text: pa.Array) -> tuple[pa.Array, Values]:
    """Parse text as float64.

    Returns:
        The numbers, null if the text is not a number; and the same with the text kept instead.
    """
    text = pc.utf8_trim_whitespace(text)
    missing = pc.is_in(text, pa.array(["", *MISSING_WORDS]))
    text = pc.if_else(missing, pa.scalar(None, pa.string()), text)
    try:
        numbers = pc.cast(text, pa.float64())
        return numbers, numbers.to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        numeric = pc.match_substring_regex(text, f"^{NUMBER}$")
        valid = pc.if_else(numeric, pc.utf8_ltrim(text, "+"), pa.scalar(None, pa.string()))
        numbers = pc.cast(valid, pa.float64())
        values = zip(numbers.to_pylist(), text.to_pylist(), strict=True)
        return numbers, [word if number is None else number for number, word in values]


def _kind_of(value: Any) -> type:
    """The type of a JSON value; `object` for an integer outside the range of int64."""
    if isinstance(value, int) and not _SMALLEST <= value <= _LARGEST:
        return object
    return type(value)


def _column_of(kinds: set[type], item: Input | None) -> _JsonColumn:
    """The column for values of these types."""
    known = kinds - {type(None)}
    if known == {int}:
        return _JsonColumn(pa.int64(), int)
    if isinstance(item, Number) or known in ({float}, {int, float}):
        return _JsonColumn(pa.float64(), float)
    if isinstance(item, Tensor):
        nested = pa.float64()
        for _ in item.shape:
            nested = pa.list_(nested)
        return _JsonColumn(nested, lambda value: np.asarray(value, np.float64).tolist())
    if known == {bool}:
        return _JsonColumn(pa.bool_(), bool)
    return _JsonColumn(pa.string(), _as_text)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else _JSON.encode(value).decode()


def _csv_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _csv_type(kind.value_type)
    return kind if _has_csv_form(kind) else pa.string()


def _for_csv(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if _has_csv_form(column.type):
        return column
    if pa.types.is_nested(column.type) or isinstance(column, pa.ExtensionArray):
        values = column.to_pylist()
        return pa.array([None if v is None else _as_text(v) for v in values], pa.string())
    return pc.cast(column, pa.string())


def _has_csv_form(kind: pa.DataType) -> bool:
    """Whether the CSV writer supports a type."""
    return (
        _is_text(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or (pa.types.is_floating(kind) and not pa.types.is_float16(kind))
    )


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )
