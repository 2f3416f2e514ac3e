"""Figures of a training run, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from application.ports import FigureData

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_figures(data: FigureData, folder: Path) -> None:
    """Write confusion_matrix.png, feature_importance.png and confidence.png into `folder`."""
    classes = data.classes
    figure, axes = _axes(5, 4.2, classes)
    counts = data.report.confusion
    axes.imshow(counts, cmap="Blues", vmin=0)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if count > counts.max() / 2 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour)
    axes.set(
        xlabel="predicted",
        ylabel="actual",
        title=f"Hold-out accuracy {data.report.accuracy:.3f} ({data.report.rows} rows)",
    )
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes)
    figure.savefig(folder / "confusion_matrix.png")

    if data.importances:
        figure, axes = _axes(5, 3, list(data.importances))
        pairs = sorted(data.importances.items(), key=lambda pair: pair[1])
        axes.barh([name for name, _ in pairs], [value for _, value in pairs])
        axes.set(xlabel="mean decrease in impurity", title="Feature importance")
        figure.savefig(folder / "feature_importance.png")

    figure, axes = _axes(5, 3, ["100"])
    right = data.probabilities.argmax(axis=1) == data.actual
    confidence = data.probabilities.max(axis=1)
    axes.hist(
        [confidence[right], confidence[~right]],
        bins=np.linspace(1 / len(classes), 1, 15).tolist(),
        stacked=True,
        label=["right", "wrong"],
    )
    axes.set(xlabel="confidence", ylabel="hold-out rows", title="Confidence of the predictions")
    axes.legend()
    figure.savefig(folder / "confidence.png")


def _axes(width: float, height: float, labels: Sequence[str]) -> tuple[Figure, Axes]:
    """A figure of so many inches with room for these labels on the left.

    matplotlib's own layouts draw everything twice to find that room.
    """
    # pylint: disable-next=import-outside-toplevel  # slow to import, and only training draws
    from matplotlib.figure import Figure as NewFigure

    left = 0.5 + 0.08 * max(map(len, labels))
    figure = NewFigure(figsize=(width, height), dpi=100)
    axes = figure.add_axes(
        (left / width, 0.6 / height, 1 - (left + 0.2) / width, 1 - (0.6 + 0.4) / height)
    )
    return figure, axes
