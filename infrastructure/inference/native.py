"""Models that have no ONNX form, served as they are; nothing is unpickled."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from application.ports import Model
from domain.models.contract import ModelSpec

TRUSTED = ("domain.estimators.conformal.ConformalRegressor",)  # beside scikit-learn's own types


def load_native(path: Path, spec: ModelSpec) -> Model:
    """A model from a file that skops has written."""
    # pylint: disable-next=import-outside-toplevel  # only in images of such models
    import skops.io

    estimator = skops.io.load(path, trusted=list(TRUSTED))
    answers = estimator.predict_proba if spec.classes else estimator.predict_interval

    def answer(rows: np.ndarray) -> np.ndarray:
        """Encoded rows → float32 (n_rows, n_answers)."""
        return np.asarray(answers(rows), dtype=np.float32)

    return answer
