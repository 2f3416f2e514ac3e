"""Queries of SQLite; tests/integration/test_postgresql.py has PostgreSQL."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from domain.data.tables import read_frame
from domain.errors import ConfigError, DataError, MissingExtraError
from infrastructure.sources import database
from infrastructure.sources.database import run_query


@pytest.fixture(name="shop")
def _shop(tmp_path: Path) -> Path:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("create table orders (id integer, price real, city text)")
        rows = [(1, 2.5, "Oslo"), (2, None, "100 %"), (2**60 + 1, 3.0, None)]
        connection.executemany("insert into orders values (?, ?, ?)", rows)
    connection.close()
    return tmp_path


def query(folder: Path, sql: str, address: str = "sqlite:///shop.db") -> Path:
    """Run a query; the Parquet file with its result."""
    target = folder / "result.parquet"
    run_query(address, sql, folder, target)
    return target


def test_the_rows_of_a_query_keep_their_order_and_exact_values(shop: Path) -> None:
    frame = read_frame(str(query(shop, "select * from orders order by id desc")))
    assert frame["id"].tolist() == [2**60 + 1, 2, 1]
    assert frame["city"].isna().tolist() == [True, False, False]
    assert frame["price"].tolist()[::2] == [3.0, 2.5]


def test_more_rows_than_a_part_has_are_one_table(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_ROWS", 1)  # no value of one row has the type of the others
    frame = read_frame(str(query(shop, "select price, city from orders")))
    assert frame["city"].tolist()[:2] == ["Oslo", "100 %"]
    assert len(frame) == 3


def test_a_percent_sign_and_a_colon_are_not_parameters(shop: Path) -> None:
    sql = "select * from orders where city like '100 %%' or city = ':x'"
    assert len(read_frame(str(query(shop, sql)))) == 1


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select * from order_s", "the query failed: no such table: order_s"),
        ("select * from orders where id < 0", "the query returns no rows"),
        ("select id, city as id from orders", "several columns have the name 'id'"),
        (
            "select 1 as x union all select 'a'",
            "'x' cannot be read: it has values of type int, str",
        ),
        ("drop table orders", "readonly"),
    ],
)
def test_a_query_that_gives_no_table_is_refused(shop: Path, sql: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        query(shop, sql)


def test_a_missing_sqlite_file_is_refused_and_not_created(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file .*none.db"):
        query(tmp_path, "select 1", "sqlite:///none.db")
    assert not list(tmp_path.iterdir())


def test_a_missing_driver_is_named_before_anything_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingExtraError, match="needs the driver oracledb.*pip install oracledb"):
        query(tmp_path, "select 1", "oracle+oracledb://host/x")
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match="psycopg.*make install EXTRAS=postgresql"):
        query(tmp_path, "select 1", "postgresql://10.255.255.1/x")


@pytest.mark.parametrize("address", ["nonsense://host/x", "postgresql://host:port/x", "://"])
def test_an_address_that_is_no_database_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError):
        query(tmp_path, "select 1", address)
