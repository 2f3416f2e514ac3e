"""scikit-learn estimators: trained in one go, exported by skl2onnx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType

from application.ports import CurveReport
from domain.errors import ExportError
from domain.models.contract import ModelSpec, Text


def fit(estimator: Any, rows: np.ndarray, target: np.ndarray, _report: CurveReport) -> None:
    """Fit; there are no epochs to report."""
    estimator.fit(rows, target)


def export(estimator: Any, spec: ModelSpec, path: Path) -> None:
    """Write `path`: input ``inputs``, output ``probabilities`` or ``prediction``.

    Raises:
        ExportError: skl2onnx cannot convert it.
    """
    text = isinstance(spec.inputs[0], Text)
    inputs = StringTensorType([None, 1]) if text else FloatTensorType([None, spec.width])
    options = {id(estimator): {"zipmap": False}} if spec.classes else None
    try:
        model = to_onnx(estimator, initial_types=[("inputs", inputs)], options=options)
    except Exception as error:  # skl2onnx has no common base for what it raises
        raise ExportError(f"skl2onnx cannot export {type(estimator).__name__}: {error}") from error
    _rename_output(model.graph, "probabilities" if spec.classes else "prediction")
    path.write_bytes(model.SerializeToString())


def _rename_output(graph: Any, name: str) -> None:
    """Give the last output this name and make it the only one: labels follow from it."""
    del graph.output[:-1]
    former = graph.output[0].name
    graph.output[0].name = name
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [name if each == former else each for each in names]
