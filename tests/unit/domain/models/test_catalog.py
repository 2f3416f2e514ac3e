"""The catalog, and the checks that every model in it passes."""

from __future__ import annotations

import pytest

from domain.errors import UnknownModelError
from domain.models import catalog, iris

ALL = catalog.names()


def test_the_catalog_lists_models_sorted_and_nothing_else() -> None:
    assert "iris" in ALL
    assert ALL == sorted(ALL)
    assert not {"catalog", "contract", "__init__"} & set(ALL)


def test_a_model_is_found_by_its_name() -> None:
    assert catalog.get("iris") is iris


@pytest.mark.parametrize("name", ["rose", "", "Iris", "catalog", "contract", "iris.SPEC"])
def test_an_unknown_model_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(UnknownModelError) as refused:
        catalog.get(name)
    assert f"no model {name!r}" in str(refused.value)
    assert f"there are: {', '.join(ALL)}" in str(refused.value)


@pytest.mark.parametrize("name", ALL)
def test_a_model_has_the_name_of_its_file_and_says_what_it_predicts(name: str) -> None:
    spec = catalog.get(name).SPEC
    assert spec.name == name
    assert spec.description


@pytest.mark.parametrize("name", ALL)
def test_the_inputs_of_a_model_have_distinct_names_that_a_request_can_use(name: str) -> None:
    names = catalog.get(name).SPEC.feature_names
    assert names and len(set(names)) == len(names)
    assert all(feature.isidentifier() and not feature.startswith("_") for feature in names)
    assert not set(names) & {"label", "request_id", "actual_class", "predicted_class", "instances"}


@pytest.mark.parametrize("name", ALL)
def test_the_range_of_every_input_is_one(name: str) -> None:
    low, high = catalog.get(name).SPEC.bounds
    assert (low < high).all()


@pytest.mark.parametrize("name", ALL)
def test_the_data_of_a_model_have_its_columns_its_classes_and_its_ranges(name: str) -> None:
    model = catalog.get(name)
    dataset = model.load()
    assert tuple(dataset.inputs.columns) == model.SPEC.feature_names
    assert set(dataset.labels) == set(model.SPEC.classes)
    assert len(model.SPEC.check_values(dataset.inputs.to_numpy(float))) == len(dataset)


@pytest.mark.parametrize("name", ALL)
def test_the_data_of_a_model_are_the_same_each_time(name: str) -> None:
    model = catalog.get(name)
    assert model.load().fingerprint == model.load().fingerprint
