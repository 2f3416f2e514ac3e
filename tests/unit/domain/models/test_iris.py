"""The iris model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris

from domain.contract import Number
from domain.models import iris

PARAMETERS: dict[str, Any] = {
    "n_estimators": 20,
    "max_depth": 5,
    "min_samples_split": 2,
    "min_samples_leaf": 1,
    "random_state": 42,
}
DATA = iris.load()
ROWS, LABELS = DATA.encoded(iris.SPEC), DATA.encoded_target(iris.SPEC)


def probabilities(**changes: int) -> np.ndarray:
    """Predictions of a forest with these parameters for all rows."""
    forest = iris.build(**{**PARAMETERS, **changes}).fit(ROWS, LABELS)
    return np.asarray(forest.predict_proba(ROWS))


def test_the_data_match_scikit_learn() -> None:
    reference = load_iris()
    assert DATA.inputs.to_numpy() == pytest.approx(reference.data, rel=0, abs=1e-9)
    assert (LABELS == reference.target).all()
    assert "Fisher, 1936" in DATA.source
    assert not DATA.inputs.isna().to_numpy().any()


def test_the_data_have_150_rows_and_fifty_of_each_species() -> None:
    assert len(DATA) == 150
    assert np.bincount(LABELS).tolist() == [50, 50, 50]
    assert tuple(DATA.inputs.columns) == iris.SPEC.input_names


def test_class_numbers_match_the_tutorial() -> None:
    assert iris.SPEC.classes == ("setosa", "versicolor", "virginica")


def test_inputs_match_the_tutorial_in_cm() -> None:
    names = ("sepal_length", "sepal_width", "petal_length", "petal_width")
    assert iris.SPEC.input_names == names
    assert {item.unit for item in iris.SPEC.inputs if isinstance(item, Number)} == {"cm"}


def test_the_estimator_has_the_configured_parameters() -> None:
    assert iris.build(**PARAMETERS).get_params().items() >= PARAMETERS.items()


@pytest.mark.parametrize("parameter", ["depth", "n_jobs"])
def test_an_unknown_parameter_is_refused(parameter: str) -> None:
    with pytest.raises(TypeError, match=parameter):
        iris.build(**PARAMETERS, **{parameter: 3})


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_every_parameter_is_required(parameter: str) -> None:
    with pytest.raises(TypeError, match=parameter):
        iris.build(**{name: value for name, value in PARAMETERS.items() if name != parameter})


def test_the_same_seed_gives_the_same_predictions() -> None:
    assert (probabilities() == probabilities()).all()


def test_another_seed_gives_different_predictions() -> None:
    assert (probabilities() != probabilities(random_state=43)).any()


def test_the_forest_learns_the_species() -> None:
    predictions = probabilities()
    assert (predictions.argmax(axis=1) == LABELS).mean() > 0.95
    assert np.allclose(predictions.sum(axis=1), 1)
