"""PyTorch networks as scikit-learn estimators: skorch's, seeded, in mixed precision on request."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor


class _SeededNetwork(NeuralNet):
    """What skorch leaves to its user.

    Args:
        random_state: seed of weights, shuffling and dropout. Two fits on one CPU are equal.
        mixed_precision: whether to train in bfloat16 where PyTorch holds it safe. It pays on a GPU
            with units for it. Answers are always computed in float32.
        args, kwargs: skorch's.
    """

    def __init__(
        self, *args: Any, random_state: int = 0, mixed_precision: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.random_state = random_state
        self.mixed_precision = mixed_precision

    def fit(self, rows: np.ndarray, target: np.ndarray, **fit_params: Any) -> Self:
        """Fit on float32 of shape (n_rows, width); the seed does not reach beyond it."""
        devices = range(torch.cuda.device_count())
        with _interruptible(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.random_state)
            super().fit(rows, target, **fit_params)
        return self

    def infer(self, x: Any, **fit_params: Any) -> torch.Tensor:
        """One step forward, float32."""
        mixed = self.mixed_precision and self.module_.training
        device = torch.device(self.device).type
        with (
            # by default convolutions on a GPU round to TF32, and the exported model would differ
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
            torch.autocast(device, torch.bfloat16, enabled=mixed),
        ):
            answers: torch.Tensor = super().infer(x, **fit_params)
        return answers.float()


class TorchClassifier(_SeededNetwork, NeuralNetClassifier):
    """skorch's classifier; the network gives logits where the criterion is CrossEntropyLoss."""


class TorchRegressor(_SeededNetwork, NeuralNetRegressor):
    """skorch's regressor for a network with one output, with a target of shape (n_rows,).

    The network may answer (n_rows, 1) or (n_rows,).
    """

    def fit(self, rows: np.ndarray, target: np.ndarray, **fit_params: Any) -> Self:
        """Fit on float32 of shape (n_rows, width) and numbers of shape (n_rows,)."""
        column = np.asarray(target, np.float32).reshape(-1, 1)
        return super().fit(rows, column, **fit_params)

    def infer(self, x: Any, **fit_params: Any) -> torch.Tensor:
        """One step forward, float32 of shape (n_rows, 1)."""
        answers = super().infer(x, **fit_params)
        return answers.reshape(len(answers), -1)  # a loss would pair (n,) with (n, 1) to (n, n)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """float32 of shape (n_rows,)."""
        return np.asarray(super().predict(rows)).reshape(-1)


class _Interrupted(BaseException):
    """Somebody has pressed Ctrl-C."""


@contextmanager
def _interruptible() -> Iterator[None]:
    """Within it Ctrl-C ends the training and raises KeyboardInterrupt behind it.

    skorch's callbacks raise KeyboardInterrupt to stop early, so it takes every one for that and
    would go on with a network that is half trained.
    """
    handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not handled or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise _Interrupted

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except _Interrupted:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def found_device() -> str:
    """``cuda`` where PyTorch finds a GPU, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def gains_from_mixed_precision(device: str) -> bool:
    """Whether the device has units for bfloat16 (NVIDIA: compute capability 8.0 and later)."""
    return device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
