"""PyTorch networks as scikit-learn estimators: skorch with a seed and optional mixed precision."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from skorch.dataset import ValidSplit
from torch.utils.data import Subset

from domain.data.split_keys import SplitKeys
from domain.errors import ConfigError


class _SeededNetwork(NeuralNet):
    """Adds a seed and mixed precision to skorch.

    Args:
        random_state: seed of weights, shuffling and dropout. Two fits on one CPU are equal.
        mixed_precision: whether to train in bfloat16 where PyTorch considers it safe. It pays on a
            GPU with bfloat16 units. Predictions are always computed in float32.
        args, kwargs: arguments of skorch.
    """

    train_split: Any

    def __init__(
        self, *args: Any, random_state: int = 0, mixed_precision: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.random_state = random_state
        self.mixed_precision = mixed_precision

    def fit(
        self,
        rows: np.ndarray,
        target: np.ndarray,
        keys: SplitKeys | None = None,
        **fit_params: Any,
    ) -> Self:
        """Fit on float32 of shape (n_rows, width); PyTorch's global random state is restored.

        Args:
            keys: of the rows, if what a `ValidSplit` sets apart must follow time or group.
        """
        devices = range(torch.cuda.device_count())
        original = self.train_split
        if keys is not None and isinstance(original, ValidSplit):
            self.train_split = self._split_by(keys, target, original)
        try:
            with _interruptible(), torch.random.fork_rng(devices=devices):
                torch.manual_seed(self.random_state)
                super().fit(rows, target, **fit_params)
        finally:
            self.train_split = original
        return self

    def _split_by(
        self, keys: SplitKeys, target: np.ndarray, split: ValidSplit
    ) -> Callable[..., tuple[Subset, Subset]]:
        """What takes the place of skorch's split, with its share."""
        if not isinstance(split.cv, int | float):
            raise ConfigError("data.split needs a train_split with a share or a number of folds")
        share = split.cv if split.cv < 1 else 1 / split.cv
        strata = np.asarray(target).tolist() if split.stratified else [None] * len(target)
        fit, valid = keys.early_stopping(strata, share, self.random_state)
        return lambda dataset, *_, **__: (Subset(dataset, fit), Subset(dataset, valid))

    def infer(self, x: Any, **fit_params: Any) -> torch.Tensor:
        """A forward pass, float32."""
        mixed = self.mixed_precision and self.module_.training
        device = torch.device(self.device).type
        with (
            # by default, convolutions on a GPU use TF32: the exported model would differ
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
            torch.autocast(device, torch.bfloat16, enabled=mixed),
        ):
            outputs: torch.Tensor = super().infer(x, **fit_params)
        return outputs.float()


class TorchClassifier(_SeededNetwork, NeuralNetClassifier):
    """skorch's classifier; with CrossEntropyLoss as criterion, the network returns logits."""


class TorchRegressor(_SeededNetwork, NeuralNetRegressor):
    """skorch's regressor for a network with one output, with a target of shape (n_rows,).

    The network may return shape (n_rows, 1) or (n_rows,).
    """

    def fit(
        self,
        rows: np.ndarray,
        target: np.ndarray,
        keys: SplitKeys | None = None,
        **fit_params: Any,
    ) -> Self:
        """Fit on float32 of shape (n_rows, width) and numbers of shape (n_rows,)."""
        column = np.asarray(target, np.float32).reshape(-1, 1)
        return super().fit(rows, column, keys, **fit_params)

    def infer(self, x: Any, **fit_params: Any) -> torch.Tensor:
        """A forward pass, float32 of shape (n_rows, 1)."""
        outputs = super().infer(x, **fit_params)
        return outputs.reshape(len(outputs), -1)  # a loss would broadcast (n,) and (n, 1) to (n, n)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """float32 of shape (n_rows,)."""
        return np.asarray(super().predict(rows)).reshape(-1)


class _Interrupted(BaseException):
    """The user has pressed Ctrl-C."""


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C in the block end the training with KeyboardInterrupt.

    skorch's callbacks raise KeyboardInterrupt to stop early. It would treat Ctrl-C as an early stop
    and continue with a half-trained network.
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
    """``cuda`` if PyTorch finds a GPU, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def gains_from_mixed_precision(device: str) -> bool:
    """Whether the device has units for bfloat16 (NVIDIA: compute capability 8.0 and later)."""
    return device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
