"""Queries of databases, by SQLAlchemy."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import URL, Connection, Engine, create_engine, exc, make_url
from sqlalchemy.pool import NullPool

from domain.errors import ConfigError, DataError, MissingExtraError, reason_of
from infrastructure.sources.columns import check_columns, table_of

_ROWS = 50_000  # that are in memory as Python values at a time
_SECONDS = 10  # to connect


def run_query(address: str, sql: str, root: Path, target: Path) -> None:
    """Write the result of a query to a Parquet file, with its rows in the order of the query.

    Args:
        address: URL of SQLAlchemy, such as postgresql://ann@host/shop. Relative paths of SQLite
            start at `root`.

    Raises:
        ConfigError: the address is not a URL of a database.
        MissingExtraError: the driver is not installed; nothing has been tried then.
        DataError: the database cannot be reached, or refuses the query.
    """
    engine = _engine(_url(address, root))
    try:
        with engine.connect() as connection:
            _write(connection, sql, target)
    except exc.SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise DataError(f"the query failed: {' '.join(str(cause).split())[:300]}") from None
    finally:
        engine.dispose()


def _write(connection: Connection, sql: str, target: Path) -> None:
    connection = connection.execution_options(stream_results=True, no_parameters=True)
    if connection.dialect.name == "postgresql":
        connection = connection.execution_options(postgresql_readonly=True)
    result = connection.exec_driver_sql(sql)
    if not result.returns_rows:
        raise DataError("the query returns no rows: it must be a SELECT")
    names = [str(name) for name in result.keys()]
    check_columns(names)
    parts = [table_of(names, part) for part in result.partitions(_ROWS)]
    if not parts:
        raise DataError("the query returns no rows")
    try:
        table = pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(f"a column has values of several types: {reason_of(error)}") from error
    pq.write_table(table, target)


def _url(address: str, root: Path) -> URL:
    try:
        url = make_url(address)
    except (exc.ArgumentError, ValueError):
        raise ConfigError("the address is not a URL such as postgresql://user@host/name") from None
    if url.drivername in ("postgres", "postgresql") and not find_spec("psycopg2"):
        url = url.set(drivername="postgresql+psycopg")  # the driver of the extra
    if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
        file = root / str(url.database)
        if not file.is_file():  # SQLite would create it
            raise DataError(f"there is no file {file}")
        url = url.set(database=f"file:{file}", query={"mode": "ro", "uri": "true"})
    return url


def _engine(url: URL) -> Engine:
    """An engine whose driver is installed."""
    options: dict[str, Any] = {}
    try:
        dialect = url.get_dialect()
        dialect.import_dbapi()
    except exc.NoSuchModuleError:
        raise ConfigError(
            f"{url.drivername}:// is neither a database that SQLAlchemy knows nor one of s3://, "
            "gs://, http:// and https://: correct the address, or install its dialect"
        ) from None
    except ModuleNotFoundError as error:
        command = (
            "make install EXTRAS=postgresql"
            if url.drivername == "postgresql+psycopg"
            else f".venv/bin/pip install {error.name}"
        )
        raise MissingExtraError(
            f"{url.drivername}:// needs the driver {error.name}, which is not installed: {command}"
        ) from error
    if dialect.driver in ("psycopg", "psycopg2"):
        options["connect_args"] = {"connect_timeout": _SECONDS}
    return create_engine(url, poolclass=NullPool, **options)
