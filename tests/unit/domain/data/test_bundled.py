"""A bundled data set has scikit-learn's values and the names of the contract."""

from __future__ import annotations

import pytest
from sklearn import datasets

from domain.contract import Classes, ModelSpec, Number
from domain.data.bundled import make_dataset, read_classification, read_csv

SPEC = ModelSpec(
    "flowers",
    tuple(Number(f"input {position}", "", -1e9, 1e9) for position in range(4)),
    Classes(tuple(f"class {position}" for position in range(3)), "kind"),
)
FLOWERS = read_classification(SPEC, "Fisher, 1936", "iris.csv")


def test_the_values_match_scikit_learn() -> None:
    reference = datasets.load_iris()
    assert FLOWERS.inputs.to_numpy() == pytest.approx(reference.data, rel=0, abs=1e-9)
    assert (FLOWERS.encoded_target(SPEC) == reference.target).all()


def test_columns_classes_and_target_are_named_as_the_contract_says() -> None:
    assert tuple(FLOWERS.inputs.columns) == SPEC.input_names
    assert FLOWERS.target.name == SPEC.output.name
    assert set(FLOWERS.target) == set(SPEC.classes)
    assert FLOWERS.source == "sklearn.datasets flowers (Fisher, 1936)"
    assert FLOWERS.name == "flowers"


def test_bundled_data_have_no_files() -> None:
    assert not FLOWERS.files


def test_a_data_set_may_have_several_files() -> None:
    table = read_csv("diabetes_data_raw.csv.gz", sep=r"\s+")[[0, 1, 2, 3]]
    target = read_csv("diabetes_target.csv.gz")[0]
    dataset = make_dataset(SPEC, "Efron et al., 2004", table, target)
    assert tuple(dataset.inputs.columns) == SPEC.input_names
    assert (dataset.target == datasets.load_diabetes().target).all()
