"""Figures of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from domain.contract import ModelSpec
from domain.evaluation.metrics import Report


@dataclass(frozen=True)
class FigureData:
    """The data for the figures of a training run.

    Attributes:
        predictions: the model's predictions on the hold-out, shape (n_holdout, n_outputs).
        actual: class numbers or values of the hold-out, shape (n_holdout,).
        curves: metrics of each epoch, by name; empty if the model does not learn in epochs.
    """

    spec: ModelSpec
    report: Report
    importances: Mapping[str, float]
    predictions: np.ndarray
    actual: np.ndarray
    curves: Mapping[str, Sequence[float]]


class DrawFigures(Protocol):
    """Draws the figures of a training run."""

    def __call__(self, data: FigureData, folder: Path) -> None:
        """Write PNG files into `folder`."""
