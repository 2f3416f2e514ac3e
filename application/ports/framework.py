"""Training and export of the estimators of one library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from domain.contract import ModelSpec
from domain.data.split_keys import SplitKeys

CurveReport = Callable[[Mapping[str, float], int], None]
"""Takes the metrics of a finished epoch, by name, and its number from 0."""


class Framework(Protocol):
    """How the estimators of one library are trained and exported."""

    def fit(
        self,
        estimator: Any,
        rows: np.ndarray,
        target: np.ndarray,
        report: CurveReport,
        keys: SplitKeys | None = None,
    ) -> None:
        """Fit on encoded rows; if the library learns in epochs, report each one.

        Args:
            keys: of the rows, if what is set apart in training must follow time or group.
        """

    def check_export(self, estimator: Any) -> None:
        """Check that an unfitted estimator can be exported to ONNX, as far as is known before.

        Raises:
            ExportError: a part of it cannot be exported; the message says what to do.
        """

    def export(self, estimator: Any, spec: ModelSpec, path: Path) -> None:
        """Write `path` as ONNX: input ``inputs``; output ``probabilities``, or for a regression
        ``prediction``, ``lower`` and ``upper``.

        Raises:
            ExportError: the estimator cannot be exported; the message says why.
        """

    def check_save(self, estimator: Any) -> None:
        """Check that an unfitted estimator can be served as it is, as far as is known before.

        Raises:
            ExportError: it cannot; the message says what to do.
        """

    def save(self, estimator: Any, spec: ModelSpec, path: Path) -> None:
        """Write `path` so that the estimator itself can be served, without running any code from
        the file.

        Raises:
            ExportError: the estimator cannot be saved; the message says why.
        """
