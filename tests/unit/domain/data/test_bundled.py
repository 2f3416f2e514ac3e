"""The iris data as they come with scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_iris

from domain.data.bundled import read_iris

COLUMNS = ("a", "b", "c", "d")
CLASSES = ("x", "y", "z")


def test_iris_has_150_rows_of_four_inputs_and_fifty_of_each_class() -> None:
    dataset = read_iris(COLUMNS, CLASSES)
    assert dataset.inputs.shape == (150, 4)
    assert dataset.labels.value_counts().to_dict() == {"x": 50, "y": 50, "z": 50}


def test_columns_and_classes_are_named_as_asked() -> None:
    dataset = read_iris(COLUMNS, CLASSES)
    assert tuple(dataset.inputs.columns) == COLUMNS
    assert dataset.labels.tolist() == ["x"] * 50 + ["y"] * 50 + ["z"] * 50


def test_the_values_are_those_that_scikit_learn_loads() -> None:
    dataset, reference = read_iris(COLUMNS, CLASSES), load_iris()
    assert (dataset.inputs.to_numpy() == reference.data).all()
    assert (dataset.codes(CLASSES) == reference.target).all()


def test_inputs_are_numbers_and_none_is_missing() -> None:
    dataset = read_iris(COLUMNS, CLASSES)
    assert all(dtype == np.float64 for dtype in dataset.inputs.dtypes)
    assert not dataset.inputs.isna().to_numpy().any()
    assert not dataset.labels.isna().any()


def test_the_source_is_named() -> None:
    dataset = read_iris(COLUMNS, CLASSES)
    assert dataset.name == "iris"
    assert "Fisher, 1936" in dataset.source
