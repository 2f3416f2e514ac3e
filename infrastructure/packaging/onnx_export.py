"""Export of scikit-learn estimators to ONNX with skl2onnx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType

from domain.models.contract import ModelSpec


def export_onnx(estimator: Any, spec: ModelSpec, path: Path) -> None:
    """Write a model that takes float32 (n_rows, n_features) and gives labels and probabilities.

    Raises:
        skl2onnx.common.exceptions.MissingShapeCalculator: skl2onnx has no converter for it.
    """
    model = to_onnx(
        estimator,
        initial_types=[("inputs", FloatTensorType([None, len(spec.features)]))],
        options={"zipmap": False},
    )
    path.write_bytes(model.SerializeToString())
