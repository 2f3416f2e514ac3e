"""Figures: of a training run as PNG files, of a validation as SVG for its report.

scikit-learn's displays draw curves and prediction errors. They have no intervals, and their
confusion matrix is an image, whose colours cannot follow the page; those are drawn here.
"""

# pylint: disable=import-outside-toplevel  # matplotlib is slow to import, and only figures need it

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from application.ports.figures import FigureData
from domain.contract import Classes
from domain.evaluation.intervals import wilson_interval
from domain.evaluation.measures import format_score
from domain.evaluation.metrics import ClassificationReport, RegressionReport
from domain.evaluation.threshold import cost_score, counts_at
from shared.wording import inflected

if TYPE_CHECKING:  # SciPy, too, is slow to import: half a second of each training
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from domain.evaluation.calibration import Calibration
    from domain.evaluation.comparison import Comparison
    from domain.evaluation.slices import SliceReport

LONGEST_LABEL = 24
MOST_CLASSES = 25  # of a readable confusion matrix
MOST_POINTS = 2_000
MOST_CURVES = 10
MOST_ROWS = 20
COLOURS = {  # of a light page; in SVG they are CSS variables, which a dark page sets to others
    "ink": "#1d2329",
    "muted": "#5b6670",
    "line": "#dfe4e8",
    "main": "#2a6fb0",
    "alarm": "#b3362b",
}
_INK, _MUTED, _LINE, _MAIN, _ALARM = COLOURS.values()
CURVES = (
    *("#3b78c2", "#d1622b", "#2f8f5b", "#b04fa3", "#8a7a1f"),
    *("#c23b55", "#1f8a99", "#7a68c9", "#7d7d7d", "#9a6a3a"),
)
_LETTER = 0.08  # inches
_WIDE = 4.5  # inches
_STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a $ in a name is a $
    "path.simplify_threshold": 0.5,  # pixels; curves of many rows would make a large file
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.15,
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


@contextmanager
def plot_style() -> Iterator[None]:
    """The style of all plots, for the block or the decorated function."""
    from matplotlib import rc_context

    with rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a page has more fonts than matplotlib
        yield


def short_label(name: str, longest: int = LONGEST_LABEL) -> str:
    """A name in one line, without characters that XML does not allow."""
    label = "".join(letter if letter.isprintable() else " " for letter in name)
    return label if len(label) <= longest else f"{label[:longest - 1]}…"


@plot_style()
def draw_figures(data: FigureData, folder: Path) -> None:
    """Write PNG files into `folder`.

    confusion_matrix and confidence of a classifier; predictions and residuals of a regression;
    feature_importance and learning_curves if there are any. Long names are shortened.
    """
    report = data.report
    drawn: dict[str, tuple[str, Figure]] = {}
    if isinstance(report, ClassificationReport):
        title = f"Hold-out {report.measure} {format_score(report.score)} ({report.rows} rows)"
        drawn["confusion_matrix"] = title, _confusion_figure(report, data.spec.classes)
        drawn["confidence"] = "Confidence of the predictions", _confidence_figure(data)
    else:
        name, rows = data.spec.output.name, sample_rows(report.rows)
        title = (
            f"{report.measure} {format_score(report.score)}, {report.covered:.0%} in the interval "
            f"({report.rows} rows)"
        )
        drawn["predictions"] = title, _errors_figure(report, name, rows, "actual_vs_predicted")
        drawn["residuals"] = "Residuals", _errors_figure(
            report, name, rows, "residual_vs_predicted"
        )
    if data.importances:
        figure, axes = _bars_figure(_largest(data.importances, None))
        axes.set_xlabel("mean decrease in impurity")
        drawn["feature_importance"] = "Feature importance", figure
    if data.curves:
        drawn["learning_curves"] = "Learning curves", _epochs_figure(data.curves)
    for file, (title, figure) in drawn.items():
        figure.axes[0].set_title(title)
        figure.savefig(folder / f"{file}.png", facecolor="white")


