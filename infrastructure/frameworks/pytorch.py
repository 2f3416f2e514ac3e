"""PyTorch networks in skorch: trained epoch by epoch, exported by torch.onnx."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback

from application.ports.framework import CurveReport
from domain.contract import ModelSpec
from domain.data.split_keys import SplitKeys
from domain.errors import ExportError
from domain.estimators.fitting import fit_estimator
from shared.quiet import silenced

_OPSET = 18
_NAMES = {"valid_acc": "valid_accuracy"}  # skorch's → everyone's


def fit(
    estimator: Any,
    rows: np.ndarray,
    target: np.ndarray,
    report: CurveReport,
    keys: SplitKeys | None = None,
) -> None:
    """Fit, and report losses and scores at the end of each epoch."""
    original = estimator.callbacks
    callbacks = () if original in (None, "disable") else original
    estimator.callbacks = [*callbacks, ("report", _ReportEpochs(report))]
    try:
        fit_estimator(estimator, rows, target, keys)
    finally:
        estimator.callbacks = original
        # pylint: disable-next=protected-access  # the public method does not know "disable"
        estimator._initialize_callbacks()  # otherwise the report is kept and pickled


def export(estimator: Any, spec: ModelSpec, path: Path) -> None:
    """Write `path`: input ``inputs``, output ``probabilities`` or ``prediction``.

    Raises:
        ExportError: the estimator is not a skorch network, or torch.onnx cannot export it.
    """
    if not isinstance(estimator, NeuralNet):
        raise ExportError(
            f"cannot export {type(estimator).__name__} around a PyTorch network: move the "
            "preprocessing into the network"
        )
    # pylint: disable-next=protected-access  # what predict_proba applies to the network's output
    predictor = _Predictor(deepcopy(estimator.module_), estimator._get_predict_nonlinearity())
    try:
        with silenced(), warnings.catch_warnings(action="ignore"):
            torch.onnx.export(
                predictor.cpu().eval(),
                (torch.zeros(2, spec.width),),  # a batch of one would become a constant
                path,
                input_names=["inputs"],
                output_names=["probabilities" if spec.classes else "prediction"],
                dynamic_shapes=({0: torch.export.Dim("rows")},),
                opset_version=_OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        onnx.checker.check_model(path)
    except Exception as error:  # tracing a network can raise anything
        cause: BaseException = error
        while cause.__cause__:  # torch.onnx wraps the network's error in many lines of advice
            cause = cause.__cause__
        reason = f"{cause}".partition("\n")[0]
        raise ExportError(f"torch.onnx cannot export the network: {reason}") from error


class _ReportEpochs(Callback):
    """Reports the losses and scores of each epoch."""

    def __init__(self, report: CurveReport) -> None:
        self.report = report

    def on_epoch_end(self, net: NeuralNet, **_kwargs: Any) -> None:
        """Called by skorch."""
        figures = {
            _NAMES.get(name, name): float(value)
            for name, value in net.history[-1].items()
            if name.startswith(("train_", "valid_")) and isinstance(value, float)
        }
        self.report(figures, len(net.history) - 1)


class _Predictor(torch.nn.Module):
    """A network and the nonlinearity that its estimator applies to its output."""

    def __init__(
        self, network: torch.nn.Module, nonlinearity: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        super().__init__()
        self.network = network
        self.nonlinearity = nonlinearity

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Predictions for encoded rows, shape (n_rows, n_outputs)."""
        predictions = self.nonlinearity(self.network(inputs))
        return predictions.reshape(predictions.shape[0], -1)  # a regression's can be (n_rows,)
