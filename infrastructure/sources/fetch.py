"""Reads a source, whatever its kind, into one file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from domain.data.addresses import check_address, expand, mask
from domain.errors import ConfigError, DataError
from infrastructure.sources.files import draft_of_files
from infrastructure.sources.filesystems import OBJECT_STORES

_FILES = (*OBJECT_STORES, "http", "https")


def draft_of(
    address: str,
    query: str | None,
    root: Path,
    folder: Path,
    environ: Mapping[str, str] = os.environ,
) -> tuple[Path, tuple[str, ...]]:
    """Write what a source has into a folder.

    Args:
        query: path of a file with SQL, relative to `root`; for databases.
        root: the clone.
        environ: values of the variables in the address.

    Returns:
        The file, Parquet or CSV, and what to watch: `application.ports.snapshots.Fetched`.

    Raises:
        ConfigError: the address is wrong or lacks a variable, or the query is missing.
        DataError: the source cannot be read. No message has a secret.
        MissingExtraError: its driver is not installed.
    """
    check_address(address)
    expanded = expand(address, environ)
    scheme = expanded.partition("://")[0] if "://" in expanded else ""
    is_database = bool(scheme) and scheme not in _FILES
    if is_database != (query is not None):
        raise ConfigError(
            f"{address}: a database needs QUERY (data.source.query), the path of a file with SQL"
            if is_database
            else f"{address}: QUERY (data.source.query) is for databases: leave it out"
        )
    try:
        if query is None:
            return draft_of_files(expanded, address, root, folder)
        # pylint: disable-next=import-outside-toplevel  # SQLAlchemy is slow, most data are files
        from infrastructure.sources.database import run_query

        file = root / query
        target = folder / "query.parquet"
        run_query(expanded, _read_query(file), root, target)
        return target, (address, str(file))
    except DataError as error:
        raise DataError(f"{address}: {mask(str(error), address, environ)}") from None


def _read_query(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip().rstrip(";")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the query {file}: {error}") from error
