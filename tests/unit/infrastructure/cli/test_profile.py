"""The command that profiles a table, in a folder instead of a clone."""

from __future__ import annotations

import argparse
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from infrastructure.cli import profile as command
from infrastructure.cli._exit import exit_code_of
from shared.paths import ROOT


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATA_SNAPSHOTS", str(tmp_path / "snapshots"))
    table = pd.DataFrame({"城市": ["台北", "高雄"] * 20, "x": range(40), "y": ["a", "b"] * 20})
    table.to_csv(tmp_path / "shop.csv", index=False)
    table.to_json(tmp_path / "shop.json", orient="records", force_ascii=False)
    with sqlite3.connect(tmp_path / "shop.db") as database:
        table.to_sql("shop", database, index=False)
    (tmp_path / "shop.sql").write_text("SELECT * FROM shop ORDER BY x", encoding="utf-8")
    return tmp_path


def profile(folder: Path, *words: str) -> int:
    """Run the command as a user would."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    args = parser.parse_args([*words, "--output", str(folder / "page.html")])
    return exit_code_of(lambda: command.run(args))


@pytest.mark.parametrize(
    "source",
    [
        ("shop.csv",),
        ("shop.json",),
        ("sqlite:///{}/shop.db", "--query", "{}/shop.sql"),
    ],
    ids=["CSV", "JSON", "a database"],
)
def test_a_table_is_profiled_wherever_it_is(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    source: tuple[str, ...],
) -> None:
    monkeypatch.chdir(folder)
    words = [word.format(folder) for word in source]
    assert profile(folder, "--data", *words, "--target", "y") == 0
    shown = capsys.readouterr().out
    assert "table     40 rows × 3 columns" in shown
    assert f"page      {(folder / 'page.html').as_uri()}" in shown
    page = (folder / "page.html").read_text("utf-8")
    assert "category, 2: 台北, 高雄" in page


def test_what_new_model_would_refuse_is_shown(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert profile(folder, "--data", str(folder / "shop.csv"), "--target", "x") == 0
    assert "would refuse" not in capsys.readouterr().out
    (folder / "few.csv").write_text("x,y\n1,2\n", encoding="utf-8")
    assert profile(folder, "--data", str(folder / "few.csv"), "--target", "y") == 0
    assert "look at   make new-model would refuse this table: 1 row is too few" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "missing.csv"), "there is no file"),
        (("--data", "shop.csv", "--target", "z"), "unknown column 'z'"),
    ],
)
def test_an_error_leaves_no_page(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(folder)
    assert profile(folder, *words) == 1
    assert message in capsys.readouterr().err
    assert not (folder / "page.html").exists()


@pytest.mark.parametrize(
    ("words", "page"),
    [
        (("shop.csv",), "profile-shop.html"),
        (("data/sales.2024.csv.gz",), "profile-sales-2024.html"),
        (("https://example.org/a b.parquet?key=x",), "profile-a-b.html"),
        (("s3://bucket/城市/*.parquet",), "profile-table.html"),
        (("postgresql://host/db", "--query", "sql/churn.sql"), "profile-churn.html"),
    ],
)
def test_the_page_goes_to_the_build_folder_and_is_named_after_the_table(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], page: str
) -> None:
    pages = []
    monkeypatch.setattr(command, "open_table", lambda *_: SimpleNamespace(frame=None, path="x"))
    monkeypatch.setattr(command, "profile_table", lambda *_: SimpleNamespace(remarks=()))
    monkeypatch.setattr(command, "write_table_page", lambda *args: pages.append(args[2]))
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    command.run(parser.parse_args(["--data", *words]))
    assert pages == [ROOT / "build" / page]


def test_a_table_is_never_replaced_by_its_page(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, data in (("page.html", "page.html"), ("page.html", "./page.html")):
        (folder / name).write_text("x,y\n1,2\n" * 20, encoding="utf-8")
        before = (folder / name).read_bytes()
        assert profile(folder, "--data", str(folder / data)) == 1
        assert "it cannot be the page, too" in capsys.readouterr().err
        assert (folder / name).read_bytes() == before
