"""Tables in files, read and written a batch at a time: Parquet, CSV and NDJSON, by suffix."""

# pylint: disable=no-member  # pyarrow.compute makes its functions when it is imported

from __future__ import annotations

import csv
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

from application.inference.scoring import BATCH_ROWS, rows_at_once
from domain.contract import Input, ModelSpec, Number, Tensor
from domain.data.tables import MISSING_WORDS
from domain.errors import DataError, reason_of

_BATCH_BYTES = 2**23  # of a file; what they become in memory is several times as much
_GROUP_BYTES = 2**26  # of a row group in memory
_SEPARATORS = (",", ";", "\t", "|")
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
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
        """The rows at these positions, which keep the contract, by the table's schema."""

    def originals(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """The rows at these positions as the file has them."""


class Table(Protocol):
    """A table that is read once from start to end.

    Attributes:
        schema: its columns as they go on to the output.
        total: how many rows it has; None where nobody knows.
    """

    schema: pa.Schema
    total: int | None

    def batches(self) -> Iterator[Batch]:
        """Its rows in their order.

        Raises:
            DataError: what the file holds cannot be read.
        """


class Sink(Protocol):
    """A file that rows are written to."""

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append rows of the schema that it was opened with."""

    def close(self) -> None:
        """Write what is still to be written."""


def open_table(path: Path, spec: ModelSpec) -> Table:
    """A table with the inputs of a contract.

    Raises:
        DataError: there is no such file, its suffix is unknown, or it cannot be read.
    """
    kind = _of_suffix(path, _TABLES)
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    with _readable(path):
        return kind(path, spec)


@contextmanager
def open_sink(path: Path, written: Path, schema: pa.Schema) -> Iterator[Sink]:
    """A file of the format that the suffix of `path` says, written to `written`.

    Parquet keeps the schema's metadata.

    Raises:
        DataError: the suffix is unknown, or the format cannot hold a value.
    """
    try:
        with closing(_of_suffix(path, _SINKS)(written, schema)) as sink:
            yield sink
    except pa.ArrowException as error:
        raise DataError(f"cannot write {path}: {reason_of(error)}") from error


def check_output(path: Path) -> None:
    """See whether a file may be written there.

    Raises:
        DataError: its suffix is unknown, or its folder is not there.
    """
    _of_suffix(path, _SINKS)
    if not path.parent.is_dir():
        raise DataError(f"there is no folder {path.parent} to write {path.name} to")


def write_lines(file: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append objects to a binary file as NDJSON; what JSON has no form for is text or null."""
    file.write(_JSON.encode_lines(rows))


class _ArrowBatch:
    """Rows that Arrow holds; `original` are the same as the file has them."""

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
        """The rows at these positions as the file has them."""
        return list(self._original.take(pa.array(positions, pa.int64())).to_pylist())


class ParquetTable:
    """Parquet: columns go on as they are."""

    def __init__(self, path: Path, spec: ModelSpec) -> None:
        # pages are read as they are needed: a row group may be as large as the file
        self._file = pq.ParquetFile(path, buffer_size=2**16, pre_buffer=False)
        self.schema = self._file.schema_arrow.remove_metadata()
        self._path, self._spec = path, spec
        self.total: int | None = self._file.metadata.num_rows

    def batches(self) -> Iterator[Batch]:
        """Its rows in their order."""
        metadata = self._file.metadata
        size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
        fitting = _BATCH_BYTES * metadata.num_rows // max(1, size)
        rows = max(1, min(rows_at_once(self._spec), fitting))
        with _readable(self._path):
            for batch in self._file.iter_batches(rows):
                arrays = dict(zip(self.schema.names, batch.columns, strict=True))
                columns = {
                    item.name: _values_of(item, arrays[item.name])
                    for item in self._spec.inputs
                    if item.name in arrays
                }
                yield _ArrowBatch(batch, columns, batch)


class CsvTable:
    """CSV: numbers of the contract become float64, all other columns go on as the text they are.

    An empty field is a missing value, and among numbers so is ``NA`` and the like. A tensor is a
    field of nested lists in JSON.
    """

    def __init__(self, path: Path, spec: ModelSpec) -> None:
        self._path, self._spec = path, spec
        self._reader = pa_csv.open_csv(
            path,
            pa_csv.ReadOptions(block_size=_BATCH_BYTES),
            pa_csv.ParseOptions(delimiter=_separator(path, spec), newlines_in_values=True),
            pa_csv.ConvertOptions(
                default_column_type=pa.string(), null_values=[""], strings_can_be_null=True
            ),
        )
        numbers = {item.name for item in spec.inputs if isinstance(item, Number)}
        self.schema = pa.schema(
            (name, pa.float64() if name in numbers else pa.string())
            for name in self._reader.schema.names
        )
        self.total: int | None = None

    def batches(self) -> Iterator[Batch]:
        """Its rows in their order."""
        rows = rows_at_once(self._spec)
        with _readable(self._path):
            for block in self._reader:
                for start in range(0, block.num_rows, rows):
                    yield self._batch(block.slice(start, rows))

    def _batch(self, text: pa.RecordBatch) -> Batch:
        arrays = {name: text.column(name) for name in text.schema.names}
        columns: dict[str, Values] = {}
        for item in self._spec.inputs:
            if item.name not in arrays:
                continue
            column = arrays[item.name]
            if isinstance(item, Number):
                arrays[item.name], columns[item.name] = _parse_numbers(column)
            elif isinstance(item, Tensor):
                columns[item.name] = [_parse_json(field) for field in column.to_pylist()]
            else:
                columns[item.name] = column.to_numpy(zero_copy_only=False)
        batch = pa.RecordBatch.from_arrays(list(arrays.values()), schema=self.schema)
        return _ArrowBatch(batch, columns, text)


@dataclass(frozen=True, slots=True)
class _JsonColumn:
    """How values of JSON become a column: by its type, converted unless they are None."""

    type: pa.DataType
    convert: Callable[[Any], Any]


class _JsonBatch:
    """Rows that are objects."""

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
            given = (row.get(name) for row in objects)
            values = [None if value is None else column.convert(value) for value in given]
            arrays[name] = pa.array(values, column.type)
        return pa.record_batch(arrays)

    def originals(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """The rows at these positions as the file has them."""
        return [self._objects[row] for row in positions]


class NdjsonTable:
    """One JSON object a line. The file is read twice: the first time for its columns.

    A column of words, of booleans, of whole numbers or of numbers goes on as that; one of several
    kinds, or of lists or objects, as text. An object may lack a column.
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
        """Its rows in their order."""
        for objects in self._objects():
            yield _JsonBatch(objects, self._spec, self._columns)

    def _objects(self) -> Iterator[list[dict[str, Any]]]:
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        most = rows_at_once(self._spec)
        objects: list[dict[str, Any]] = []
        size = 0
        with _readable(self._path), self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.isspace():
                    continue
                try:
                    objects.append(decode(line))
                except (msgspec.DecodeError, RecursionError) as error:
                    raise DataError(
                        f"cannot read {self._path}: line {number} is no JSON object: {error}"
                    ) from error
                size += len(line)
                if len(objects) == most or size >= _BATCH_BYTES:
                    yield objects
                    objects, size = [], 0
        if objects:
            yield objects


class _ParquetSink:
    """Parquet: a row group for each batch, or for several small ones, since each costs memory until
    the file is closed."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._waiting: list[pa.RecordBatch] = []

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        self._waiting.append(batch)
        rows = sum(waiting.num_rows for waiting in self._waiting)
        size = sum(waiting.nbytes for waiting in self._waiting)
        if rows >= BATCH_ROWS // 2 or size >= _GROUP_BYTES:
            self._write()

    def close(self) -> None:
        """Write what is still to be written."""
        self._write()
        self._writer.close()

    def _write(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting))
            self._waiting = []


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
        """Write what is still to be written."""
        self._writer.close()


class _NdjsonSink:
    """One JSON object a line."""

    def __init__(self, path: Path, _: pa.Schema) -> None:
        self._file = path.open("wb")

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        write_lines(self._file, batch.to_pylist())

    def close(self) -> None:
        """Write what is still to be written."""
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


def _of_suffix(path: Path, kinds: Mapping[str, Any]) -> Any:
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{path} is of no known format: its name must end in {', '.join(kinds)}")
    return kind


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What goes wrong in reading is said of the file."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {reason_of(error)}") from error


