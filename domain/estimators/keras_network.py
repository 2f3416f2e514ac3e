"""Keras networks as scikit-learn estimators: Keras's wrappers, and what these leave to their user.

Take ``keras`` from here: TensorFlow writes to the terminal when imported, whatever it is told.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split

from shared.paths import ROOT
from shared.quiet import silenced

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # what it writes after the import
os.environ.setdefault("KERAS_HOME", str(ROOT / ".keras"))  # else it writes into the home
os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # whatever ~/.keras/keras.json says
# pylint: disable=wrong-import-position
with silenced():
    import keras
    import tensorflow

    tensorflow.config.list_physical_devices()  # else it complains of a missing GPU later
tensorflow.get_logger().setLevel("ERROR")  # it warns of every few networks of a cross-validation

__all__ = ["KerasClassifier", "KerasRegressor", "keras", "listed"]


class _StoppedMixin(BaseEstimator):
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
        return type(self)(**copy.deepcopy(self.get_params(deep=False)))  # Keras's loses fit_kwargs

    def fit(self, rows: np.ndarray, target: np.ndarray, **kwargs: Any) -> Self:
        """Fit on rows of shape (n_rows, width) and a target of shape (n_rows,)."""
        strata, answers = self._as_learned(target)
        learn, check = train_test_split(
            np.arange(len(rows)),
            test_size=self.valid_share,
            stratify=strata,
            random_state=self.random_state,
        )
        keras.utils.set_random_seed(self.random_state)
        given, self.fit_kwargs = self.fit_kwargs, {"verbose": 0, **(self.fit_kwargs or {})}
        stop = keras.callbacks.EarlyStopping(patience=self.patience, restore_best_weights=True)
        callbacks = kwargs.get("callbacks", self.fit_kwargs.get("callbacks"))
        kwargs["callbacks"] = [*listed(callbacks), stop]
        try:
            valid = rows[check], answers[check]
            super().fit(rows[learn], target[learn], validation_data=valid, **kwargs)
        finally:
            self.fit_kwargs = given  # Keras's wrapper writes its arguments into it
        self.history_ = self.history_.history  # the callback would be pickled with its model
        return self

    def _answers(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self.model_.predict(rows, verbose=0))


class KerasClassifier(_StoppedMixin, keras.wrappers.SKLearnClassifier):
    """Keras's classifier, for a network with a softmax of one output per class."""

    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        """Probability of each class, float32 of shape (n_rows, n_classes)."""
        return self._answers(rows)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """The most probable class of each row, shape (n_rows,)."""
        return np.asarray(self.classes_[self._answers(rows).argmax(axis=1)])

    def _as_learned(self, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        classes, codes = np.unique(target, return_inverse=True)
        return codes, np.eye(len(classes), dtype=np.float32)[codes]


class KerasRegressor(_StoppedMixin, keras.wrappers.SKLearnRegressor):
    """Keras's regressor, for a network with one output."""

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """float32 of shape (n_rows,)."""
        return self._answers(rows).reshape(-1)

    def _as_learned(self, target: np.ndarray) -> tuple[None, np.ndarray]:
        return None, np.reshape(target, (-1, 1))


def listed(callbacks: Any) -> list[Any]:
    """Callbacks as a list; Keras takes one alone and None too."""
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
