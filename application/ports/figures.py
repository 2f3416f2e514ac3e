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
    """What the figures of a training run show.

    Attributes:
        answers: the model's answers on the hold-out, shape (n_holdout, n_answers).
        actual: class numbers or values of the hold-out, shape (n_holdout,).
        curves: figures by epoch, by name; empty where the model does not learn in epochs.
    """

    spec: ModelSpec
    report: Report
    importances: Mapping[str, float]
    answers: np.ndarray
    actual: np.ndarray
    curves: Mapping[str, Sequence[float]]


class DrawFigures(Protocol):
    """Draws the figures of a training run."""

    def __call__(self, data: FigureData, folder: Path) -> None:
        """Write PNG files into `folder`."""
