"""Plots of a validation as SVG, which takes its colours from the page."""

# pylint: disable=import-outside-toplevel  # matplotlib is slow to import, and only reports draw

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from io import StringIO
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from domain.evaluation.calibration import Calibration
from domain.evaluation.comparison import Comparison
from domain.evaluation.metrics import ClassificationReport, RegressionReport, wilson_interval
from domain.evaluation.slices import SliceReport
from infrastructure.reporting.labels import LONGEST_LABEL, literal_text, short_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CLASSES = 25  # of a readable confusion matrix
MOST_POINTS = 2_000
MOST_CURVES = 10
MOST_ROWS = 20
_POINTS_A_CURVE = 200
_LETTER = 0.075  # inches
_WIDE = 5.5  # inches

# placeholders for CSS variables, which matplotlib does not support
_INK, _MUTED, _LINE, _MAIN, _ALARM = (f"#0102{number:02x}" for number in range(5))
_VARIABLES = {_INK: "ink", _MUTED: "muted", _LINE: "line", _MAIN: "main", _ALARM: "alarm"}
_CURVES = (
    *("#3b78c2", "#d1622b", "#2f8f5b", "#b04fa3", "#8a7a1f"),
    *("#c23b55", "#1f8a99", "#7a68c9", "#7d7d7d", "#9a6a3a"),
)
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "",  # fixed, so that the same results give the same file
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "grid.color": _LINE,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
}
_P = ParamSpec("_P")


@dataclass(frozen=True)
class Plot:
    """A plot to embed in a page.

    Attributes:
        name: unique in the page; the ids in the SVG start with it.
        svg: an SVG element whose colours are CSS variables such as ``var(--ink)``.
        alt: text alternative for those who cannot see the plot.
    """

    name: str
    svg: str
    alt: str
    caption: str


def _styled(draw: Callable[_P, Plot]) -> Callable[_P, Plot]:
    @wraps(draw)
    def styled(*args: _P.args, **kwargs: _P.kwargs) -> Plot:
        with literal_text(_STYLE):  # the page's fonts have more letters than matplotlib's
            return draw(*args, **kwargs)

    return styled


@_styled
def confusion(report: ClassificationReport, classes: Sequence[str]) -> Plot:
    """Confusion matrix of up to MOST_CLASSES classes."""
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    names, counts, side = [short_label(name) for name in classes], report.confusion, len(classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    left = _label_width(names) + 0.3
    cell = min(1.0, max(0.36, (5 - left) / side))
    turned = _label_width(names) - 0.3 > cell
    below = 0.5 + (0.75 * (_label_width(names) - 0.3) if turned else 0.2)
    width, height = max(5.0, left + cell * side + 0.2), cell * side + below + 0.2
    figure, axes = _canvas(width, height, left, below, right=width - left - cell * side)
    cells, colours = [], []
    for row, column in np.argwhere(counts):
        cells.append(Rectangle((column - 0.5, row - 0.5), 1, 1))
        colour = _MAIN if row == column else _ALARM
        colours.append(to_rgba(colour, 0.1 + 0.5 * shares[row, column]))
        axes.text(column, row, f"{counts[row, column]}", ha="center", va="center")
    axes.add_collection(PatchCollection(cells, facecolors=colours, linewidths=0))
    axes.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5), xlabel="predicted", ylabel="actual")
    slant: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(side), names, **(slant if turned else {}))
    axes.set_yticks(range(side), names)
    axes.tick_params(length=0)
    return _plot(
        "confusion",
        figure,
        f"Confusion matrix of {side} classes: {report.correct} of {report.rows} rows are on the "
        "diagonal.",
        "Rows are actual classes, columns predicted ones. The stronger the colour, the larger the "
        "share of the actual class.",
    )


