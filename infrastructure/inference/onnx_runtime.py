"""Classifiers run by ONNX Runtime."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

# read when the library is loaded: without it, it keeps usage data and an identity of the device
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# pylint: disable=wrong-import-position
import onnxruntime

from application.ports import Classifier


def load_onnx(path: Path, threads: int = 1) -> Classifier:
    """A classifier from a file.

    Args:
        path: an ONNX model whose second output holds the probabilities.
        threads: threads for one call; small models are fastest with one.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    outputs = [session.get_outputs()[1].name]

    def classify(rows: np.ndarray) -> np.ndarray:
        """float32 (n_rows, n_features) → float32 (n_rows, n_classes)."""
        probabilities: np.ndarray = session.run(outputs, {name: rows})[0]
        return probabilities

    return classify