@plot_style()
def confusion(report: ClassificationReport, classes: Sequence[str]) -> Plot:
    """Confusion matrix of up to MOST_CLASSES classes."""
    return to_plot(
        "confusion",
        _confusion_figure(report, classes),
        f"Confusion matrix of {len(classes)} classes: {report.correct} of {report.rows} rows "
        f"{inflected(report.correct, 'is', 'are')} on the diagonal.",
        "Rows are actual classes, columns predicted ones. The stronger the colour, the larger the "
        "share of the actual class.",
    )


@plot_style()
def reliability(calibration: Calibration) -> Plot:
    """Accuracy by confidence, the probability of the most probable class."""
    figure, axes = new_axes(4, 3)
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
    return to_plot(
        "reliability",
        figure,
        f"Reliability diagram of {len(correct)} bins: the expected calibration error is "
        f"{calibration.error:.3f}.",
        "Reliability diagram: bins with equal numbers of rows and 95 % intervals. On the dashed "
        "line, accuracy equals confidence.",
    )


@plot_style()
def roc(probabilities: np.ndarray, actual: np.ndarray, drawn: Mapping[str, int]) -> Plot:
    """Receiver operating characteristic of each of these classes against the rest."""
    from sklearn.metrics import RocCurveDisplay

    draw = RocCurveDisplay.from_predictions
    figure, axes, areas = _curves_figure(draw, "roc_auc", probabilities, actual, drawn)
    axes.plot([0, 1], [0, 1], color=_MUTED, linestyle="--", linewidth=1)
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    return to_plot(
        "roc",
        figure,
        f"ROC curves; areas: {_listed(areas)}.",
        "ROC curves, with the area under each.",
    )


@plot_style()
def precision_recall(
    probabilities: np.ndarray, actual: np.ndarray, drawn: Mapping[str, int]
) -> Plot:
    """Precision by recall of each of these classes against the rest."""
    from sklearn.metrics import PrecisionRecallDisplay

    draw = PrecisionRecallDisplay.from_predictions
    figure, axes, means = _curves_figure(draw, "average_precision", probabilities, actual, drawn)
    axes.set(xlabel="recall", ylabel="precision")
    return to_plot(
        "precision-recall",
        figure,
        f"Precision-recall curves; average precision: {_listed(means)}.",
        "Precision-recall curves, with the average precision of each.",
    )


@plot_style()
def thresholds(
    probabilities: np.ndarray, actual: np.ndarray, output: Classes, costs: np.ndarray
) -> Plot:
    """Precision, recall and cost by decision threshold, of two classes.

    Args:
        costs: of each actual (row) and predicted class (column), shape (2, 2).
    """
    code, chosen = output.positive_code, output.threshold or 0.5
    # in float32, in which a threshold decides
    grid = np.unique(np.append(np.linspace(0, 1, 401)[1:-1], chosen).astype(np.float32))
    counts = counts_at(probabilities[:, code].astype(np.float32), actual == code, grid)
    tp, fp, fn, _ = counts
    with np.errstate(invalid="ignore"):  # no precision where no row is predicted positive
        shown = {"precision": tp / (tp + fp), "recall": tp / (tp + fn)}
    cost = -cost_score(costs, code)(*counts)
    figure, axes = new_axes(4.4, 2.2)
    below = figure.add_axes((0, -0.6, 1, 0.45))
    for (name, values), colour in zip(shown.items(), CURVES):
        axes.plot(grid, values, color=colour, label=name)
    below.plot(grid, cost, color=_MAIN)
    for each in (axes, below):
        each.axvline(chosen, color=_INK, linestyle="--" if output.threshold else ":", linewidth=1)
        each.set_xlim(0, 1)
        each.grid()
    axes.set_ylim(-0.02, 1.02)
    axes.tick_params(labelbottom=False)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    below.set(xlabel=f"threshold of the probability of {short_label(output.names[code])}")
    below.set(ylabel="cost per row", ylim=(min(0.0, cost.min()), None))
    at = int(np.searchsorted(grid, np.float32(chosen)))
    found = {name: float(values[at]) for name, values in {**shown, "cost per row": cost}.items()}
    values = _listed({name: value for name, value in found.items() if np.isfinite(value)})
    line = "The dashed line is the threshold." if output.threshold else "The dotted line is at 0.5."
    return to_plot(
        "thresholds",
        figure,
        f"Precision, recall and cost per row by threshold; at {chosen:g}: {values}.",
        f"Precision, recall and cost per row on the hold-out by decision threshold. {line} At "
        f"{chosen:g}: {values}.",
    )


