"""The figures of a training run are drawn as PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from application.ports import FigureData
from domain.evaluation.metrics import ClassificationReport
from infrastructure.reporting.matplotlib_figures import draw_figures

CLASSES = ("setosa", "versicolor", "virginica")
IMPORTANCES = {"petal_width": 0.6, "petal_length": 0.4}
ALL_FIGURES = ["confidence.png", "confusion_matrix.png", "feature_importance.png"]


def data(importances: dict[str, float], actual: list[int]) -> FigureData:
    """Six hold-out rows that are all taken for the class of their number modulo 3."""
    predicted = np.arange(6) % 3
    return FigureData(
        CLASSES,
        ClassificationReport.of(np.array(actual), predicted, 3),
        importances,
        np.eye(3)[predicted] * 0.7 + 0.1,
        np.array(actual),
    )


@pytest.mark.parametrize(
    ("importances", "actual", "figures"),
    [
        (IMPORTANCES, [0, 1, 2, 0, 1, 1], ALL_FIGURES),
        (IMPORTANCES, [0, 1, 2, 0, 1, 2], ALL_FIGURES),  # all right
        (IMPORTANCES, [1, 2, 0, 1, 2, 0], ALL_FIGURES),  # all wrong
        ({}, [0, 1, 2, 0, 1, 1], ALL_FIGURES[:2]),  # a model that knows no importances
    ],
)
def test_each_figure_is_a_png_file(
    tmp_path: Path, importances: dict[str, float], actual: list[int], figures: list[str]
) -> None:
    draw_figures(data(importances, actual), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == figures
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(content) > 1000


def test_figures_of_other_results_differ(tmp_path: Path) -> None:
    for name, actual in (("right", [0, 1, 2, 0, 1, 2]), ("wrong", [1, 2, 0, 1, 2, 0])):
        (tmp_path / name).mkdir()
        draw_figures(data(IMPORTANCES, actual), tmp_path / name)
    for name in ("confusion_matrix.png", "confidence.png"):
        assert (tmp_path / "right" / name).read_bytes() != (tmp_path / "wrong" / name).read_bytes()
