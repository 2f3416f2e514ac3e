"""The page of a table is self-contained, escapes its values and says what new-model would do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from application.scaffold.table_profile import profile_table
from infrastructure.reporting import table_page
from infrastructure.reporting.table_page import write_table_page
from tests.pages import Page, check_self_contained

ROWS = 200
RNG = np.random.default_rng(0)
HEAT = RNG.normal(size=ROWS)
TABLE = pd.DataFrame(
    {
        "<script>alert(1)</script>": HEAT,
        "城市": RNG.choice(["台北 <b>", "高雄"], ROWS),
        "day": pd.date_range("2026-01-01", periods=ROWS).strftime("%Y-%m-%d")[::-1],
        "id": [f"C<i>{row:05d}" for row in range(ROWS)],
        "void": [None] * ROWS,
        "sales": 2 * HEAT + RNG.normal(size=ROWS),
        "churned": np.where(HEAT + RNG.normal(size=ROWS) > 0, "yes", "no"),
    }
)


def page_of(table: pd.DataFrame, target: str | None, folder: Path) -> Page:
    """The page of a table."""
    path = folder / "new" / "page.html"
    write_table_page(profile_table(table, target), "data/shop.csv", path)
    return Page(path.read_text("utf-8"))


@pytest.mark.parametrize("target", [None, "sales", "churned", "void"])
def test_the_page_is_self_contained_and_escapes_the_data(
    target: str | None, tmp_path: Path
) -> None:
    page = page_of(TABLE, target, tmp_path)
    check_self_contained(page)
    assert page.titles == ["shop.csv", "Table", "Columns", "Distributions"]
    for text in ("<script>alert(1)</script> number,", "台北 <b>", "C<i>00000", "data/shop.csv"):
        assert text in page.text


def test_columns_are_listed_with_what_new_model_makes_of_them(tmp_path: Path) -> None:
    page = page_of(TABLE, "churned", tmp_path)
    for text in (
        "rows 200 columns 7 rows that are equal to an earlier one 0",
        "values that are missing 200 (14.3%)",
        "target churned 2 classes; the most frequent has",
        "accuracy of the best constant prediction 0.",
        "城市 category, 2: 台北 <b>, 高雄 0 2",
        "id left out 0 200",
        "an identifier: 200 different values in 200 rows",
        "void left out 200 (100.0%) 0",
        "make new-model would split by time: day has dates that are in order",
        "churned target 0 2",
    ):
        assert text in page.text
    assert page.source.count('<tr class="skipped">') == 2
    assert page.figures == ["target", *(f"column-{number}" for number in range(4))]


def test_the_skill_is_shown_only_with_a_target(tmp_path: Path) -> None:
    assert "skill alone" in page_of(TABLE, "sales", tmp_path).text
    page = page_of(TABLE, None, tmp_path)
    assert "skill alone" not in page.text.lower() and "target" not in page.figures


def test_of_many_columns_the_strongest_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_page, "MOST_PLOTS", 3)
    wide = pd.DataFrame(RNG.normal(size=(40, 8)).round(3)).rename(columns="x{}".format)
    strong = np.tile(np.arange(20.0), 2)
    table = wide.assign(strong=strong, y=strong + RNG.normal(size=40))
    page = page_of(table, "y", tmp_path)
    assert len(page.figures) == 4
    assert "Drawn are 3 of 9 columns: those that predict" in page.text
    assert "strong: histogram" in page.source
    without = page_of(table, None, tmp_path)
    assert len(without.figures) == 3 and "the first ones" in without.text
    assert "strong: histogram" not in without.source


def test_a_skill_that_is_unknown_is_not_shown_as_none(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": [1.0, *[np.nan] * 39], "y": np.tile(np.arange(20.0), 2)})
    profile = profile_table(table, "y")
    (column,) = (each for each in profile.columns if each.name == "x")
    unknown = replace(column, skill=np.nan, role="input")
    page_of_unknown = tmp_path / "unknown.html"
    write_table_page(replace(profile, columns=(unknown,)), "t.csv", page_of_unknown)
    assert "0.00" not in Page(page_of_unknown.read_text("utf-8")).text
