"""The iris model."""

from __future__ import annotations

import numpy as np
import pytest

from domain.models import iris

PARAMETERS = {
    "n_estimators": 20,
    "max_depth": 5,
    "min_samples_split": 2,
    "min_samples_leaf": 1,
    "random_state": 42,
}
DATA = iris.load()
ROWS, LABELS = DATA.inputs.to_numpy(np.float32), DATA.codes(iris.SPEC.classes)


def probabilities(**changes: int) -> np.ndarray:
    """What a forest with these parameters answers for every row."""
    forest = iris.build({**PARAMETERS, **changes}).fit(ROWS, LABELS)
    return np.asarray(forest.predict_proba(ROWS))


def test_the_data_have_150_rows_and_fifty_of_each_species() -> None:
    assert len(DATA) == 150
    assert np.bincount(LABELS).tolist() == [50, 50, 50]
    assert tuple(DATA.inputs.columns) == iris.SPEC.feature_names


def test_class_numbers_are_those_of_the_tutorial() -> None:
    assert iris.SPEC.classes == ("setosa", "versicolor", "virginica")


def test_inputs_are_those_of_the_tutorial_in_cm() -> None:
    names = ("sepal_length", "sepal_width", "petal_length", "petal_width")
    assert iris.SPEC.feature_names == names
    assert {feature.unit for feature in iris.SPEC.features} == {"cm"}


def test_the_estimator_has_the_parameters_it_was_given() -> None:
    assert iris.build(PARAMETERS).get_params() | PARAMETERS == iris.build(PARAMETERS).get_params()


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(TypeError, match="depth"):
        iris.build({"depth": 3})


def test_the_same_seed_gives_the_same_answers() -> None:
    assert (probabilities() == probabilities()).all()


def test_another_seed_gives_other_answers() -> None:
    assert (probabilities() != probabilities(random_state=43)).any()


def test_the_forest_learns_the_species() -> None:
    answers = probabilities()
    assert (answers.argmax(axis=1) == LABELS).mean() > 0.95
    assert np.allclose(answers.sum(axis=1), 1)
