"""Keras networks as scikit-learn estimators: Keras's wrappers, and what these leave to their user.

Take ``keras`` from here: TensorFlow, whatever it is told, writes to the terminal when it is imported.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from sklearn.model_selection import train_test_split

from shared.quiet import silenced

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # what it writes after the import
os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # whatever ~/.keras/keras.json says
# pylint: disable=wrong-import-position
with silenced():
    import keras
    import tensorflow

    tensorflow.config.list_physical_devices()  # else it complains of a missing GPU later

__all__ = ["KerasClassifier", "KerasRegressor", "keras"]


class _StoppedNetwork:
    """Training with a seed and an early stop, and clones that are whole.

    Args:
        model: gives a compiled network from ``X``, ``y`` and `model_kwargs`; it sees training rows
            only, so layers can be adapted to them.
        warm_start: as in Keras.
        model_kwargs: further arguments of `model`.
        fit_kwargs: arguments of Keras's ``fit``, such as ``epochs`` and ``batch_size``.
        patience: epochs without a better loss on validation rows after which training ends; the
            weights of the best epoch are kept.
        valid_share: share of the rows that are set apart for validation.
        random_state: seed of the validation rows, weights, shuffling and dropout. Keras's seeds are
            the process's, so fitting sets those of ``random`` and ``numpy.random`` too.

    Attributes:
        history_: figures of each epoch, by Keras's names.
    """

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
        return type(self)(**copy.deepcopy(self.get_params(deep=False)))  # Keras's loses fit_kwargs

    def fit(self, X: np.ndarray, y: np.ndarray, **kwargs: Any) -> Self:
        """Fit on rows of shape (n_rows, width) and a target of shape (n_rows,)."""
        strata, answers = self._as_learned(y)
        learn, check = train_test_split(
            np.arange(len(X)),
            test_size=self.valid_share,
            stratify=strata,
            random_state=self.random_state,
        )
        keras.utils.set_random_seed(self.random_state)
        given, self.fit_kwargs = self.fit_kwargs, {"verbose": 0, **(self.fit_kwargs or {})}
        stop = keras.callbacks.EarlyStopping(patience=self.patience, restore_best_weights=True)
        kwargs["callbacks"] = [*kwargs.get("callbacks", self.fit_kwargs.get("callbacks", ())), stop]
        try:
            super().fit(X[learn], y[learn], validation_data=(X[check], answers[check]), **kwargs)
        finally:
            self.fit_kwargs = given  # Keras's wrapper writes its arguments into it
        self.history_ = self.history_.history  # the callback would be pickled with its model
        return self

    def _answers(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.model_.predict(X, verbose=0))


class KerasClassifier(_StoppedNetwork, keras.wrappers.SKLearnClassifier):
    """Keras's classifier, for a network with a softmax of one output per class."""

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Probability of each class, float32 of shape (n_rows, n_classes)."""
        return self._answers(X)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The most probable class of each row, shape (n_rows,)."""
        return np.asarray(self.classes_[self._answers(X).argmax(axis=1)])

    def _as_learned(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        classes, codes = np.unique(y, return_inverse=True)
        return codes, np.eye(len(classes), dtype=np.float32)[codes]


class KerasRegressor(_StoppedNetwork, keras.wrappers.SKLearnRegressor):
    """Keras's regressor, for a network with one output."""

    def predict(self, X: np.ndarray) -> np.ndarray:
        """float32 of shape (n_rows,)."""
        return self._answers(X).reshape(-1)

    def _as_learned(self, y: np.ndarray) -> tuple[None, np.ndarray]:
        return None, np.reshape(y, (-1, 1))