@plot_style()
def predictions(report: RegressionReport, name: str) -> Plot:
    """Actual against predicted values, with the intervals."""
    return to_plot(
        "predictions",
        _errors_figure(report, name, sample_rows(report.rows), "actual_vs_predicted"),
        f"Actual against predicted values: {report.covered:.1%} are inside their interval.",
        f"Actual against predicted values. The band is the {report.coverage:.0%} interval; values "
        f"outside it have the other colour.{_sampled(report.rows)}",
    )


@plot_style()
def residuals(report: RegressionReport, name: str) -> Plot:
    """Residuals by predicted value."""
    return to_plot(
        "residuals",
        _errors_figure(report, name, sample_rows(report.rows), "residual_vs_predicted"),
        f"Residuals: mean {report.residuals.mean():.3g}, mean of the absolute values "
        f"{report.mean_absolute_error:.3g}.",
        "Residuals: a good model leaves no pattern in them. Those of values outside their interval "
        f"have the other colour.{_sampled(report.rows)}",
    )


@plot_style()
def difference(comparison: Comparison, margin: float | None) -> Plot:
    """The difference from the champion's score, with its interval."""
    figure, axes = new_axes(4.4, 0.65)
    axes.axvline(0, color=_MUTED, linewidth=1)
    if margin is not None:
        axes.axvline(-margin, color=_ALARM, linestyle="--", linewidth=1.5)
    axes.hlines(0, comparison.low, comparison.high, color=_MAIN, linewidth=2)
    axes.plot(comparison.difference, 0, "o", color=_MAIN, markersize=7)
    axes.set(ylim=(-1, 1), xlabel=f"difference of {comparison.measure} (challenger − champion)")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    limit = "" if margin is None else f" The dashed line is the margin, −{margin:.3g}."
    return to_plot(
        "difference",
        figure,
        f"Difference {format_score(comparison.difference)}, 90 % interval "
        f"{format_score(comparison.low)} to {format_score(comparison.high)}.{limit}",
        f"Difference of {comparison.measure} with its 90 % interval: right of 0 the challenger is "
        f"better, left of 0 it is worse.{limit}",
    )


@plot_style()
def slices(
    reports: Sequence[SliceReport], measure: str, overall: float, margin: float | None
) -> Plot:
    """Score of the worst slices, with intervals."""
    shown = reports[:MOST_ROWS]
    labels = [f"{short_label(each.name, LONGEST_LABEL + 8)} ({each.rows})" for each in shown]
    figure, axes = rows_axes(labels)
    axes.axvline(overall, color=_MUTED, linewidth=1)
    lines = " The line is the score of all rows."
    if margin is not None:
        axes.axvline(overall - margin, color=_ALARM, linestyle="--", linewidth=1)
        lines += f" The dashed line is {margin:.3g} below it."
    places = np.arange(len(shown))
    axes.hlines(places, [s.low for s in shown], [s.high for s in shown], color=_MAIN, linewidth=2)
    axes.plot([each.score for each in shown], places, "o", color=_MAIN)
    axes.set_xlabel(measure)
    worst = _listed({each.name: each.score for each in shown[:3]})
    return to_plot(
        "slices",
        figure,
        f"{measure} of {len(shown)} slices. The worst: {worst}.{lines}",
        f"{measure} with 95 % intervals; the number of rows is in brackets.{lines}",
    )


