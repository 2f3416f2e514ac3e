"""Figures: PNG files of a training run, and SVG for the report of a validation."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from application.ports.figures import FigureData
from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.evaluation.measures import default_measure
from domain.evaluation.metrics import RegressionReport, Score, evaluate
from infrastructure.reporting import figures
from infrastructure.reporting.figures import (
    COLOURS,
    LONGEST_LABEL,
    MOST_POINTS,
    MOST_ROWS,
    draw_figures,
    short_label,
)
from shared.paths import ROOT
from tests.kinds import KINDS
from tests.petals import SPEC
from tests.validations import classification, regression

FLOWERS, HOMES = classification(), regression()
IMPORTANCES = {"petal_width": 0.6, "petal_length": 0.4}
CURVES = {"train_loss": [1.0, 0.5, 0.3], "valid_loss": [1.1, 0.7, 0.8]}
OF_CLASSES = ["confidence.png", "confusion_matrix.png"]
OF_QUANTITIES = ["predictions.png", "residuals.png"]
RENTS = KINDS["regression"].SPEC


def flowers(
    actual: list[int],
    importances: Mapping[str, float] | None = None,
    curves: Mapping[str, Sequence[float]] | None = None,
) -> FigureData:
    """Six hold-out rows that are all predicted as the class of their number modulo 3."""
    predictions = np.eye(3)[np.arange(6) % 3] * 0.7 + 0.1
    report = evaluate(default_measure(SPEC), predictions, np.array(actual))
    return FigureData(SPEC, report, importances or {}, predictions, np.array(actual), curves or {})


def rents(
    error: float,
    importances: Mapping[str, float] | None = None,
    curves: Mapping[str, Sequence[float]] | None = None,
) -> FigureData:
    """Thirty flats whose rents are predicted with an error that grows."""
    predicted = np.linspace(500, 2000, 30)
    predictions = np.stack([predicted, predicted - 100, predicted + 100], axis=1)
    actual = predicted + error * np.cos(np.arange(30))
    report = evaluate(default_measure(RENTS), predictions, actual)
    return FigureData(RENTS, report, importances or {}, predictions, actual, curves or {})


def drawn(data: FigureData, folder: Path) -> dict[str, bytes]:
    """The files that are drawn; each is a PNG."""
    folder.mkdir(exist_ok=True)
    draw_figures(data, folder)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    for content in files.values():
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(content) > 1000
    return files


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (flowers([0, 1, 2, 0, 1, 1], IMPORTANCES), [*OF_CLASSES, "feature_importance.png"]),
        (flowers([0, 1, 2, 0, 1, 2]), OF_CLASSES),  # all correct
        (flowers([1, 2, 0, 1, 2, 0]), OF_CLASSES),  # all wrong
        (flowers([0, 1, 2, 0, 1, 1], None, CURVES), [*OF_CLASSES, "learning_curves.png"]),
        (rents(80), OF_QUANTITIES),
        (rents(0), OF_QUANTITIES),  # no errors
        (rents(80, IMPORTANCES), ["feature_importance.png", *OF_QUANTITIES]),
        (rents(80, None, CURVES), ["learning_curves.png", *OF_QUANTITIES]),
    ],
)
def test_the_figures_of_a_run_are_drawn_as_png_files(
    tmp_path: Path, data: FigureData, names: list[str]
) -> None:
    assert sorted(drawn(data, tmp_path)) == names


def test_figures_of_different_results_differ(tmp_path: Path) -> None:
    for right, wrong, names in (
        (flowers([0, 1, 2, 0, 1, 2]), flowers([1, 2, 0, 1, 2, 0]), OF_CLASSES),
        (rents(10), rents(400), OF_QUANTITIES),
        (
            flowers([0, 1, 2, 0, 1, 2], None, CURVES),
            flowers([0, 1, 2, 0, 1, 2], None, {"train_loss": [3.0, 2.0]}),
            ["learning_curves.png"],
        ),
    ):
        first, second = drawn(right, tmp_path / "right"), drawn(wrong, tmp_path / "wrong")
        for name in names:
            assert first[name] != second[name]


def test_the_same_results_give_the_same_figures(tmp_path: Path) -> None:
    first = drawn(rents(80, IMPORTANCES, CURVES), tmp_path / "first")
    assert first == drawn(rents(80, IMPORTANCES, CURVES), tmp_path / "second")


@pytest.mark.parametrize("classes", [2, 12, 40])
def test_any_number_of_classes_is_drawn(tmp_path: Path, classes: int) -> None:
    names = tuple(f"class number {number}" for number in range(classes))
    spec = ModelSpec("m", (Number("x", "", 0, 1),), Classes(names))
    actual = np.arange(classes)
    report = evaluate(default_measure(spec), np.eye(classes), actual)
    assert sorted(drawn(FigureData(spec, report, {}, np.eye(classes), actual, {}), tmp_path)) == (
        OF_CLASSES
    )


def test_many_importances_and_one_epoch_are_drawn(tmp_path: Path) -> None:
    many = {f"input number {number}": number / 100 for number in range(60)}
    files = drawn(flowers([0, 1, 2, 0, 1, 2], many, {"train_loss": [1.0]}), tmp_path)
    assert len(files) == 4


def test_a_nan_in_a_curve_does_not_fail(tmp_path: Path) -> None:
    files = drawn(flowers([0, 1, 2, 0, 1, 2], None, {"train_loss": [1.0, np.nan]}), tmp_path)
    assert "learning_curves.png" in files


def test_constant_values_are_drawn(tmp_path: Path) -> None:
    spec = ModelSpec("m", (Number("x", "", 0, 1),), Quantity("y"))
    predictions, actual = np.full((5, 3), 7.0), np.full(5, 7.0)
    report = evaluate(default_measure(spec), predictions, actual)
    assert sorted(drawn(FigureData(spec, report, {}, predictions, actual, {}), tmp_path)) == (
        OF_QUANTITIES
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("rows", [slice(3), slice(None)])
def test_non_finite_predictions_do_not_fail(tmp_path: Path, value: float, rows: slice) -> None:
    predictions = np.repeat(np.arange(30.0)[:, None], 3, axis=1)
    predictions[rows] = value
    actual = np.arange(30.0)
    data = FigureData(
        RENTS, evaluate(default_measure(RENTS), predictions, actual), {}, predictions, actual, {}
    )
    assert sorted(drawn(data, tmp_path)) == OF_QUANTITIES


NAMES = ("$x^{2$", "n" * 54, "n" * 53 + "m", "a\nb\x1b[31m", "_hidden", "花弁")


def test_names_of_any_length_and_characters_are_drawn_without_a_warning(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        count = len(NAMES)
        spec = ModelSpec("m", (Number("x", "", 0, 1),), Classes(NAMES))
        actual = np.arange(count)
        report = evaluate(default_measure(spec), np.eye(count), actual)
        importances = dict(zip(NAMES, np.linspace(0, 1, count)))
        data = FigureData(spec, report, importances, np.eye(count), actual, {})
        assert len(drawn(data, tmp_path / "classes")) == 3
        for name in NAMES:
            spec = ModelSpec("m", (Number("x", "", 0, 1),), Quantity(name))
            predictions, actual = np.full((5, 3), 7.0), np.arange(5.0)
            report = evaluate(default_measure(spec), predictions, actual)
            drawn(FigureData(spec, report, {}, predictions, actual, {}), tmp_path / "quantity")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("petal_width", "petal_width"),
        ("n" * LONGEST_LABEL, "n" * 24),
        ("n" * 25, "n" * 23 + "…"),
        ("a\nb\x1b[0m\x00", "a b [0m "),
        ("花弁 $x$", "花弁 $x$"),
    ],
)
def test_a_label_is_one_short_line(name: str, label: str) -> None:
    assert short_label(name) == label


def test_a_plot_is_one_element_with_unique_ids_and_the_colours_of_the_page() -> None:
    plot = figures.importances(FLOWERS.importances, "accuracy")
    assert plot.svg.startswith("<svg ")
    assert plot.svg.rstrip().endswith("</svg>")
    ids = re.findall(r'\bid="([^"]+)"', plot.svg)
    assert ids
    assert [each for each in ids if not each.startswith("importance-")] == []
    assert "var(--main)" in plot.svg
    assert "var(--ink)" in plot.svg
    assert plot.alt.startswith("Permutation importance: petal_length 0.300; petal_width 0.150")


def test_names_are_always_drawn_as_text() -> None:
    svg = figures.drift({f'<b> id="x" {COLOURS["ink"]}': 0.3, "$x^{2$ & 花\n": 0.1}).svg
    assert f'&lt;b&gt; id="x" {COLOURS["ink"]}' in svg
    assert "$x^{2$ &amp; 花 " in svg


def test_long_names_are_truncated() -> None:
    assert f">{'n' * 23}…<" in figures.importances({"n" * 40: 0.1}, "r2").svg


def test_only_the_largest_are_drawn() -> None:
    plot = figures.importances({f"input {number:03}": number / 100 for number in range(60)}, "r2")
    assert plot.alt.count(";") == MOST_ROWS - 1
    assert "input 059" in plot.svg
    assert "input 039" not in plot.svg
    assert "20 most important of 60 inputs" in plot.caption


def test_sampled_points_are_marked_as_sampled() -> None:
    values = np.linspace(0, 1, 3 * MOST_POINTS)
    predictions = np.stack([values, values - 0.1, values + 0.1], axis=1)
    report = RegressionReport(values, predictions, 0.9, Score("r2", 1.0, (1.0, 1.0)))
    plot = figures.residuals(report, "rent")
    assert plot.svg.count("<use ") < MOST_POINTS + 100
    assert "2,000 of 6,000 rows are drawn." in plot.caption
    assert isinstance(HOMES.report, RegressionReport)
    assert "are drawn" not in figures.residuals(HOMES.report, "rent").caption


def test_curves_of_many_rows_are_thinned_but_keep_their_ends() -> None:
    rng = np.random.default_rng(0)
    actual = rng.integers(0, 2, 20_000)
    predictions = np.stack([1 - actual, actual], axis=1) + rng.normal(0, 2, (20_000, 2))
    for draw in (figures.roc, figures.precision_recall):
        plot = draw(predictions, actual, {"_yes": 1})
        assert len(plot.svg) < 40_000
        assert "_yes 0." in plot.alt
        assert "  _yes</text>" in plot.svg


def test_the_difference_shows_its_margin() -> None:
    assert FLOWERS.comparison is not None
    plot = figures.difference(FLOWERS.comparison, 0.05)
    assert "var(--alarm)" in plot.svg
    assert "The dashed line is the margin, −0.05." in plot.caption
    assert plot.caption.startswith("Difference of accuracy with its 90 % interval")


def test_slices_show_the_score_of_all_rows_and_the_margin_below_it() -> None:
    plot = figures.slices(FLOWERS.slices, "roc_auc", 0.9, 0.15)
    assert plot.alt.startswith("roc_auc of 4 slices. The worst: petal_length is low 0.700; ")
    assert "The line is the score of all rows. The dashed line is 0.15 below it." in plot.caption
    assert "var(--alarm)" in plot.svg
    assert ">roc_auc<" in plot.svg


def test_importing_the_module_imports_no_slow_library() -> None:
    module = "infrastructure.reporting.figures"
    code = f"import sys, {module}; print({{'scipy', 'matplotlib'}} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("threshold", "values", "line"),
    [
        (0.2, "At 0.2: precision 0.750; recall 1.000; cost per row 0.200.", "dashed line is the"),
        (None, "At 0.5: precision 1.000; recall 0.333; cost per row 2.000.", "dotted line is at"),
        (0.95, "At 0.95: recall 0.000; cost per row 3.000.", "dashed line is the"),
    ],
)
def test_precision_recall_and_cost_are_those_of_the_threshold(
    threshold: float | None, values: str, line: str
) -> None:
    shares = np.array([0.1, 0.2, 0.2, 0.4, 0.9], np.float32)
    actual, costs = np.array([0, 0, 1, 1, 1]), np.array([[0.0, 1.0], [5.0, 0.0]])
    output = Classes(("no", "yes"), threshold=threshold)
    plot = figures.thresholds(np.column_stack([1 - shares, shares]), actual, output, costs)
    assert values in plot.caption and line in plot.caption
    assert "threshold of the probability of yes" in plot.svg
    first = Classes(("yes", "no"), positive="yes", threshold=threshold)
    turned = figures.thresholds(
        np.column_stack([shares, 1 - shares]), 1 - actual, first, costs[::-1, ::-1]
    )
    assert turned.caption == plot.caption


def test_the_confidence_of_a_threshold_is_that_of_the_predicted_class(tmp_path: Path) -> None:
    spec = ModelSpec("m", SPEC.inputs, Classes(("no", "yes"), threshold=0.2))
    predictions, actual = np.array([[0.75, 0.25], [0.9, 0.1]]), np.array([1, 0])
    report = evaluate(default_measure(spec), predictions, actual)
    decided = drawn(FigureData(spec, report, {}, predictions, actual, {}), tmp_path)
    plain = ModelSpec("m", SPEC.inputs, Classes(("no", "yes")))
    other = drawn(FigureData(plain, report, {}, predictions, actual, {}), tmp_path)
    assert decided["confidence.png"] != other["confidence.png"]
