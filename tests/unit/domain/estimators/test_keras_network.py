"""Keras networks behave as scikit-learn estimators."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_predict

pytest.importorskip("tensorflow", reason="make install EXTRAS=tensorflow")
# pylint: disable=wrong-import-position
from domain.data.split_keys import SplitKeys
from domain.estimators.keras_network import KerasClassifier, KerasRegressor, keras

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(120, 3)).astype(np.float32)
CLASSES = np.digitize(ROWS.sum(axis=1), [-1, 1]).astype(np.int64)
VALUES = (ROWS @ [1.0, -2.0, 0.5] + 3).astype(np.float64)


def network(X: np.ndarray, y: np.ndarray, activation: str) -> keras.Model:
    """A linear network."""
    # pylint: disable=invalid-name  # Keras's names
    model = keras.Sequential(
        [keras.Input((X.shape[1],)), keras.layers.Dense(y.shape[1], activation=activation)]
    )
    loss = "categorical_crossentropy" if activation == "softmax" else "mse"
    model.compile(optimizer=keras.optimizers.Adam(0.1), loss=loss)
    return model


def classifier(epochs: int = 3, **changes: Any) -> KerasClassifier:
    """A small network that has not been fitted."""
    return KerasClassifier(
        network, model_kwargs={"activation": "softmax"}, fit_kwargs={"epochs": epochs}, **changes
    )


def regressor() -> KerasRegressor:
    """A small network that has not been fitted."""
    return KerasRegressor(
        network, model_kwargs={"activation": "linear"}, fit_kwargs={"epochs": 30, "batch_size": 8}
    )


def test_the_same_seed_gives_the_same_predictions() -> None:
    first, second = (classifier().fit(ROWS, CLASSES).predict_proba(ROWS) for _ in range(2))
    assert (first == second).all()


def test_another_seed_gives_different_predictions() -> None:
    first = classifier(random_state=1).fit(ROWS, CLASSES).predict_proba(ROWS)
    assert (first != classifier(random_state=2).fit(ROWS, CLASSES).predict_proba(ROWS)).any()


def test_a_clone_has_all_parameters_and_learns_the_same() -> None:
    estimator = classifier(random_state=3, patience=7).fit(ROWS, CLASSES)
    copy = clone(estimator)
    assert copy.get_params() == estimator.get_params()
    again = copy.fit(ROWS, CLASSES).predict_proba(ROWS)
    assert (again == estimator.predict_proba(ROWS)).all()


def test_fitting_leaves_the_parameters_as_they_were() -> None:
    assert classifier().fit(ROWS, CLASSES).fit_kwargs == {"epochs": 3}


def test_training_stops_when_the_validation_loss_stops_improving() -> None:
    estimator = regressor().set_params(fit_kwargs={"epochs": 300, "batch_size": 8}, patience=3)
    losses = estimator.fit(ROWS, VALUES).history_["val_loss"]
    assert 3 < len(losses) < 300
    assert int(np.argmin(losses)) == len(losses) - 1 - 3


@pytest.mark.parametrize("callbacks", [None, keras.callbacks.TerminateOnNaN(), []])
def test_callbacks_may_be_a_single_one_or_missing(callbacks: Any) -> None:
    estimator = classifier().set_params(fit_kwargs={"epochs": 2, "callbacks": callbacks})
    assert len(estimator.fit(ROWS, CLASSES).history_["loss"]) == 2
    again = classifier(epochs=2).fit(ROWS, CLASSES, callbacks=callbacks)
    assert (again.predict_proba(ROWS) == estimator.predict_proba(ROWS)).all()


def test_validation_rows_have_every_class_even_if_rows_are_sorted() -> None:
    order = np.argsort(CLASSES)
    estimator = classifier(epochs=20).fit(ROWS[order], CLASSES[order])
    assert (estimator.predict(ROWS) == CLASSES).mean() > 0.9


def test_predictions_are_labels_of_the_training_data() -> None:
    labels = np.array([10, 20, 30])[CLASSES]
    estimator = classifier(epochs=20).fit(ROWS, labels)
    assert set(estimator.predict(ROWS)) == {10, 20, 30}
    assert (estimator.predict(ROWS) == labels).mean() > 0.9


def test_probabilities_sum_to_one() -> None:
    probabilities = classifier().fit(ROWS, CLASSES).predict_proba(ROWS)
    assert probabilities.shape == (len(ROWS), 3)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_a_pickled_network_predicts_the_same() -> None:
    estimator = classifier().fit(ROWS, CLASSES)
    again = pickle.loads(pickle.dumps(estimator))
    assert (again.predict_proba(ROWS) == estimator.predict_proba(ROWS)).all()
    assert again.history_ == estimator.history_


def test_a_regression_is_cross_validated_by_scikit_learn() -> None:
    predicted = cross_val_predict(regressor(), ROWS, VALUES, cv=2)
    assert predicted.shape == VALUES.shape
    assert np.corrcoef(predicted, VALUES)[0, 1] > 0.99


def test_nothing_is_written_to_the_terminal() -> None:
    script = """
import numpy as np
from domain.estimators.keras_network import KerasRegressor, keras

def network(X, y):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    return model

rows = np.ones((20, 3), np.float32)
for _ in range(3):
    KerasRegressor(network, fit_kwargs={"epochs": 2}).fit(rows, rows[:, 0]).predict(rows)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_early_stopping_follows_the_split() -> None:
    # later rows contradict earlier ones, so every epoch after the first is worse there
    time = np.arange(120.0)
    target = np.where(time < 90, VALUES, -VALUES)
    early = regressor().fit(ROWS, target, SplitKeys(time))
    late = regressor().fit(ROWS, target, SplitKeys(-time))
    assert len(early.history_["loss"]) < len(late.history_["loss"])
    group = np.repeat([f"g{number}" for number in range(24)], 5).astype(object)
    assert classifier().fit(ROWS, CLASSES, SplitKeys(group=group)).predict(ROWS).shape == (120,)
