"""Figures of a training run, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from application.ports.figures import FigureData
from domain.evaluation.metrics import ClassificationReport, RegressionReport
from infrastructure.reporting.labels import literal_text, short_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_figures(data: FigureData, folder: Path) -> None:
    """Write PNG files into `folder`.

    confusion_matrix and confidence of a classifier; predictions and residuals of a regression;
    feature_importance and learning_curves if there are any. Long names are shortened.
    """
    with literal_text():
        if isinstance(data.report, ClassificationReport):
            _draw_confusion(data.report, data.spec.classes, folder)
            _draw_confidence(data, folder)
        else:
            name = short_label(data.spec.output.name)
            _draw_predictions(data.report, name, folder)
            _draw_residuals(data.report, name, folder)
        if data.importances:
            _draw_importances(data, folder)
        if data.curves:
            _draw_curves(data, folder)


def _draw_confusion(report: ClassificationReport, classes: Sequence[str], folder: Path) -> None:
    names = [short_label(name) for name in classes]
    side = max(0.0, 0.4 * (len(names) - 5))
    label_width = _label_width(names)
    turned = label_width - 0.5 > (5 + side - label_width) / len(names)
    below = label_width if turned else 0.6
    figure, axes = _axes(5 + side, 3.6 + side + below, names, below)
    counts = report.confusion
    axes.imshow(counts, cmap="Blues", vmin=0)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if count > counts.max() / 2 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour)
    axes.set(
        xlabel="predicted",
        ylabel="actual",
        title=f"Hold-out accuracy {report.accuracy:.3f} ({report.rows} rows)",
    )
    axes.set_xticks(range(len(names)), names, rotation=90 if turned else 0)
    axes.set_yticks(range(len(names)), names)
    figure.savefig(folder / "confusion_matrix.png")


def _draw_confidence(data: FigureData, folder: Path) -> None:
    figure, axes = _axes(5, 3, ["100"])
    correct = data.predictions.argmax(axis=1) == data.actual
    confidence = data.predictions.max(axis=1)
    axes.hist(
        [confidence[correct], confidence[~correct]],
        bins=np.linspace(1 / len(data.spec.classes), 1, 15).tolist(),
        stacked=True,
        label=["correct", "wrong"],
    )
    axes.set(xlabel="confidence", ylabel="hold-out rows", title="Confidence of the predictions")
    axes.legend()
    figure.savefig(folder / "confidence.png")


def _draw_predictions(report: RegressionReport, name: str, folder: Path) -> None:
    figure, axes = _axes(5, 4.2, ["1000"])
    order = np.argsort(report.predictions[:, 0])
    predicted, lower, upper = report.predictions[order].T
    axes.fill_between(predicted, lower, upper, alpha=0.2, label=f"{report.coverage:.0%} interval")
    axes.plot(predicted, predicted, linewidth=1)
    axes.scatter(predicted, report.actual[order], s=12, label="hold-out rows")
    axes.set(
        xlabel=f"predicted {name}",
        ylabel=f"actual {name}",
        title=f"R² {report.score:.3f}, {report.covered:.0%} in the interval ({report.rows} rows)",
    )
    axes.legend()
    figure.savefig(folder / "predictions.png")


def _draw_residuals(report: RegressionReport, name: str, folder: Path) -> None:
    figure, axes = _axes(5, 3, ["1000"])
    axes.axhline(0, linewidth=1)
    axes.scatter(report.predictions[:, 0], report.residuals, s=12)
    axes.set(xlabel=f"predicted {name}", ylabel="actual − predicted", title="Residuals")
    figure.savefig(folder / "residuals.png")


def _draw_importances(data: FigureData, folder: Path) -> None:
    pairs = sorted(data.importances.items(), key=lambda pair: pair[1])
    names = [short_label(name) for name, _ in pairs]
    figure, axes = _axes(5, max(3.0, 0.25 * len(names)), names)
    axes.barh(range(len(names)), [value for _, value in pairs])
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="mean decrease in impurity", title="Feature importance")
    figure.savefig(folder / "feature_importance.png")


def _draw_curves(data: FigureData, folder: Path) -> None:
    figure, axes = _axes(5, 3, ["1000"])
    for name, values in data.curves.items():
        axes.plot(range(1, len(values) + 1), values, label=name.replace("_", " "))
    axes.set(xlabel="epoch", title="Learning curves")
    axes.legend()
    figure.savefig(folder / "learning_curves.png")


def _label_width(labels: Sequence[str]) -> float:
    """Inches that the longest of these labels needs next to the axes."""
    return 0.5 + 0.09 * max(map(len, labels))


def _axes(
    width: float, height: float, labels: Sequence[str], below: float = 0.6
) -> tuple[Figure, Axes]:
    """A figure of this size in inches, with space for these labels on the left.

    matplotlib's own layout engines would draw everything twice to find that space.
    """
    # pylint: disable-next=import-outside-toplevel  # slow to import, and only training draws
    from matplotlib.figure import Figure as NewFigure

    left = _label_width(labels)
    figure = NewFigure(figsize=(width, height), dpi=100)
    axes = figure.add_axes(
        (left / width, below / height, 1 - (left + 0.2) / width, 1 - (below + 0.4) / height)
    )
    return figure, axes