@_styled
def reliability(calibration: Calibration) -> Plot:
    """Accuracy by confidence, the probability of the predicted class."""
    figure, axes = _canvas(5, 3.6, 0.7, 0.6)
    correct = np.rint(calibration.accuracy * calibration.rows).astype(int)
    limits = np.array(
        [wilson_interval(int(hits), int(rows)) for hits, rows in zip(correct, calibration.rows)]
    )
    lowest = max(0.0, min(calibration.confidence.min(), limits.min()) - 0.05)
    axes.plot([lowest, 1], [lowest, 1], color=_MUTED, linestyle="--", linewidth=1)
    axes.vlines(calibration.confidence, *limits.T, color=_MAIN, linewidth=1.5)
    axes.plot(calibration.confidence, calibration.accuracy, "o-", color=_MAIN, linewidth=1)
    axes.set(xlim=(lowest, 1.02), ylim=(lowest, 1.02), xlabel="confidence", ylabel="accuracy")
    axes.grid()
    return _plot(
        "reliability",
        figure,
        f"Reliability diagram of {len(correct)} bins: the expected calibration error is "
        f"{calibration.error:.3f}.",
        "Reliability diagram: bins with equal numbers of rows and 95 % intervals. On the dashed "
        "line, accuracy equals confidence.",
    )


@_styled
def roc(probabilities: np.ndarray, actual: np.ndarray, drawn: Mapping[str, int]) -> Plot:
    """Receiver operating characteristic of each of these classes against the rest."""
    from sklearn.metrics import roc_auc_score, roc_curve

    figure, axes = _curves_canvas(len(drawn))
    axes.plot([0, 1], [0, 1], color=_MUTED, linestyle="--", linewidth=1)
    areas = {}
    for colour, (name, number) in zip(_CURVES, drawn.items()):
        of_class = actual == number
        false, true, _ = roc_curve(of_class, probabilities[:, number])
        areas[name] = float(roc_auc_score(of_class, probabilities[:, number]))
        axes.plot(
            *_thinned(false, true), color=colour, label=f"{areas[name]:.3f}  {short_label(name)}"
        )
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    _legend_below(figure, axes)
    return _plot(
        "roc",
        figure,
        f"ROC curves; areas: {_listed(areas)}.",
        "ROC curves, with the area under each.",
    )


