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
from domain.errors import ExportError
from shared.quiet import silenced

_OPSET = 18
_NAMES = {"valid_acc": "valid_accuracy"}  # skorch's → everyone's


def fit(estimator: Any, rows: np.ndarray, target: np.ndarray, report: CurveReport) -> None:
    """Fit, and report losses and scores of each epoch as soon as it has ended."""
    given = estimator.callbacks
    own = () if given in (None, "disable") else given
    estimator.callbacks = [*own, ("report", _Report(report))]
    try:
        estimator.fit(rows, target)
    finally:
        estimator.callbacks = given
        # pylint: disable-next=protected-access  # the public one does not know "disable"
        estimator._initialize_callbacks()  # else the report stays, and is pickled


def export(estimator: Any, spec: ModelSpec, path: Path) -> None:
    """Write `path`: input ``inputs``, output ``probabilities`` or ``prediction``.

    Raises:
        ExportError: it is no skorch network, or torch.onnx cannot export it.
    """
    if not isinstance(estimator, NeuralNet):
        raise ExportError(
            f"{type(estimator).__name__} around a PyTorch network cannot be exported: "
            "put the preprocessing into the network"
        )
    # pylint: disable-next=protected-access  # what predict_proba puts behind the network
    answers = _Answers(deepcopy(estimator.module_), estimator._get_predict_nonlinearity())
    try:
        with silenced(), warnings.catch_warnings(action="ignore"):
            torch.onnx.export(
                answers.cpu().eval(),
                (torch.zeros(2, spec.width),),  # a batch of one would be taken for a constant
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
    except Exception as error:  # a network can raise anything when it is traced
        cause: BaseException = error
        while cause.__cause__:  # torch.onnx wraps what the network raised in advice of many lines
            cause = cause.__cause__
        reason = f"{cause}".partition("\n")[0]
        raise ExportError(f"torch.onnx cannot export the network: {reason}") from error


class _Report(Callback):
    """Tells the figures of an epoch when it has ended."""

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


class _Answers(torch.nn.Module):
    """A network and what its estimator puts behind it."""

    def __init__(
        self, network: torch.nn.Module, behind: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        super().__init__()
        self.network = network
        self.behind = behind

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Answers to encoded rows, shape (n_rows, n_answers)."""
        answers = self.behind(self.network(inputs))
        return answers.reshape(answers.shape[0], -1)  # a regression's can be (n_rows,)
