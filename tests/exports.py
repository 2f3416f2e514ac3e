"""Helpers for exported networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


def ignore(_figures: Mapping[str, float], _epoch: int) -> None:
    """Ignore the metrics of an epoch."""


def run_onnx(path: Path, rows: np.ndarray) -> np.ndarray:
    """Predictions of an ONNX model for rows of shape (n_rows, …)."""
    session = onnxruntime.InferenceSession(path)
    return np.asarray(session.run(None, {"inputs": rows})[0])


def shapes(values: Any) -> dict[str, list[int]]:
    """Names and shapes of the inputs or outputs of a graph; a dynamic axis is 0."""
    return {each.name: [d.dim_value for d in each.type.tensor_type.shape.dim] for each in values}