def _values_of(item: Input, column: pa.Array) -> Values:
    """A column of Arrow as the input takes it; what it does not take is for it to refuse."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if isinstance(item, Number):
        if _is_number(column.type):
            return pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    elif isinstance(column, pa.FixedShapeTensorArray):
        return column.to_numpy_ndarray()
    elif isinstance(item, Tensor):
        tensor = _as_tensor(column, item.shape)
        if tensor is not None:
            return tensor
    elif _is_text(column.type):
        return column.to_numpy(zero_copy_only=False)
    return list(column.to_pylist())


def _as_tensor(column: pa.Array, shape: Sequence[int]) -> np.ndarray | None:
    """Nested lists as an array of shape (n_rows, \\*shape); None where they are not all of it."""
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
    """float64 where the text is a number, else null; and the same with the text that is none."""
    text = pc.utf8_trim_whitespace(text)
    missing = pc.is_in(text, pa.array(["", *MISSING_WORDS]))
    text = pc.if_else(missing, pa.scalar(None, pa.string()), text)
    try:
        numbers = pc.cast(text, pa.float64())
        return numbers, numbers.to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        plain = pc.match_substring_regex(text, _NUMBER)
        known = pc.if_else(plain, pc.utf8_ltrim(text, "+"), pa.scalar(None, pa.string()))
        numbers = pc.cast(known, pa.float64())
        values = zip(numbers.to_pylist(), text.to_pylist(), strict=True)
        return numbers, [word if number is None else number for number, word in values]


def _parse_json(field: str | None) -> Any:
    """What a field says; the field itself where it is no JSON."""
    try:
        return field and msgspec.json.decode(field)
    except (msgspec.DecodeError, RecursionError):
        return field


def _separator(path: Path, spec: ModelSpec) -> str:
    """What stands between the fields: the first that gives the contract's names."""
    needed = {item.name for item in spec.inputs if not item.nullable}
    with path.open(encoding="utf-8-sig", newline="") as file:
        for separator in _SEPARATORS:
            file.seek(0)
            if needed <= set(next(csv.reader(file, delimiter=separator), [])):
                return separator
    return _SEPARATORS[0]


def _kind_of(value: Any) -> type:
    """The type of a value of JSON; `object` of a whole number that int64 does not hold."""
    if isinstance(value, int) and not _SMALLEST <= value <= _LARGEST:
        return object
    return type(value)


def _column_of(kinds: set[type], item: Input | None) -> _JsonColumn:
    """The column of values of these kinds."""
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
    return kind if _is_plain(kind) else pa.string()


def _for_csv(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if _is_plain(column.type):
        return column
    if pa.types.is_nested(column.type) or isinstance(column, pa.ExtensionArray):
        values = column.to_pylist()
        return pa.array([None if v is None else _as_text(v) for v in values], pa.string())
    return pc.cast(column, pa.string())


def _is_plain(kind: pa.DataType) -> bool:
    """Whether CSV has a form of its own for it."""
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
