"""Plots of inputs by the contract: of every kind, with and without a target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from domain.contract import (
    Category,
    Classes,
    Datetime,
    HashedText,
    Input,
    ModelSpec,
    Number,
    Quantity,
    Tensor,
    Text,
)
from domain.data.dataset import Dataset
from infrastructure.reporting.data_figures import (
    Target,
    bin_edges,
    draw_data,
    draw_input,
    draw_target,
    frequent_parts,
)
from tests.pages import Page
from tests.petals import SPEC, load

ROWS = 120
RNG = np.random.default_rng(0)
CODES = RNG.integers(0, 2, ROWS)
CLASSES = Target(Classes(("no <b>", "yes"), "churned"), CODES)
RENT = Target(Quantity("rent <b>", "EUR"), RNG.normal(size=ROWS))
MANY = Target(Classes(tuple(f"class {n}" for n in range(30)), "many"), np.arange(ROWS) % 30)
TARGETS = {"no target": None, "classes": CLASSES, "quantity": RENT, "many classes": MANY}
NUMBERS = pd.Series(np.where(np.arange(ROWS) % 9, RNG.normal(size=ROWS), np.nan))
WORDS = pd.Series([("台北 <i>", "高雄", None)[code] for code in RNG.integers(0, 3, ROWS)])
DAYS = pd.Series(pd.date_range("2026-01-01", periods=ROWS).strftime("%Y-%m-%d"), dtype=object)
TEXTS = pd.Series([f"the {word} of row {n}" for n, word in enumerate(WORDS)])
INPUTS: dict[str, tuple[Input, Any]] = {
    "number": (Number("x", "cm", -9, 9, "a <b>length", True), NUMBERS),
    "clipped number": (Number("x", "", -9, 9, "", True, "clip"), NUMBERS),
    "category": (Category("city", ("台北 <i>", "高雄"), "", True), WORDS),
    "date": (Datetime("day", ("weekday",), nullable=True), DAYS.where(DAYS.index > 3, None)),
    "timestamps": (Datetime("day", ("weekday",)), pd.to_datetime(DAYS)),
    "text": (Text("text", nullable=True), TEXTS.where(TEXTS.index > 3, None)),
    "hashed text": (HashedText("text", nullable=True), TEXTS.where(TEXTS.index > 3, None)),
    "image": (Tensor("image", (4, 5), 0, 1), list(RNG.random((ROWS, 4, 5)))),
    "channels first": (Tensor("image", (3, 4, 5), 0, 1), list(RNG.random((ROWS, 3, 4, 5)))),
    "channels last": (Tensor("image", (4, 5, 3), 0, 1), list(RNG.random((ROWS, 4, 5, 3)))),
    "vector": (Tensor("vector", (7,), 0, 1), list(RNG.random((ROWS, 7)))),
}


def texts_of(svg: str) -> list[str]:
    """The texts in a plot."""
    return [text.strip() for text in Page(svg).texts if text.strip()]


@pytest.mark.parametrize(
    ("values", "edges"),
    [
        ([0, 1, 1], [-0.5, 0.5, 1.5]),
        ([10, 20, 40], [5, 15, 25, 35, 45]),
        (np.arange(72), np.arange(-0.5, 72, 3)),
        ([0.5, 1.5], [0.5, 1, 1.5]),
        ([0, 1, 1e6], [0, 1e6 / 3, 2e6 / 3, 1e6]),
        ([-1e300, 1e300], [-1e300, 0, 1e300]),
        ([7, 7], [3.5, 10.5]),
        ([], [-0.5, 0.5]),
    ],
)
def test_bins_of_whole_numbers_have_equally_many_of_them(values: Any, edges: Any) -> None:
    np.testing.assert_allclose(bin_edges(np.array(values, float)), edges)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", INPUTS)
def test_every_kind_of_input_is_drawn_with_every_kind_of_target(kind: str, target: str) -> None:
    item, values = INPUTS[kind]
    plot = draw_input("input-7", item, pd.Series(values), TARGETS[target])
    assert plot.svg.startswith("<svg ") and plot.name == "input-7"
    assert plot.alt.startswith(f"{item.name}: ") and plot.caption.startswith(item.name)
    assert all(name.startswith("input-7-") for name in Page(plot.svg).ids)
    assert not {"b", "i", "script"} & set(Page(plot.svg).elements)


@pytest.mark.parametrize(
    ("kind", "target", "shown"),
    [
        ("number", "no target", "rows"),
        ("number", "classes", "share of the class"),
        ("number", "quantity", "rent <b>"),
        ("number", "many classes", "rows"),
        ("clipped number", "no target", "x, clipped to 98%"),
        ("category", "no target", "台北 <i>"),
        ("category", "classes", "share of the rows with this word"),
        ("category", "quantity", "mean of rent <b>"),
        ("date", "no target", "rows"),
        ("date", "classes", "share of the rows"),
        ("date", "quantity", "mean of rent <b>"),
        ("text", "classes", "characters"),
        ("image", "classes", "no <b>"),
    ],
)
def test_a_plot_says_what_its_axes_show(kind: str, target: str, shown: str) -> None:
    item, values = INPUTS[kind]
    plot = draw_input("a", item, pd.Series(values), TARGETS[target])
    assert any(shown in text for text in texts_of(plot.svg))


def test_a_quantity_is_shown_by_a_sample_of_the_rows() -> None:
    rows = 3000
    target = Target(Quantity("y"), np.arange(rows, dtype=float))
    plot = draw_input("a", Number("x", "", 0, rows), pd.Series(np.arange(rows)), target)
    assert 500 <= plot.svg.count("<use ") < 600


@pytest.mark.parametrize("target", [None, RENT, CLASSES])
def test_dates_at_the_ends_of_the_calendar_are_drawn(target: Target | None) -> None:
    days = DAYS.replace({DAYS[0]: "0001-01-01", DAYS[1]: "9999-12-31"})
    plot = draw_input("a", Datetime("day", ("weekday",)), days, target)
    assert {"1001", "9001"} <= set(texts_of(plot.svg))


@pytest.mark.parametrize(
    "values", [[np.nan] * 4, [1e17, 1e17 + 16, np.nan, 1e17], [0.0] * 4, [-1e300, 1e300, 0, 0]]
)
def test_numbers_without_a_spread_are_drawn(values: list[float]) -> None:
    item = Number("x", "", -1e301, 1e301, nullable=True)
    for target in (None, Target(CLASSES.output, np.array([0, 0, 1, 1]))):
        assert draw_input("a", item, pd.Series(values), target).svg


def test_dates_that_are_all_missing_are_drawn() -> None:
    item = Datetime("day", ("weekday",), nullable=True)
    for target in (None, Target(RENT.output, np.zeros(3))):
        assert draw_input("a", item, pd.Series([None] * 3, dtype=object), target).svg


def test_the_index_of_a_part_of_a_table_does_not_matter() -> None:
    item, values = INPUTS["category"]
    part = np.arange(60, ROWS)
    target = Target(RENT.output, RENT.actual[part])
    plots = [
        draw_input("a", item, series, target)
        for series in (values.iloc[part], values.iloc[part].reset_index(drop=True))
    ]
    assert plots[0] == plots[1]


@pytest.mark.parametrize(
    ("target", "shown"), [(CLASSES, "yes"), (RENT, "rent <b>"), (MANY, "class 3")]
)
def test_the_target_is_drawn(target: Target, shown: str) -> None:
    assert shown in texts_of(draw_target(target).svg)


def test_a_data_set_becomes_a_gallery_for_notebooks() -> None:
    gallery = draw_data(load(), SPEC)
    assert [plot.name for plot in gallery.plots] == ["target", *(f"input-{n}" for n in range(4))]
    show: Callable[[], str] = getattr(gallery, "_repr_html_")
    page = Page(show())
    assert page.elements.count("svg") == page.elements.count("figcaption") == 5
    assert len(set(page.ids)) == len(page.ids)
    assert "sepal_length (cm): length of the sepal" in page.text
    assert "--ink:#" in page.source and "var(--ink)" in page.source


def test_names_from_the_data_are_escaped_in_a_gallery() -> None:
    spec = ModelSpec("made", (INPUTS["number"][0],), RENT.output)
    dataset = Dataset("made", "", pd.DataFrame({"x": NUMBERS}), pd.Series(RENT.actual))
    show: Callable[[], str] = getattr(draw_data(dataset, spec), "_repr_html_")
    page = Page(show())
    assert "b" not in page.elements and "a <b>length" in page.text


def test_words_are_split_at_blanks_or_into_pairs_of_characters() -> None:
    assert frequent_parts("The cat, a dog 42 x_y zz") == {"The", "cat", "dog", "zz"}
    assert frequent_parts("這家店很好，very good") == {
        "這家",
        "家店",
        "店很",
        "很好",
        "very",
        "good",
    }
