"""Tables of labels: Parquet, CSV and NDJSON, by suffix."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from application.monitoring.labels import LabelTable
from domain.contract import ModelSpec, Number, Quantity
from domain.errors import DataError
from infrastructure.scoring.tables import open_table
from shared.files import Draft

# Tables are read by a contract, which says what is a number; here, columns are read as they are.
_CONTRACT = ModelSpec("labels", (Number("(none)", "", 0, 0),), Quantity("actual"))
_NAMES = ("request_id", "id")
_ROW = "row"
_FIRST_ROWS = {".csv": 2, ".parquet": 0}  # as spreadsheets and pandas count; else as lines


def read_labels(path: Path, spec: ModelSpec, column: str | None = None) -> LabelTable:
    """Read a table of labels.

    It has a column ``request_id`` and may have ``row``, or it has ``id``; with both, the request ID
    counts. The label is in ``actual``, ``actual_class`` or a column with the name of the target.

    Args:
        column: where the label is instead.

    Raises:
        DataError: the file cannot be read, or lacks a column.
    """
    table = open_table(path, _CONTRACT)
    existing = table.schema.names
    labels = (column,) if column else ("actual", "actual_class", spec.output.name)
    name, actual = (_first_of(names, existing, path) for names in (_NAMES, labels))
    has_rows = _ROW in existing and name == "request_id"
    columns = [name, actual, *([_ROW] if has_rows else [])]
    values: dict[str, list[Any]] = {each: [] for each in columns}
    for batch in table.batches():
        record = batch.rows(np.arange(len(batch)))
        for each in columns:
            values[each] += _values(record.column(each), f"{path}, {each}")
    rows = values[_ROW] if has_rows else None
    first = _FIRST_ROWS.get(path.suffix.lower(), 1)
    return LabelTable(values[name], rows, values[actual], name == "id", actual, first)


def write_unknown(path: Path, table: LabelTable, positions: Sequence[int]) -> None:
    """Write some rows of a table as CSV for `read_labels`; an existing file is replaced."""
    columns = ["id"] if table.by_id else ["request_id", _ROW]
    with Draft(path) as draft:
        with draft.path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*columns, table.column])
            for position in positions:
                row = [] if table.by_id else [table.rows[position] if table.rows else 0]
                writer.writerow([table.names[position], *row, table.actual[position]])
        draft.publish()


def _first_of(names: Sequence[str], existing: Sequence[str], path: Path) -> str:
    found = [name for name in names if name in existing]
    if not found:
        raise DataError(
            f"{path} has no column {' or '.join(dict.fromkeys(names))}; its columns are "
            f"{', '.join(existing)}"
        )
    return found[0]


def _values(column: pa.Array, place: str) -> list[Any]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_nested(column.type):
        raise DataError(f"{place}: expected text or numbers, got {column.type}")
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    return list(column.to_pylist())