@plot_style()
def importances(decreases: Mapping[str, float], measure: str) -> Plot:
    """The inputs with the largest permutation importance."""
    shown = _largest(decreases)
    figure, axes = _bars_figure(shown)
    axes.axvline(0, color=_MUTED, linewidth=1)
    axes.set_xlabel(f"decrease of {measure}")
    return to_plot(
        "importance",
        figure,
        f"Permutation importance: {_listed(shown)}.",
        f"The {len(shown)} most important of {len(decreases)} inputs: by how much {measure} "
        "decreases when an input is shuffled.",
    )


@plot_style()
def drift(scores: Mapping[str, float]) -> Plot:
    """The distributions that drifted most."""
    shown = _largest(scores)
    figure, axes = _bars_figure(shown, alarm=0.25)
    axes.axvline(0.1, color=_MUTED, linestyle=":", linewidth=1.2)
    axes.axvline(0.25, color=_ALARM, linestyle="--", linewidth=1.2)
    axes.set(xlim=(0, max(0.3, 1.05 * max(shown.values()))), xlabel="population stability index")
    return to_plot(
        "drift",
        figure,
        f"Population stability index: {_listed(shown)}.",
        f"The {len(shown)} of {len(scores)} distributions that drifted most: below 0.1 (dotted) is "
        "stable, above 0.25 (dashed) is drift. With fewer than about 200 rows, chance alone can "
        "exceed 0.1.",
    )


def _confusion_figure(report: ClassificationReport, classes: Sequence[str]) -> Figure:
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    names, counts, side = [short_label(name) for name in classes], report.confusion, len(classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell = min(1.0, max(0.36, 3.2 / side))
    figure, axes = new_axes(cell * side, cell * side)
    cells, colours = [], []
    for row, column in np.argwhere(counts):
        cells.append(Rectangle((column - 0.5, row - 0.5), 1, 1))
        colour = _MAIN if row == column else _ALARM
        colours.append(to_rgba(colour, 0.1 + 0.5 * shares[row, column]))
        axes.text(column, row, f"{counts[row, column]}", ha="center", va="center")
    axes.add_collection(PatchCollection(cells, facecolors=colours, linewidths=0))
    axes.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5), xlabel="predicted", ylabel="actual")
    slant: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    turned = _LETTER * max(map(len, names)) > cell
    axes.set_xticks(range(side), names, **(slant if turned else {}))
    axes.set_yticks(range(side), names)
    axes.tick_params(length=0)
    return figure


def _confidence_figure(data: FigureData) -> Figure:
    """A histogram of the probability of the predicted class, of correct and of wrong rows."""
    figure, axes = new_axes(4, 2.4)
    predicted = data.spec.decide(data.predictions)
    correct = predicted == data.actual
    confidence = data.predictions[np.arange(len(predicted)), predicted]
    lowest = min(1 / len(data.spec.classes), float(confidence.min()))
    axes.hist(
        [confidence[correct], confidence[~correct]],
        bins=np.linspace(lowest, 1, 15).tolist(),
        stacked=True,
        color=[_MAIN, _ALARM],
        label=["correct", "wrong"],
    )
    axes.set(xlabel="confidence", ylabel="hold-out rows")
    axes.legend()
    return figure


