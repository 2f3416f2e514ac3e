"""The configuration of a run: what is read, and what is refused by file and key."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from application.training.config import TrainingConfig, config_path
from domain.errors import ConfigError
from domain.models import catalog

TUTORIAL: dict[str, Any] = {
    "model": {
        "n_estimators": 100,
        "max_depth": 5,
        "min_samples_split": 2,
        "min_samples_leaf": 1,
        "random_state": 42,
    },
    "data": {"test_size": 0.2, "random_state": 42},
    "experiment_name": "iris_production_pipeline",
    "model_name": "iris_classifier_pipeline",
    "version": "1.0.0",
}
MISSING = object()
KEYS = ["model", "data", "experiment_name", "model_name", "version"]
KEYS += [f"{group}.{key}" for group in ("model", "data") for key in TUTORIAL[group]]


def changed(key: str, value: Any) -> dict[str, Any]:
    """The tutorial's configuration with one dotted key set to a value, or without it."""
    config = copy.deepcopy(TUTORIAL)
    *groups, last = key.split(".")
    place = config
    for group in groups:
        place = place.setdefault(group, {})
    if value is MISSING:
        del place[last]
    else:
        place[last] = value
    return config


def read(folder: Path, config: Any) -> TrainingConfig:
    """The configuration, by way of a file."""
    path = folder / "some_config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return TrainingConfig.read(path)


def refusal(folder: Path, config: Any) -> str:
    """The message with which a configuration is refused; it always names the file."""
    with pytest.raises(ConfigError) as refused:
        read(folder, config)
    message = str(refused.value)
    assert message.startswith(f"{folder / 'some_config.json'}: ")
    return message.partition(": ")[2]


def test_the_tutorials_configuration_is_accepted(tmp_path: Path) -> None:
    config = read(tmp_path, TUTORIAL)
    assert config.model_dump(include=set(TUTORIAL)) == TUTORIAL


def test_a_configuration_without_validation_has_the_default_threshold(tmp_path: Path) -> None:
    assert read(tmp_path, TUTORIAL).validation.threshold == 0.85


def test_a_threshold_of_its_own_is_taken(tmp_path: Path) -> None:
    assert read(tmp_path, changed("validation.threshold", 0.7)).validation.threshold == 0.7


def test_the_depth_of_the_trees_may_be_unlimited(tmp_path: Path) -> None:
    assert read(tmp_path, changed("model.max_depth", None)).model.max_depth is None


def test_a_configuration_cannot_be_changed(tmp_path: Path) -> None:
    config = read(tmp_path, TUTORIAL)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(config, "version", "2.0.0")


@pytest.mark.parametrize("name", catalog.names())
def test_every_model_of_the_catalog_has_a_configuration_that_is_accepted(name: str) -> None:
    assert config_path(name).name == f"{name}_config.json"
    assert TrainingConfig.read(config_path(name)).model_name


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_refused_by_its_name(tmp_path: Path, key: str) -> None:
    assert refusal(tmp_path, changed(key, MISSING)).startswith(f"{key}: field required")


@pytest.mark.parametrize("key", ["seed", "model.depth", "data.shuffle", "validation.minimum"])
def test_an_unknown_key_is_refused_by_its_name(tmp_path: Path, key: str) -> None:
    assert refusal(tmp_path, changed(key, 1)) == f"unknown key '{key}'"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("model", [], "valid dictionary"),
        ("model.n_estimators", "100", "valid integer"),
        ("model.n_estimators", 100.0, "valid integer"),
        ("model.n_estimators", True, "valid integer"),
        ("model.max_depth", "5", "valid integer"),
        ("model.random_state", None, "valid integer"),
        ("data.test_size", "0.2", "valid number"),
        ("data.random_state", 4.5, "valid integer"),
        ("experiment_name", 7, "valid string"),
        ("version", 1.0, "valid string"),
        ("validation", 0.9, "valid dictionary"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused_by_its_key_and_shown(
    tmp_path: Path, key: str, value: Any, expected: str
) -> None:
    message = refusal(tmp_path, changed(key, value))
    assert message.startswith(f"{key}: input should be a {expected}")
    assert message.endswith(f"(got {value!r})")


def test_types_are_as_strict_where_a_configuration_is_read_from_a_package() -> None:
    with pytest.raises(ValidationError, match="n_estimators"):
        TrainingConfig.model_validate(changed("model.n_estimators", "100"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.n_estimators", 0),
        ("model.max_depth", 0),
        ("model.min_samples_split", 1),
        ("model.min_samples_leaf", 0),
        ("data.test_size", 0),
        ("data.test_size", 1),
        ("data.test_size", 1.5),
        ("data.test_size", float("nan")),
        ("experiment_name", ""),
        ("model_name", "iris-classifier"),
        ("model_name", "Iris"),
        ("model_name", "../iris"),
        ("version", "1.0"),
        ("version", "v1.0.0"),
        ("validation.threshold", 1.01),
        ("validation.threshold", -0.01),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_its_key_and_shown(
    tmp_path: Path, key: str, value: Any
) -> None:
    message = refusal(tmp_path, changed(key, value))
    assert message.startswith(f"{key}: ")
    assert message.endswith(f"(got {value!r})")


def test_everything_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    config = changed("model.depth", 3) | {"version": "one"}
    del config["data"]["test_size"]
    message = refusal(tmp_path, config)
    for part in ("unknown key 'model.depth'", "data.test_size: field required", "version: "):
        assert part in message


@pytest.mark.parametrize("value", [[], "text", 3, None])
def test_a_file_that_holds_no_object_is_refused(tmp_path: Path, value: Any) -> None:
    assert refusal(tmp_path, value).startswith("the whole file: ")


def test_a_missing_file_is_refused_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "nowhere_config.json"
    with pytest.raises(ConfigError) as refused:
        TrainingConfig.read(path)
    assert str(refused.value) == f"cannot read the configuration {path}: No such file or directory"


def test_a_folder_in_place_of_a_file_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        TrainingConfig.read(tmp_path)
    assert str(refused.value) == f"cannot read the configuration {tmp_path}: Is a directory"


@pytest.mark.parametrize("text", ["", '{"model": ', "model: {}", "{'model': {}}", "{},"])
def test_a_file_that_is_not_json_is_refused_with_the_place(tmp_path: Path, text: str) -> None:
    path = tmp_path / "iris_config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        TrainingConfig.read(path)
    assert str(refused.value).startswith(f"{path} is not JSON: ")
    assert "line 1 column" in str(refused.value)


def test_a_file_that_is_no_text_is_refused_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "iris_config.json"
    path.write_bytes(json.dumps(TUTORIAL).encode("utf-16"))
    with pytest.raises(ConfigError, match="iris_config.json"):
        TrainingConfig.read(path)


@pytest.mark.parametrize("seed", [-1, 2**32])
@pytest.mark.parametrize("key", ["model.random_state", "data.random_state"])
def test_a_seed_that_scikit_learn_does_not_take_is_refused_by_its_key(
    tmp_path: Path, key: str, seed: int
) -> None:
    with pytest.raises(ConfigError, match=key):
        read(tmp_path, changed(key, seed))


def test_parameters_have_dotted_names_and_hold_every_value_of_the_groups(tmp_path: Path) -> None:
    parameters = read(tmp_path, TUTORIAL).parameters()
    expected = {
        f"{group}.{key}": value
        for group in ("model", "data")
        for key, value in TUTORIAL[group].items()
    }
    assert parameters == expected | {"validation.threshold": 0.85}
