"""Plots of a validation as SVG for a page."""

from __future__ import annotations

import re

import numpy as np
import pytest

from domain.evaluation.metrics import RegressionReport
from infrastructure.reporting import validation_plots as plots
from infrastructure.reporting.validation_plots import MOST_POINTS, MOST_ROWS
from tests.validations import classification, regression

FLOWERS, RENTS = classification(), regression()


def test_a_plot_is_one_element_with_ids_of_its_own_and_the_colours_of_the_page() -> None:
    plot = plots.importances(FLOWERS.importances)
    assert plot.svg.startswith("<svg ")
    assert plot.svg.rstrip().endswith("</svg>")
    ids = re.findall(r'\bid="([^"]+)"', plot.svg)
    assert ids
    assert [each for each in ids if not each.startswith("importance-")] == []
    assert "var(--main)" in plot.svg
    assert "var(--ink)" in plot.svg
    assert plot.alt.startswith("Permutation importance: petal_length 0.300; petal_width 0.150")


def test_names_stay_text_whatever_is_in_them() -> None:
    svg = plots.drift({'<b> id="x" #010200': 0.3, "$x$ & y\n": 0.1}).svg
    assert '&lt;b&gt; id="x" #010200' in svg
    assert "$x$ &amp; y " in svg


def test_long_names_are_cut() -> None:
    assert f">{'n' * 23}…<" in plots.importances({"n" * 40: 0.1}).svg


def test_only_the_largest_are_drawn() -> None:
    plot = plots.importances({f"input {number:03}": number / 100 for number in range(60)})
    assert plot.alt.count(";") == MOST_ROWS - 1
    assert "input 059" in plot.svg
    assert "input 039" not in plot.svg
    assert "20 most important of 60 inputs" in plot.caption


def test_points_are_sampled_and_that_is_said() -> None:
    values = np.linspace(0, 1, 3 * MOST_POINTS)
    answers = np.stack([values, values - 0.1, values + 0.1], axis=1)
    plot = plots.residuals(RegressionReport(values, answers, 0.9), "rent")
    assert plot.svg.count("<use ") < MOST_POINTS + 100
    assert "2,000 of 6,000 rows are drawn." in plot.caption
    assert isinstance(RENTS.report, RegressionReport)
    assert "are drawn" not in plots.residuals(RENTS.report, "rent").caption


def test_curves_of_many_rows_have_few_points_and_end_where_they_end() -> None:
    rng = np.random.default_rng(0)
    actual = rng.integers(0, 2, 20_000)
    answers = np.stack([1 - actual, actual], axis=1) + rng.normal(0, 2, (20_000, 2))
    plot = plots.roc(answers, actual, {"yes": 1})
    assert len(plot.svg) < 40_000
    assert "yes 0." in plot.alt


@pytest.mark.parametrize("margin", [0.05, None])
def test_the_difference_has_its_margin_where_there_is_one(margin: float | None) -> None:
    assert FLOWERS.comparison is not None
    plot = plots.difference(FLOWERS.comparison, margin)
    assert ("var(--alarm)" in plot.svg) == (margin is not None)
    assert ("−0.05" in plot.caption) == (margin is not None)