def _errors_figure(report: RegressionReport, name: str, rows: np.ndarray, kind: str) -> Figure:
    """Actual values or residuals of these rows; `kind` is that of PredictionErrorDisplay."""
    from matplotlib.ticker import AutoLocator
    from sklearn.metrics import PredictionErrorDisplay

    rows = rows[np.argsort(report.predictions[rows, 0])]
    drawable = np.where(np.isfinite(report.predictions), report.predictions, np.nan)
    (predicted, lower, upper), actual = drawable[rows].T, report.actual[rows]
    figure, axes = new_axes(4, 3.2)
    if kind == "actual_vs_predicted":
        band = axes.fill_between(predicted, lower, upper, color=_MAIN, alpha=0.15, linewidth=0)
        axes.legend([band], [f"{report.coverage:.0%} interval"], loc="upper left")
    outside = (actual < lower) | (actual > upper)
    PredictionErrorDisplay(y_true=actual, y_pred=predicted).plot(
        axes,
        kind=kind,
        scatter_kwargs={"color": np.where(outside, _ALARM, _MAIN), "s": 16, "alpha": 0.7},
        line_kwargs={"color": _MUTED, "linewidth": 1},
    )
    for axis in (axes.xaxis, axes.yaxis):  # the display has no round numbers
        axis.set_major_locator(AutoLocator())
    label = short_label(name)
    vertical = f"actual {label}" if kind == "actual_vs_predicted" else "actual − predicted"
    axes.set(xlabel=f"predicted {label}", ylabel=vertical)
    return figure


def _epochs_figure(curves: Mapping[str, Sequence[float]]) -> Figure:
    figure, axes = new_axes(4, 2.4)
    for name, values in curves.items():
        axes.plot(range(1, len(values) + 1), values, label=name.replace("_", " "))
    axes.set_xlabel("epoch")
    axes.legend()
    return figure


def _curves_figure(
    draw: Callable[..., Any],
    measure: str,
    probabilities: np.ndarray,
    actual: np.ndarray,
    drawn: Mapping[str, int],
) -> tuple[Figure, Axes, dict[str, float]]:
    """A curve for each class, drawn by a display, and the display's measure of each."""
    figure, axes = new_axes(3.8, 3.8)
    axes.set_prop_cycle(color=CURVES)
    measures = {}
    for name, number in drawn.items():
        display = draw(actual == number, probabilities[:, number], ax=axes)
        measures[name] = float(getattr(display, measure))
    for line, (name, value) in zip(axes.lines, measures.items()):
        line.set_label(f"{value:.3f}  {short_label(name)}")
    axes.grid()
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.15), ncols=2)
    return figure, axes, measures


def _bars_figure(values: Mapping[str, float], alarm: float = np.inf) -> tuple[Figure, Axes]:
    """A bar for each value; those above `alarm` have the other colour."""
    figure, axes = rows_axes([short_label(name) for name in values])
    colours = [_ALARM if value > alarm else _MAIN for value in values.values()]
    axes.barh(range(len(values)), list(values.values()), color=colours, height=0.6)
    return figure, axes


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with axes of this size in inches; saving it adds space for their labels."""
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width, height))
    return figure, figure.add_axes((0, 0, 1, 1))


def rows_axes(labels: Sequence[str]) -> tuple[Figure, Axes]:
    """A figure with one row per label, the first on top."""
    figure, axes = new_axes(3, 0.28 * max(len(labels), 2))
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    return figure, axes


def to_plot(name: str, figure: Figure, alt: str, caption: str) -> Plot:
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
    for variable, colour in COLOURS.items():
        tag = tag.replace(colour, f"var(--{variable})")
    return tag


def _largest(values: Mapping[str, float], most: int | None = MOST_ROWS) -> dict[str, float]:
    """The largest values, the largest first; all of them if `most` is None."""
    return dict(sorted(values.items(), key=lambda pair: -pair[1])[:most])


def sample_rows(rows: int, most: int = MOST_POINTS) -> np.ndarray:
    """Positions of at most so many of this many rows."""
    if rows <= most:
        return np.arange(rows)
    return np.random.default_rng(0).choice(rows, most, replace=False)


def _sampled(rows: int) -> str:
    return f" {MOST_POINTS:,} of {rows:,} rows are drawn." if rows > MOST_POINTS else ""


def _listed(values: Mapping[str, float]) -> str:
    return "; ".join(f"{name} {value:.3f}" for name, value in values.items())
