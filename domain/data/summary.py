"""A summary of the columns of a table, whatever they contain."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

_EXAMPLES = 3


def summarise_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each column of a table.

    Returns:
        missing and distinct (numbers of rows and of known values), examples (the three most
        frequent values), and lowest, median and highest of numbers (else NaN).
    """
    rows = {str(name): _summarise(frame[name]) for name in frame.columns}
    return pd.DataFrame.from_dict(rows, orient="index")


def count_duplicates(frame: pd.DataFrame) -> int:
    """Number of rows that are equal to an earlier one."""
    return int(frame.apply(_hashable).duplicated().sum())


def _summarise(column: pd.Series) -> dict[str, Any]:
    counts = _hashable(column).value_counts()
    number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    known = column.dropna() if number and len(counts) else pd.Series([np.nan])
    return {
        "missing": int(column.isna().sum()),
        "distinct": len(counts),
        "examples": ", ".join(map(_text, counts.index[:_EXAMPLES])),
        "lowest": known.min(),
        "median": known.median(),
        "highest": known.max(),
    }


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _hashable(column: pd.Series) -> pd.Series:
    """The column, with lists, arrays and the like as text."""
    if column.dtype != object or all(isinstance(value, Hashable) for value in column):
        return column
    return column.map(lambda v: v if isinstance(v, Hashable) else repr(np.asarray(v).tolist()))
