"""Keras networks as scikit-learn estimators: Keras's wrappers with a seed and early stopping.

Import ``keras`` from this module, which silences TensorFlow: it writes to the terminal on import,
whatever its settings are.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split

from domain.data.split_keys import SplitKeys
from shared.paths import ROOT
from shared.quiet import silenced

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # silences the log after the import
os.environ.setdefault("KERAS_HOME", str(ROOT / ".keras"))  # by default it is in the home folder
os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # overrides ~/.keras/keras.json
# pylint: disable=wrong-import-position
with silenced():
    import keras
    import tensorflow

    tensorflow.config.list_physical_devices()  # else it warns about a missing GPU later
tensorflow.get_logger().setLevel("ERROR")  # it warns about retracing during cross-validation

__all__ = ["KerasClassifier", "KerasRegressor", "keras", "listed"]


class _EarlyStoppingMixin(BaseEstimator):
    """Adds a seed, early stopping and complete clones.

    Args:
        model: returns a compiled network from ``X``, ``y`` and `model_kwargs`; it gets training
            rows only, so layers can be adapted to them.
        warm_start: as in Keras.
        model_kwargs: further arguments of `model`.
        fit_kwargs: arguments of Keras's ``fit``, such as ``epochs`` and ``batch_size``.
        patience: training stops after so many epochs without a better validation loss; the weights
            of the best epoch are kept.
        valid_share: share of the rows that are used for validation.
        random_state: seed of the validation rows, weights, shuffling and dropout. Keras seeds the
            whole process, so fitting also seeds ``random`` and ``numpy.random``.

    Attributes:
        history_: metrics of each epoch, by Keras's names.
    """

    fit_kwargs: Any
    history_: Any

    def __init__(
        self,
        model: Callable[..., Any],
        warm_start: bool = False,
        model_kwargs: Mapping[str, Any] | None = None,
        fit_kwargs: Mapping[str, Any] | None = None,
        patience: int = 10,
        valid_share: float = 0.2,
        random_state: int = 0,
    ) -> None:
        super().__init__(model, warm_start, model_kwargs, fit_kwargs)
        self.patience = patience
        self.valid_share = valid_share
        self.random_state = random_state

    def __sklearn_clone__(self) -> Self:
        # Keras's own clone drops fit_kwargs
        return type(self)(**copy.deepcopy(self.get_params(deep=False)))

    def fit(
        self, rows: np.ndarray, target: np.ndarray, keys: SplitKeys | None = None, **kwargs: Any
    ) -> Self:
        """Fit on rows of shape (n_rows, width) and a target of shape (n_rows,).

        Args:
            keys: of the rows, if the rows for validation must follow time or group.
        """
        strata, encoded_target = self._encode_target(target)
        if keys is not None:
            values = [None] * len(rows) if strata is None else strata.tolist()
            training, validation = keys.early_stopping(values, self.valid_share, self.random_state)
        else:
            training, validation = train_test_split(
                np.arange(len(rows)),
                test_size=self.valid_share,
                stratify=strata,
                random_state=self.random_state,
            )
        keras.utils.set_random_seed(self.random_state)
        original = self.fit_kwargs
        self.fit_kwargs = {"verbose": 0, **(original or {})}
        stop = keras.callbacks.EarlyStopping(patience=self.patience, restore_best_weights=True)
        callbacks = kwargs.get("callbacks", self.fit_kwargs.get("callbacks"))
        kwargs["callbacks"] = [*listed(callbacks), stop]
        try:
            validation_data = rows[validation], encoded_target[validation]
            super().fit(rows[training], target[training], validation_data=validation_data, **kwargs)
        finally:
            self.fit_kwargs = original  # Keras's wrapper writes its arguments into it
        self.history_ = self.history_.history  # pickling the callback would pickle its model too
        return self

    def _network_outputs(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self.model_.predict(rows, verbose=0))


class KerasClassifier(_EarlyStoppingMixin, keras.wrappers.SKLearnClassifier):
    """Keras's classifier, for a network with a softmax output of one unit per class."""

    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        """Probability of each class, float32 of shape (n_rows, n_classes)."""
        return self._network_outputs(rows)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """The most probable class of each row, shape (n_rows,)."""
        return np.asarray(self.classes_[self._network_outputs(rows).argmax(axis=1)])

    def _encode_target(self, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        classes, codes = np.unique(target, return_inverse=True)
        return codes, np.eye(len(classes), dtype=np.float32)[codes]


class KerasRegressor(_EarlyStoppingMixin, keras.wrappers.SKLearnRegressor):
    """Keras's regressor, for a network with one output."""

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """float32 of shape (n_rows,)."""
        return self._network_outputs(rows).reshape(-1)

    def _encode_target(self, target: np.ndarray) -> tuple[None, np.ndarray]:
        return None, np.reshape(target, (-1, 1))


def listed(callbacks: Any) -> list[Any]:
    """Callbacks as a list; Keras also accepts a single callback or None."""
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
