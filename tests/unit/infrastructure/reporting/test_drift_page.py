"""The page of `make drift-report`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from application.monitoring.drift_report import DriftReport, VariableDrift
from infrastructure.reporting.drift_page import MOST_PLOTS, write_drift_page


def variable(name: str, p_value: float = 0.5, n_bins: int = 3) -> VariableDrift:
    """A variable with bins of equal share in training."""
    reference = np.full(n_bins, 1 / n_bins)
    current = reference.copy()
    current[0] += 0.1
    current[-1] -= 0.1
    bins = [f"bin {number}" for number in range(n_bins)]
    by_part = np.array([0.01, np.nan, 0.3])
    return VariableDrift(name, bins, reference, current, 0.123, p_value, by_part)


def page(folder: Path, *variables: VariableDrift, **unwatched: str) -> str:
    """The page of a report."""
    starts = np.array([0.0, 3600, 7200]) + 1.7e9
    report = DriftReport(1_234, 5, starts, variables, unwatched)
    write_drift_page(
        report, "Drift of rides 1.0.0", "Predictions in staging.", folder / "page.html"
    )
    return (folder / "page.html").read_text(encoding="utf-8")


def test_the_page_has_every_variable_with_its_p_value_and_two_plots(tmp_path: Path) -> None:
    text = page(tmp_path, variable("length", 0.0001), variable("<city>"), day="it goes on")
    for part in (
        "Drift of rides 1.0.0",
        "1,234 rows against the training rows",
        "5 rows of other versions",
        "0.0001",
        "0.123",
        "drifts",
        "&lt;city&gt;",
        "it goes on",
        "length over time, at most 0.300",
    ):
        assert part in text
    assert text.count("<svg") == 4
    assert "<script" not in text and "http://" not in text.replace("http://www.w3.org", "")


def test_importances_are_shown_where_they_are_known(tmp_path: Path) -> None:
    text = page(tmp_path, replace(variable("a"), importance=-0.0317), variable("b"))
    assert ">−0.032<" in text
    assert text.count("0.032") == 1


def test_a_variable_that_drifts_is_marked(tmp_path: Path) -> None:
    assert page(tmp_path, variable("a", 0.02)).count('class="refused"') == 0
    assert page(tmp_path, variable("a", 0.01)).count('class="refused"') == 1


def test_many_variables_and_words_are_drawn_in_part(tmp_path: Path) -> None:
    text = page(tmp_path, *[variable(f"v{number}", n_bins=60) for number in range(MOST_PLOTS + 1)])
    assert f"Drawn are the first {MOST_PLOTS} of {MOST_PLOTS + 1} variables." in text
    assert text.count("<svg") == 2 * MOST_PLOTS
    assert "in 20 bins" in text


def test_a_variable_with_too_few_rows_in_every_part_is_drawn(tmp_path: Path) -> None:
    few = VariableDrift("a", ["b"], np.ones(1), np.ones(1), 0.0, 1.0, np.full(3, np.nan))
    assert "unknown: too few rows" in page(tmp_path, few)