@_styled
def precision_recall(
    probabilities: np.ndarray, actual: np.ndarray, drawn: Mapping[str, int]
) -> Plot:
    """Precision by recall of each of these classes against the rest."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    figure, axes = _curves_canvas(len(drawn))
    means = {}
    for colour, (name, number) in zip(_CURVES, drawn.items()):
        of_class = actual == number
        precision, recall, _ = precision_recall_curve(of_class, probabilities[:, number])
        means[name] = float(average_precision_score(of_class, probabilities[:, number]))
        axes.step(
            *_thinned(recall, precision),
            color=colour,
            label=f"{means[name]:.3f}  {short_label(name)}",
        )
    axes.set(xlabel="recall", ylabel="precision")
    _legend_below(figure, axes)
    return _plot(
        "precision-recall",
        figure,
        f"Precision-recall curves; average precision: {_listed(means)}.",
        "Precision-recall curves, with the average precision of each.",
    )


@_styled
def predictions(report: RegressionReport, name: str) -> Plot:
    """Actual against predicted values, with the intervals."""
    rows = _sample(report.rows)
    rows = rows[np.argsort(report.predictions[rows, 0])]
    (predicted, lower, upper), actual = report.predictions[rows].T, report.actual[rows]
    inside = (actual >= lower) & (actual <= upper)
    figure, axes = _canvas(5, 4, 0.9, 0.6)
    axes.fill_between(predicted, lower, upper, color=_MAIN, alpha=0.15, linewidth=0)
    axes.plot(predicted, predicted, color=_MUTED, linestyle="--", linewidth=1)
    axes.plot(predicted[inside], actual[inside], "o", color=_MAIN, markersize=4, alpha=0.7)
    axes.plot(predicted[~inside], actual[~inside], "o", color=_ALARM, markersize=4)
    axes.set(xlabel=f"predicted {short_label(name)}", ylabel=f"actual {short_label(name)}")
    return _plot(
        "predictions",
        figure,
        f"Actual against predicted values: {report.covered:.1%} are inside their interval.",
        f"Actual against predicted values. The band is the {report.coverage:.0%} interval; values "
        f"outside it have the other colour.{_sampled(report.rows)}",
    )


@_styled
def residuals(report: RegressionReport, name: str) -> Plot:
    """Residuals by predicted value."""
    rows = _sample(report.rows)
    figure, axes = _canvas(5, 4, 0.9, 0.6)
    axes.axhline(0, color=_MUTED, linestyle="--", linewidth=1)
    axes.plot(
        report.predictions[rows, 0],
        report.residuals[rows],
        "o",
        color=_MAIN,
        markersize=4,
        alpha=0.7,
    )
    axes.set(xlabel=f"predicted {short_label(name)}", ylabel="actual − predicted")
    return _plot(
        "residuals",
        figure,
        f"Residuals: mean {report.residuals.mean():.3g}, mean of the absolute values "
        f"{report.mean_absolute_error:.3g}.",
        f"Residuals: a good model leaves no pattern in them.{_sampled(report.rows)}",
    )


@_styled
def difference(comparison: Comparison, margin: float | None) -> Plot:
    """The loss reduction against the champion, with its interval."""
    figure, axes = _canvas(5, 1.4, 0.3, 0.6)
    axes.axvline(0, color=_MUTED, linewidth=1)
    if margin is not None:
        axes.axvline(-margin, color=_ALARM, linestyle="--", linewidth=1.5)
    axes.hlines(0, comparison.low, comparison.high, color=_MAIN, linewidth=2)
    axes.plot(comparison.difference, 0, "o", color=_MAIN, markersize=7)
    axes.set(ylim=(-1, 1), xlabel="loss reduction (champion's mean loss − challenger's)")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    limit = "" if margin is None else f" The dashed line is the margin, −{margin:g}."
    return _plot(
        "difference",
        figure,
        f"Loss reduction {comparison.difference:.3f}, 90 % interval {comparison.low:.3f} to "
        f"{comparison.high:.3f}.{limit}",
        "Loss reduction with its 90 % interval: right of 0 the challenger is better, left of 0 it "
        f"is worse.{limit}",
    )


@_styled
def slices(reports: Sequence[SliceReport], overall: float | None, margin: float | None) -> Plot:
    """Mean loss of the worst slices, with intervals."""
    shown = reports[:MOST_ROWS]
    labels = [f"{short_label(each.name, LONGEST_LABEL + 8)} ({each.rows})" for each in shown]
    figure, axes = _rows_canvas(labels)
    lines = ""
    if overall is not None:
        axes.axvline(overall, color=_MUTED, linewidth=1)
        lines = " The line is the mean loss of all rows."
        if margin is not None:
            axes.axvline(overall + margin, color=_ALARM, linestyle="--", linewidth=1)
            lines += f" The dashed line is {margin:g} above it."
    places = np.arange(len(shown))
    axes.hlines(places, [s.low for s in shown], [s.high for s in shown], color=_MAIN, linewidth=2)
    axes.plot([each.loss for each in shown], places, "o", color=_MAIN)
    axes.set_xlabel("mean loss")
    worst = _listed({each.name: each.loss for each in shown[:3]})
    return _plot(
        "slices",
        figure,
        f"Mean loss of {len(shown)} slices. The worst: {worst}.{lines}",
        f"Mean loss with 95 % intervals; the number of rows is in brackets.{lines}",
    )


@_styled
def importances(increases: Mapping[str, float]) -> Plot:
    """The inputs with the largest permutation importance."""
    shown = dict(sorted(increases.items(), key=lambda pair: -pair[1])[:MOST_ROWS])
    figure, axes = _rows_canvas([short_label(name) for name in shown])
    axes.barh(range(len(shown)), list(shown.values()), color=_MAIN, height=0.6)
    axes.axvline(0, color=_MUTED, linewidth=1)
    axes.set_xlabel("increase in mean loss")
    return _plot(
        "importance",
        figure,
        f"Permutation importance: {_listed(shown)}.",
        f"The {len(shown)} most important of {len(increases)} inputs: by how much the mean loss "
        "increases when an input is shuffled.",
    )


@_styled
def drift(scores: Mapping[str, float]) -> Plot:
    """The distributions that drifted most."""
    shown = dict(sorted(scores.items(), key=lambda pair: -pair[1])[:MOST_ROWS])
    figure, axes = _rows_canvas([short_label(name) for name in shown])
    colours = [_ALARM if score > 0.25 else _MAIN for score in shown.values()]
    axes.barh(range(len(shown)), list(shown.values()), color=colours, height=0.6)
    axes.axvline(0.1, color=_MUTED, linestyle=":", linewidth=1.2)
    axes.axvline(0.25, color=_ALARM, linestyle="--", linewidth=1.2)
    axes.set(xlim=(0, max(0.3, 1.05 * max(shown.values()))), xlabel="population stability index")
    return _plot(
        "drift",
        figure,
        f"Population stability index: {_listed(shown)}.",
        f"The {len(shown)} of {len(scores)} distributions that drifted most: below 0.1 (dotted) is "
        "stable, above 0.25 (dashed) is drift. With fewer than about 200 rows, chance alone can "
        "exceed 0.1.",
    )


def _canvas(
    width: float, height: float, left: float, below: float, right: float = 0.2
) -> tuple[Figure, Axes]:
    """A figure of this size, and these margins left of, below and right of its axes, in inches."""
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width, height))
    above = 0.15
    axes = figure.add_axes(
        (
            left / width,
            below / height,
            1 - (left + right) / width,
            1 - (below + above) / height,
        )
    )
    return figure, axes


def _rows_canvas(labels: Sequence[str]) -> tuple[Figure, Axes]:
    """A figure with one row per label, the first on top."""
    height = 0.75 + 0.28 * max(len(labels), 2)
    figure, axes = _canvas(5, height, _label_width(labels), 0.6)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    return figure, axes


def _curves_canvas(curves: int) -> tuple[Figure, Axes]:
    """Square axes from 0 to 1, with space for a legend below."""
    legend = 0.25 * -(-curves // 2)
    figure, axes = _canvas(5, 4 + legend, 0.7, 0.7 + legend)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid()
    return figure, axes


def _legend_below(figure: Figure, axes: Axes) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0.02, 0, 0.96, 0.1),
        bbox_transform=figure.transFigure,
        ncols=2,
        mode="expand",
        borderaxespad=0,
    )


def _plot(name: str, figure: Figure, alt: str, caption: str) -> Plot:
    """The figure as an SVG element; its ids start with `name`, so that a page can have several."""
    file = StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", metadata=no_metadata)
    text = file.getvalue()
    # change tags only: text from users is between tags, and has &lt; for <
    svg = re.sub(r"<[^>]+>", lambda tag: _adapt_tag(name, tag[0]), text[text.index("<svg") :])
    if figure.get_figwidth() > _WIDE:  # scrolls on narrow screens
        svg = svg.replace("<svg ", '<svg class="wide" ', 1)
    return Plot(name, svg, alt, caption)


def _adapt_tag(name: str, tag: str) -> str:
    """An SVG tag with prefixed ids and references, and with colours as CSS variables."""
    tag = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", tag)
    for colour, variable in _VARIABLES.items():
        tag = tag.replace(colour, f"var(--{variable})")
    return tag


def _thinned(*curves: np.ndarray) -> list[np.ndarray]:
    """Curves of shape (n_points,), reduced to a limited number of points that keeps both ends."""
    points = len(curves[0])
    kept = np.unique(np.linspace(0, points - 1, min(points, _POINTS_A_CURVE)).astype(int))
    return [curve[kept] for curve in curves]


def _sample(rows: int) -> np.ndarray:
    """Positions of at most MOST_POINTS of this many rows."""
    if rows <= MOST_POINTS:
        return np.arange(rows)
    return np.random.default_rng(0).choice(rows, MOST_POINTS, replace=False)


def _sampled(rows: int) -> str:
    return f" {MOST_POINTS:,} of {rows:,} rows are drawn." if rows > MOST_POINTS else ""


def _listed(values: Mapping[str, float]) -> str:
    return "; ".join(f"{name} {value:.3f}" for name, value in values.items())


def _label_width(labels: Sequence[str]) -> float:
    """Inches that the longest of these labels needs next to the axes."""
    return 0.3 + _LETTER * max(map(len, labels))
