"""The model and the responses of hand-written peers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

CLASSES = ("setosa", "versicolor", "virginica")


def package_file(name: str) -> str:
    """Path of a file in the served package."""
    return os.path.join(os.environ["MODEL_PACKAGE"], name)


def load_onnx() -> Callable[[list[list[float]]], np.ndarray]:
    """The ONNX model: rows of (n_rows, 4) → float32 (n_rows, 3), with one thread per call."""
    import onnxruntime  # pylint: disable=import-outside-toplevel  # not with scikit-learn's peers

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        package_file("model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name

    def probabilities(rows: list[list[float]]) -> np.ndarray:
        outputs: np.ndarray = session.run(
            ["probabilities"], {name: np.asarray(rows, dtype=np.float32)}
        )[0]
        return outputs

    return probabilities


def objects(probabilities: np.ndarray) -> list[dict[str, Any]]:
    """The response object of each row of (n_rows, 3)."""
    best = probabilities.argmax(axis=1).tolist()
    return [
        {
            "prediction": CLASSES[code],
            "confidence": row[code],
            "probabilities": dict(zip(CLASSES, row)),
        }
        for code, row in zip(best, probabilities.tolist())
    ]
