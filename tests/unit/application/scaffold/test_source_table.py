"""A table is read from where the command says, and the configuration gets the same place."""

from __future__ import annotations

from pathlib import Path

import pytest

from application.scaffold.source_table import data_path, is_ordered, open_table, track_columns
from domain.errors import ConfigError, DataError
from infrastructure.storage.snapshots import SnapshotStore


def test_a_path_in_the_clone_is_written_as_a_relative_path(tmp_path: Path) -> None:
    assert data_path(str(tmp_path / "data" / "x.csv"), tmp_path) == "data/x.csv"
    assert data_path("/elsewhere/x.csv", tmp_path) == "/elsewhere/x.csv"
    assert data_path("https://host/x.csv", tmp_path) == "https://host/x.csv"


def test_a_local_table_is_read_by_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n3,4\n", encoding="utf-8")
    snapshots = SnapshotStore(str(tmp_path / "snapshots"), tmp_path, tmp_path)
    table = open_table(str(tmp_path / "x.csv"), None, snapshots, tmp_path)
    assert (table.path, table.keys) == ("x.csv", {"path": "x.csv"})
    assert table.location == str(tmp_path / "x.csv")
    assert table.frame["b"].tolist() == [2, 4]
    assert "table     2 rows × 2 columns" in capsys.readouterr().out
    assert not (tmp_path / "snapshots").exists()


def test_other_sources_become_a_snapshot(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('[{"a": 1}, {"a": 3}]', encoding="utf-8")
    snapshots = SnapshotStore(str(tmp_path / "snapshots"), tmp_path, tmp_path)
    table = open_table(str(tmp_path / "x.json"), None, snapshots, tmp_path)
    assert table.keys == {"source": {"address": "x.json"}}
    assert Path(table.location).parent == tmp_path / "snapshots"
    assert table.frame["a"].tolist() == [1, 3]


@pytest.mark.parametrize(
    ("sql", "ordered"),
    [
        ("SELECT * FROM t ORDER BY id", True),
        ("select * from (select * from t) order\n  by (a + b), c", True),
        ("SELECT * FROM t", False),
        ("SELECT * FROM t -- order by id", False),
        ("SELECT * FROM t /* order\nby id */", False),
        ("SELECT 'order by' AS a, \"order by\" FROM t", False),
        ("SELECT rank() OVER (PARTITION BY (a) ORDER BY b) FROM t", False),
    ],
)
def test_a_query_is_ordered_by_its_outermost_order_by(sql: str, ordered: bool) -> None:
    assert is_ordered(sql) is ordered


@pytest.mark.parametrize(
    ("data", "error"),
    [("missing.csv", DataError), ("postgresql://me:secret@host/shop", ConfigError)],
)
def test_a_table_that_cannot_be_read_is_an_error(
    tmp_path: Path, data: str, error: type[Exception]
) -> None:
    snapshots = SnapshotStore(str(tmp_path / "snapshots"), tmp_path, tmp_path)
    with pytest.raises(error) as raised:
        open_table(data, None, snapshots, tmp_path)
    assert "secret" not in str(raised.value)


def test_every_column_is_tracked() -> None:
    assert list(track_columns(["a", "b"])) == ["a", "b"]
