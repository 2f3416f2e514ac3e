"""Keras networks in Keras's scikit-learn wrappers: trained epoch by epoch, exported by Keras."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from application.ports.framework import CurveReport
from domain.contract import ModelSpec
from domain.data.split_keys import SplitKeys
from domain.errors import ExportError
from domain.estimators.fitting import fit_estimator
from domain.estimators.keras_network import keras, listed
from shared.quiet import silenced

_OPSET = 18


def fit(
    estimator: Any,
    rows: np.ndarray,
    target: np.ndarray,
    report: CurveReport,
    keys: SplitKeys | None = None,
) -> None:
    """Fit, and report losses and metrics at the end of each epoch."""
    original = estimator.fit_kwargs
    callbacks = [*listed((original or {}).get("callbacks")), _ReportEpochs(report)]
    estimator.fit_kwargs = {**(original or {}), "callbacks": callbacks}
    try:
        fit_estimator(estimator, rows, target, keys)
    finally:
        estimator.fit_kwargs = original


def export(estimator: Any, spec: ModelSpec, path: Path) -> None:
    """Write `path`: input ``inputs``, output ``probabilities`` or ``prediction``.

    Raises:
        ExportError: the estimator is not a Keras wrapper, or Keras cannot export the network.
    """
    network = getattr(estimator, "model_", None)
    if not isinstance(network, keras.Model):
        raise ExportError(
            f"cannot export {type(estimator).__name__} around a Keras network: move the "
            "preprocessing into the network"
        )
    name = "probabilities" if spec.classes else "prediction"
    tf2onnx = logging.getLogger("tf2onnx")
    level = tf2onnx.level
    tf2onnx.setLevel(logging.ERROR)
    try:
        with silenced(), warnings.catch_warnings(action="ignore"):
            network = deepcopy(network)
            for layer in _normalizations(network):  # or these become inputs of the ONNX model
                layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)
            inputs = keras.Input((spec.width,), name="inputs")
            keras.Model(inputs, {name: network(inputs)}).export(
                path,
                format="onnx",
                input_signature=[keras.InputSpec("float32", (None, spec.width), name="inputs")],
                opset_version=_OPSET,
                verbose=False,
            )
        onnx.checker.check_model(path)
    except Exception as error:  # tracing a network can raise anything
        lines = [
            line for line in re.sub(r"\x1b\[\d*m", "", f"{error}").splitlines() if line.strip()
        ]
        raise ExportError(f"Keras cannot export the network: {' '.join(lines[:2])}") from error
    finally:
        tf2onnx.setLevel(level)
    names = [item.name for item in onnx.load(path).graph.input]
    if names != ["inputs"]:
        raise ExportError(
            f"the network has tensors that are not weights: {', '.join(names[1:])}; turn them into "
            "weights or plain numbers"
        )


def _normalizations(network: Any) -> Iterator[Any]:
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            yield layer
        elif isinstance(layer, keras.Model):
            yield from _normalizations(layer)


class _ReportEpochs(keras.callbacks.Callback):
    """Reports the losses and metrics of each epoch."""

    def __init__(self, report: CurveReport) -> None:
        super().__init__()
        self.report = report

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Called by Keras."""
        figures = {}
        for name, value in (logs or {}).items():
            of = "valid" if name.startswith("val_") else "train"
            figures[f"{of}_{name.removeprefix('val_')}"] = float(value)
        self.report(figures, epoch)
