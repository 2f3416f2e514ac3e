"""Training and export of the estimators of one library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from domain.contract import ModelSpec

CurveReport = Callable[[Mapping[str, float], int], None]
"""Told figures of an epoch of training that has ended, by name, and its number from 0."""


class Framework(Protocol):
    """How the estimators of one library are trained and exported."""

    def fit(
        self, estimator: Any, rows: np.ndarray, target: np.ndarray, report: CurveReport
    ) -> None:
        """Fit on encoded rows; where the library learns in epochs, each is reported."""

    def export(self, estimator: Any, spec: ModelSpec, path: Path) -> None:
        """Write `path` as ONNX: input ``inputs``; output ``probabilities``, or for a regression
        ``prediction``, ``lower`` and ``upper``.

        Raises:
            ExportError: it cannot be exported; the message says why.
        """

    def save(self, estimator: Any, spec: ModelSpec, path: Path) -> None:
        """Write `path` so that the estimator itself can be served, without running any code that
        the file holds.

        Raises:
            ExportError: it cannot; the message says why.
        """
