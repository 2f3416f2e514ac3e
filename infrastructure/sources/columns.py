"""Rows of Python values as columns of Arrow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pyarrow as pa

from domain.errors import DataError


def check_columns(names: Sequence[str]) -> None:
    """Check that columns can be told apart.

    Raises:
        DataError: two columns have the same name.
    """
    twice = [repr(name) for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"several columns have the name {', '.join(twice)}: rename them")


def table_of(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> pa.Table:
    """A table of rows; decimals become float64 and UUIDs text.

    Raises:
        DataError: a column has values of several types.
    """
    columns = zip(*rows, strict=True) if rows else ((),) * len(names)
    return pa.table([_array(name, values) for name, values in zip(names, columns)], list(names))


def _array(name: str, values: Sequence[Any]) -> pa.Array:
    try:
        array = pa.array([str(value) if isinstance(value, UUID) else value for value in values])
    except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
        kinds = sorted({type(value).__name__ for value in values if value is not None})
        raise DataError(
            f"the column {name!r} cannot be read: it has values of type {', '.join(kinds)}; "
            "convert it to one type"
        ) from error
    return array.cast(pa.float64()) if pa.types.is_decimal(array.type) else array
