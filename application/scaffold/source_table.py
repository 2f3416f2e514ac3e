"""Reads the table that a command names, as training will."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from application.ports.snapshots import Snapshots
from domain.data.addresses import check_address, is_address, is_source
from domain.data.tables import read_frame
from shared.console import show_step
from shared.paths import path_in_clone

_NOT_SQL = re.compile(r"--[^\n]*|/\*.*?\*/|'[^']*'|\"[^\"]*\"", re.DOTALL)  # comments and texts
_BRACKETS = re.compile(r"\([^()]*\)")


@dataclass(frozen=True)
class SourceTable:
    """A table and where it is.

    Attributes:
        path: an address, or a path: relative to the clone if it is inside, else absolute.
        location: path of the local file.
        keys: of the block ``data`` in a configuration: ``path`` or ``source``.
        frame: columns as `domain.data.tables.read_frame` returns them.
    """

    path: str
    location: str
    keys: dict[str, Any]
    frame: pd.DataFrame


def open_table(data: str, query: str | None, snapshots: Snapshots, root: Path) -> SourceTable:
    """Read a table: docs/data-sources.md has the forms of `data`.

    Args:
        query: path of a file with the SQL to run, for a database.

    Raises:
        ConfigError: the address cannot be used.
        DataError: the table cannot be read.
        MissingExtraError: the driver of a database is missing.
    """
    path, query = data_path(data, root), query and data_path(query, root)
    check_address(path)
    show_step("reading", path)
    if query or is_source(path, root):
        location = str(snapshots.fetch(path, query).file)
        keys: dict[str, Any] = {"source": {"address": path, **({"query": query} if query else {})}}
    else:
        location = str(root / path)
        keys = {"path": path}
    frame = read_frame(location)
    show_step("table", f"{len(frame):,} rows × {frame.shape[1]} columns")
    return SourceTable(path, location, keys, frame)


def is_ordered(sql: str) -> bool:
    """Whether a query orders its rows; an ``ORDER BY`` in a comment or in brackets does not."""
    sql = _NOT_SQL.sub(" ", sql)
    while (outer := _BRACKETS.sub(" ", sql)) != sql:
        sql = outer
    return re.search(r"\border\s+by\b", sql, re.IGNORECASE) is not None


def data_path(data: str, root: Path) -> str:
    """A path for the configuration: relative to the clone if it is inside, else absolute."""
    return data if is_address(data) else path_in_clone(Path(data).expanduser().absolute(), root)


def track_columns(columns: list[str]) -> Iterable[str]:
    """Iterate over columns with a progress bar."""
    return tqdm(columns, "inspecting columns", unit="column", disable=None, leave=False)
