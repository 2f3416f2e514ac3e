"""Predictions of native models."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression

from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.estimators.conformal import ConformalRegressor
from domain.evaluation.predictions import predict_function

INPUTS = (Number("x", "", -10, 10),)
ROWS = np.linspace(-5, 5, 40, dtype=np.float32)[:, None]


def test_a_classifier_predicts_the_probability_of_each_class() -> None:
    spec = ModelSpec("sign", INPUTS, Classes(("negative", "positive")))
    classifier = LogisticRegression().fit(ROWS, (ROWS[:, 0] > 0).astype(int))
    predictions = predict_function(classifier, spec)(ROWS)
    assert predictions.shape == (40, len(spec.output_columns))
    assert np.allclose(predictions.sum(axis=1), 1)
    assert (predictions.argmax(axis=1) == (ROWS[:, 0] > 0)).all()


def test_a_regression_predicts_a_value_and_its_interval() -> None:
    spec = ModelSpec("twice", INPUTS, Quantity("y"))
    noise = np.random.default_rng(0).normal(size=40)
    regressor = ConformalRegressor(LinearRegression()).fit(ROWS, 2 * ROWS[:, 0] + noise)
    predictions = predict_function(regressor, spec)(ROWS)
    assert predictions.shape == (40, len(spec.output_columns))
    assert (predictions[:, 0] == regressor.predict(ROWS)).all()
    assert (predictions[:, 1] < predictions[:, 0]).all() and (
        predictions[:, 0] < predictions[:, 2]
    ).all()


def test_a_regressor_without_intervals_predicts_a_value() -> None:
    regressor = LinearRegression().fit(ROWS, 2 * ROWS[:, 0])
    predictions = predict_function(regressor, ModelSpec("twice", INPUTS, Quantity("y")))(ROWS)
    assert np.allclose(predictions, 2 * ROWS)
