"""Loads the served model of a package, in ONNX or in skops' format."""

from __future__ import annotations

from pathlib import Path

from application.ports.model import Model
from domain.contract import ModelSpec
from infrastructure.inference.native import load_native
from infrastructure.inference.onnx_runtime import load_onnx


def load_served(path: Path, spec: ModelSpec, threads: int = 1) -> Model:
    """A model from ``model.onnx`` or ``model.skops``.

    Args:
        threads: threads per call of an ONNX model.
    """
    return load_onnx(path, spec, threads) if path.suffix == ".onnx" else load_native(path, spec)
