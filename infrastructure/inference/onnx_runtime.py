"""Models run by ONNX Runtime."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

# set before the import: otherwise ONNX Runtime collects usage data and a device identifier
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# pylint: disable=wrong-import-position
import onnxruntime

from application.ports.model import Model
from domain.contract import ModelSpec
from domain.errors import PackageError


def load_onnx(path: Path, spec: ModelSpec, threads: int = 1) -> Model:
    """A model from a file.

    Args:
        path: an ONNX model with one input, float32 (n_rows, width) or strings (n_rows, 1), and the
            output ``probabilities``, or one for each of the contract's `output_columns`; further
            outputs are ignored.
        threads: threads per call; small models are fastest with one.

    Raises:
        PackageError: it cannot be loaded, or lacks an output.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # waiting threads must not spin: other processes need the cores
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has no common base for what it raises
        raise PackageError(f"ONNX Runtime cannot load {path}: {error}") from error
    name = session.get_inputs()[0].name
    wanted = ("probabilities",) if spec.classes else spec.output_columns
    present = [output.name for output in session.get_outputs()]
    if not set(wanted) <= set(present):
        raise PackageError(
            f"{path} has the outputs {', '.join(present)}, expected {', '.join(wanted)}"
        )

    def predict(rows: np.ndarray) -> np.ndarray:
        """Encoded rows → float32 (n_rows, n_outputs)."""
        parts: list[np.ndarray] = session.run(wanted, {name: rows})
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    return predict
