"""The bundled data sets equal those that scikit-learn loads, with the names of the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import datasets

from domain.contract import Category, Classes, ModelSpec, Number, Quantity, Tensor
from domain.data.bundled import read_breast_cancer, read_diabetes, read_digits, read_iris, read_wine
from domain.data.dataset import Dataset


def numbers(count: int) -> tuple[Number, ...]:
    """So many unbounded numbers."""
    return tuple(Number(f"input {position}", "", -1e9, 1e9) for position in range(count))


def labels(count: int) -> Classes:
    """So many classes."""
    return Classes(tuple(f"class {position}" for position in range(count)), "kind")


READERS: dict[Any, tuple[Callable[[ModelSpec], Dataset], ModelSpec, str]] = {
    datasets.load_iris: (
        read_iris,
        ModelSpec("flowers", numbers(4), labels(3)),
        "Fisher, 1936",
    ),
    datasets.load_breast_cancer: (
        read_breast_cancer,
        ModelSpec("tumours", numbers(30), labels(2)),
        "Street, Wolberg and Mangasarian, 1993",
    ),
    datasets.load_wine: (
        read_wine,
        ModelSpec("wines", numbers(13), labels(3)),
        "Forina et al., 1988",
    ),
    datasets.load_diabetes: (
        read_diabetes,
        ModelSpec("patients", (*numbers(9), Category("ten", ("x",))), Quantity("progress")),
        "Efron et al., 2004",
    ),
    datasets.load_digits: (
        read_digits,
        ModelSpec("images", (Tensor("pixels", (8, 8), 0, 16),), labels(10)),
        "Alpaydin and Kaynak, 1998",
    ),
}


@pytest.mark.parametrize("load", READERS, ids=lambda load: load.__name__)
def test_the_values_are_those_that_scikit_learn_loads(load: Any) -> None:
    read, spec, _ = READERS[load]
    dataset, options = read(spec), {"scaled": False} if load is datasets.load_diabetes else {}
    reference = load(**options)
    values = dataset.inputs.to_numpy()
    if load is datasets.load_digits:
        values = np.stack(list(values[:, 0])).reshape(-1, 64)
    assert values.shape == reference.data.shape
    assert np.allclose(values, reference.data, rtol=0, atol=1e-9)
    assert (dataset.encoded_target(spec) == reference.target).all()


@pytest.mark.parametrize("load", READERS, ids=lambda load: load.__name__)
def test_columns_classes_and_target_are_named_as_the_contract_says(load: Any) -> None:
    read, spec, author = READERS[load]
    dataset = read(spec)
    assert tuple(dataset.inputs.columns) == spec.input_names
    assert dataset.target.name == spec.output.name
    assert not spec.classes or set(dataset.target) == set(spec.classes)
    assert author in dataset.source
    assert load.__name__ == f"load_{dataset.name}"


@pytest.mark.parametrize("load", READERS, ids=lambda load: load.__name__)
def test_nothing_is_missing_and_no_file_of_the_user_was_read(load: Any) -> None:
    read, spec, _ = READERS[load]
    dataset = read(spec)
    assert not dataset.inputs.isna().to_numpy().any()
    assert not dataset.target.isna().any()
    assert dataset.files == ()


def test_an_image_is_an_array_of_its_shape() -> None:
    dataset = read_digits(READERS[datasets.load_digits][1])
    first = dataset.inputs["pixels"][0]
    assert first.shape == (8, 8)
    assert (first == datasets.load_digits().images[0]).all()
