"""Figures of a training run, drawn with matplotlib."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from application.ports import FigureData


def draw_figures(data: FigureData, folder: Path) -> None:
    """Write confusion_matrix.png, feature_importance.png and confidence.png into `folder`."""
    # pylint: disable-next=import-outside-toplevel  # slow to import, and only training draws
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4.2))
    axes = figure.add_subplot()
    counts = data.report.confusion
    axes.imshow(counts, cmap="Blues", vmin=0)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if count > counts.max() / 2 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour)
    ticks = range(len(data.classes))
    axes.set(
        xlabel="predicted",
        ylabel="actual",
        xticks=ticks,
        yticks=ticks,
        xticklabels=data.classes,
        yticklabels=data.classes,
        title=f"Hold-out accuracy {data.report.accuracy:.3f} ({data.report.rows} rows)",
    )
    figure.savefig(folder / "confusion_matrix.png", dpi=100, bbox_inches="tight")

    if data.importances:
        figure = Figure(figsize=(5, 3))
        axes = figure.add_subplot()
        pairs = sorted(data.importances.items(), key=lambda pair: pair[1])
        axes.barh([name for name, _ in pairs], [value for _, value in pairs])
        axes.set(xlabel="mean decrease in impurity", title="Feature importance")
        figure.savefig(folder / "feature_importance.png", dpi=100, bbox_inches="tight")

    figure = Figure(figsize=(5, 3))
    axes = figure.add_subplot()
    right = data.probabilities.argmax(axis=1) == data.actual
    confidence = data.probabilities.max(axis=1)
    axes.hist(
        [confidence[right], confidence[~right]],
        bins=np.linspace(1 / len(data.classes), 1, 15).tolist(),
        stacked=True,
        label=["right", "wrong"],
    )
    axes.set(xlabel="confidence", ylabel="hold-out rows", title="Confidence of the predictions")
    axes.legend()
    figure.savefig(folder / "confidence.png", dpi=100, bbox_inches="tight")
