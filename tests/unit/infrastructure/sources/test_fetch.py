"""Which reader an address gets, and what is said when it is wrong."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from domain.errors import ConfigError, DataError
from infrastructure.sources.fetch import draft_of


@pytest.fixture(name="shop")
def _shop(tmp_path: Path) -> Path:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("create table t as select 1 as x")
    connection.close()
    (tmp_path / "q.sql").write_text("select * from t;\n", encoding="utf-8")
    (tmp_path / "draft").mkdir()
    return tmp_path


def test_a_database_is_queried_and_its_address_and_query_are_watched(shop: Path) -> None:
    address = "sqlite:///${FILE}"
    draft, watched = draft_of(address, "q.sql", shop, shop / "draft", {"FILE": "shop.db"})
    assert draft.suffix == ".parquet"
    assert watched == (address, str(shop / "q.sql"))


@pytest.mark.parametrize(
    ("address", "query", "message"),
    [
        ("sqlite:///shop.db", None, "a database needs QUERY"),
        ("t.json", "q.sql", "QUERY .* is for databases: leave it out"),
        ("s3://bucket/t.csv", "q.sql", "is for databases"),
        ("sqlite:///${FILE}", "q.sql", "set FILE in the environment or in .env"),
        ("postgresql://ann:word@host/shop", "q.sql", "write .*NAME.* in its place"),
    ],
)
def test_a_wrong_address_is_refused(
    shop: Path, address: str, query: str | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        draft_of(address, query, shop, shop / "draft", {})


def test_an_error_names_the_address_without_the_values_of_its_variables(shop: Path) -> None:
    with pytest.raises(DataError) as raised:
        draft_of("sqlite:///${FILE}", "q.sql", shop, shop / "draft", {"FILE": "hidden.db"})
    assert "sqlite:///${FILE}: there is no file" in str(raised.value)
    assert "hidden" not in str(raised.value)
    with pytest.raises(DataError, match="cannot read the query .*gone.sql"):
        draft_of("sqlite:///shop.db", "gone.sql", shop, shop / "draft", {})
