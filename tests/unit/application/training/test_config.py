"""The configuration of a run: how it is read, and how errors name file and key."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal, cast

import numpy as np
import pytest
from pydantic import Field, ValidationError

from application.training.config import (
    Seed,
    SplitConfig,
    TrainingConfig,
    ValidationConfig,
    config_path,
    registered_name,
)
from domain import catalog
from domain.catalog import CatalogModel
from domain.data.dataset import Dataset
from domain.errors import ConfigError, UnknownModelError
from domain.evaluation.measures import Measure
from tests import petals
from tests.kinds import KINDS
from tests.model_checks import model_of

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
MODEL_KEYS = [f"model.{key}" for key in TUTORIAL["model"]]


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
    """The configuration, read from a file."""
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


def build_flat(  # pylint: disable=unused-argument
    *,
    rooms: int,
    price: float | None,
    styles: tuple[str, ...],
    sizes: list[int],
    heating: Literal["gas", "oil"] = "gas",
    lift: bool = False,
    seed: Seed = 0,
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5,
) -> dict[str, Any]:
    """Return the arguments."""
    return dict(locals())


def load_flats(table: str, rows: int | None = None) -> Dataset:
    """No data: only its parameters matter here."""
    raise NotImplementedError((table, rows))


FLAT = {"rooms": 3, "price": 9.5, "styles": ["new", "old"], "sizes": [1, 2]}
FLATS = cast(
    CatalogModel, SimpleNamespace(SPEC=petals.SPEC, build=build_flat, load=load_flats)
)  # a model with parameters of every type


def with_blocks(model: dict[str, Any], data: dict[str, Any] | None = None) -> TrainingConfig:
    """The tutorial's configuration with another block ``model`` and further keys of ``data``."""
    config = copy.deepcopy(TUTORIAL) | {"model": model}
    config["data"] |= data or {}
    return TrainingConfig.model_validate(config)


def block_refusal(config: TrainingConfig, model: CatalogModel = FLATS) -> str:
    """The message with which a model refuses its blocks."""
    with pytest.raises(ConfigError) as refused:
        config.build_arguments(model)
        config.load_arguments(model)
    message = str(refused.value)
    assert message.startswith("the configuration: ")
    return message.partition(": ")[2]


def test_the_tutorials_configuration_is_accepted(tmp_path: Path) -> None:
    config = read(tmp_path, TUTORIAL)
    assert config.model_dump(include=set(TUTORIAL), exclude_none=True) == TUTORIAL
    assert config.build_arguments(petals) == TUTORIAL["model"]
    assert not config.load_arguments(petals)


def test_a_configuration_without_validation_has_the_default_threshold(tmp_path: Path) -> None:
    validation = read(tmp_path, TUTORIAL).validation
    assert (validation.threshold, validation.folds) == (0.85, None)


def test_a_configured_threshold_is_used(tmp_path: Path) -> None:
    assert read(tmp_path, changed("validation.threshold", 0.7)).validation.threshold == 0.7


def test_a_regression_may_have_a_threshold_below_the_mean(tmp_path: Path) -> None:
    assert read(tmp_path, changed("validation.threshold", -0.1)).validation.threshold == -0.1


def test_a_value_that_may_have_several_types_is_refused_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, changed("validation.folds", 1))
    assert message == ("validation.folds: input should be 0, or greater than or equal to 2 (got 1)")
    message = refusal(tmp_path, changed("validation.slices", {"a": {"b": ["c", [1]]}}))
    assert message == (
        "validation.slices.a.b.1: input should be a valid number, or a valid string (got [1])"
    )


@pytest.mark.parametrize("folds", [None, 0, 2, 10, 100])
def test_cross_validation_has_at_least_two_folds_or_is_off(tmp_path: Path, folds: int) -> None:
    assert read(tmp_path, changed("validation.folds", folds)).validation.folds == folds


@pytest.mark.parametrize("folds", [1, -1, 101, 2.0, "3", True])
def test_an_invalid_number_of_folds_is_refused_by_key(tmp_path: Path, folds: Any) -> None:
    message = refusal(tmp_path, changed("validation.folds", folds))
    assert message.startswith("validation.folds: input should be 0, or ")
    assert message.count("validation.folds") == 1
    assert f"(got {folds!r})" in message


def test_models_are_served_as_onnx_by_default(tmp_path: Path) -> None:
    assert read(tmp_path, TUTORIAL).serving.format == "onnx"
    assert read(tmp_path, changed("serving.format", "native")).serving.format == "native"


@pytest.mark.parametrize("form", ["pickle", "ONNX", "", None, 1])
def test_an_unknown_serving_format_is_refused_with_the_known_ones(
    tmp_path: Path, form: Any
) -> None:
    message = refusal(tmp_path, changed("serving.format", form))
    assert message == f"serving.format: input should be 'onnx' or 'native' (got {form!r})"


def test_the_depth_of_the_trees_may_be_unlimited(tmp_path: Path) -> None:
    config = read(tmp_path, changed("model.max_depth", None))
    assert config.build_arguments(petals)["max_depth"] is None


def test_the_split_has_a_hold_out_share_and_a_seed(tmp_path: Path) -> None:
    assert read(tmp_path, TUTORIAL).data.share_and_seed == (0.2, 42)


@pytest.mark.parametrize("key", ["test_size", "random_state"])
def test_only_a_trained_model_needs_a_split(tmp_path: Path, key: str) -> None:
    data = read(tmp_path, changed(f"data.{key}", MISSING)).data
    with pytest.raises(ConfigError, match=rf"data\.{key}"):
        assert data.share_and_seed


def test_a_split_may_follow_columns(tmp_path: Path) -> None:
    assert read(tmp_path, TUTORIAL).data.split is None
    text = {"time": "day", "group": "customer", "gap": 7, "start": "2026-01-31"}
    split = read(tmp_path, changed("data.split", text)).data.split
    assert split is not None and split.model_dump() == text
    assert read(tmp_path, changed("data.split", {"time": "day", "start": 40})).data.split


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({}, "data.split: value error, name a column: time, group, or both"),
        ({"group": "customer", "gap": 7}, "data.split: value error, gap and start need"),
        ({"group": "customer", "start": 4}, "data.split: value error, gap and start need"),
        ({"time": "day", "gap": -1}, "data.split.gap: input should be greater than or equal to 0"),
        ({"time": 7}, "data.split.time: input should be a valid string"),
        ({"day": "time"}, "unknown key 'data.split.day'"),
    ],
)
def test_an_invalid_split_is_refused(tmp_path: Path, split: dict[str, Any], message: str) -> None:
    assert refusal(tmp_path, changed("data.split", split)).startswith(message)


def test_the_data_are_loaded_with_the_keys_of_the_split(tmp_path: Path) -> None:
    config = read(tmp_path, TUTORIAL)
    assert config.load_data(petals).keys is None
    split = SplitConfig(time="petal_length")
    by_time = config.model_copy(update={"data": config.data.model_copy(update={"split": split})})
    keys = by_time.load_data(petals).keys
    assert keys is not None and keys.time is not None
    assert keys.time.tolist() == petals.load().inputs["petal_length"].tolist()


def labelled_flowers(path: Path, **columns: Any) -> Path:
    """A table with two labelled flowers."""
    flowers = petals.load().take(np.array([0, 149]))
    flowers.inputs.assign(species=flowers.target, **columns).to_parquet(path, index=False)
    return path


def test_labelled_rows_follow_the_data(tmp_path: Path) -> None:
    config, path = read(tmp_path, TUTORIAL), labelled_flowers(tmp_path / "rows.parquet")
    with_rows = config.data.model_copy(update={"labelled": str(path)})
    config = config.model_copy(update={"data": with_rows})
    for dataset in (config.load_data(petals), config.load_data(petals, None, path)):
        assert dataset.rows()[150:] == [petals.load().rows()[row] for row in (0, 149)]
        assert dataset.from_log is not None
        assert dataset.from_log.tolist() == [False] * 150 + [True] * 2
        assert dataset.files == (path,)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"drift_alarms": 5}, "watch: value error, drift_alarms is larger than drift_checks"),
        ({"retrain": "maybe"}, "watch.retrain: input should be 'report', 'validate' or 'deploy'"),
        ({"new_labels": 0}, "watch.new_labels: input should be greater than or equal to 1"),
        ({"days": 1}, "unknown key 'watch.days'"),
    ],
)
def test_an_invalid_policy_is_refused(tmp_path: Path, policy: dict[str, Any], message: str) -> None:
    assert refusal(tmp_path, changed("watch", policy)).startswith(message)


def test_the_parameters_of_build_are_the_schema_of_the_block_model() -> None:
    arguments = with_blocks(FLAT | {"heating": "oil", "lift": True, "seed": 7}).build_arguments(
        FLATS
    )
    assert build_flat(**arguments) == {
        **{"rooms": 3, "price": 9.5, "styles": ("new", "old"), "sizes": [1, 2]},
        **{"heating": "oil", "lift": True, "seed": 7, "share": 0.5},
    }


def test_a_parameter_with_a_default_may_be_left_out() -> None:
    arguments = with_blocks(FLAT).build_arguments(FLATS)
    assert (arguments["heating"], arguments["lift"], arguments["seed"]) == ("gas", False, 0)


def test_a_list_becomes_a_tuple_if_the_parameter_is_one() -> None:
    arguments = with_blocks(FLAT).build_arguments(FLATS)
    assert arguments["styles"] == ("new", "old")
    assert arguments["sizes"] == [1, 2]
    tuples = with_blocks(FLAT | {"styles": ("new", "old")})  # as a package's provenance has them
    assert tuples.build_arguments(FLATS) == arguments


def test_a_whole_number_is_a_number() -> None:
    assert with_blocks(FLAT | {"price": 9}).build_arguments(FLATS)["price"] == 9.0


@pytest.mark.parametrize("key", FLAT)
def test_a_missing_parameter_of_the_model_is_refused_by_path(key: str) -> None:
    without = {name: value for name, value in FLAT.items() if name != key}
    assert block_refusal(with_blocks(without)).startswith(f"model.{key}: field required")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("rooms", "3", "valid integer"),
        ("rooms", 3.0, "valid integer"),
        ("rooms", True, "valid integer"),
        ("rooms", None, "valid integer"),
        ("price", "9.5", "valid number"),
        ("lift", 1, "valid boolean"),
        ("sizes", 3, "valid array"),
        ("heating", "coal", "'gas' or 'oil'"),
        ("seed", -1, "greater than or equal to 0"),
        ("share", 1.0, "less than 1"),
    ],
)
def test_a_parameter_of_a_wrong_type_or_range_is_refused_by_path(
    key: str, value: Any, expected: str
) -> None:
    message = block_refusal(with_blocks(FLAT | {key: value}))
    assert message.startswith(f"model.{key}: input should be ")
    assert expected in message
    assert message.endswith(f"(got {value!r})")


def test_a_wrong_list_item_is_refused_by_position() -> None:
    message = block_refusal(with_blocks(FLAT | {"styles": ["new", 7]}))
    assert message == "model.styles.1: input should be a valid string (got 7)"


def test_all_errors_of_a_block_are_reported_together() -> None:
    message = block_refusal(
        with_blocks({"rooms": "3", "colour": "red", **dict(list(FLAT.items())[2:])})
    )
    for part in ("model.rooms: ", "model.price: field required", "unknown key 'model.colour'"):
        assert part in message


def test_the_remaining_keys_of_data_are_the_parameters_of_load() -> None:
    config = with_blocks(FLAT, {"table": "flats.csv"})
    assert config.load_arguments(FLATS) == {"table": "flats.csv", "rows": None}
    more = with_blocks(FLAT, {"table": "flats.csv", "rows": 10})
    assert more.load_arguments(FLATS) == {"table": "flats.csv", "rows": 10}
    assert more.data.test_size == 0.2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "data.table: field required"),
        ({"table": 7}, "data.table: input should be a valid string (got 7)"),
        ({"table": "flats.csv", "rows": "all"}, "data.rows: input should be a valid integer"),
        ({"table": "flats.csv", "shuffle": True}, "unknown key 'data.shuffle'"),
    ],
)
def test_keys_that_load_does_not_accept_are_refused_by_path(
    data: dict[str, Any], message: str
) -> None:
    assert block_refusal(with_blocks(FLAT, data)).startswith(message)


@pytest.mark.filterwarnings("ignore:Field name")
def test_a_parameter_may_have_a_name_that_pydantic_uses() -> None:
    def build(model_type: str, model_fields: int = 3, schema: bool = True) -> tuple[Any, ...]:
        return model_type, model_fields, schema

    model = cast(CatalogModel, SimpleNamespace(build=build))
    arguments = with_blocks({"model_type": "deep"}).build_arguments(model)
    assert build(**arguments) == ("deep", 3, True)


def test_a_configuration_cannot_be_changed(tmp_path: Path) -> None:
    config = read(tmp_path, TUTORIAL)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(config, "version", "2.0.0")


@pytest.mark.parametrize("name", catalog.names())
def test_every_model_of_the_catalog_has_a_valid_configuration(name: str) -> None:
    assert config_path(name).name == f"{name}_config.json"
    config, model = TrainingConfig.read(config_path(name)), model_of(name)
    assert set(config.build_arguments(model)) == set(inspect.signature(model.build).parameters)
    file = Path("snapshot.parquet") if config.data.source else None
    arguments = config.load_arguments(model, file)
    assert set(arguments) == set(inspect.signature(model.load).parameters)


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_refused_by_name(tmp_path: Path, key: str) -> None:
    assert refusal(tmp_path, changed(key, MISSING)).startswith(f"{key}: field required")


@pytest.mark.parametrize("key", MODEL_KEYS)
def test_a_missing_key_of_the_forest_is_refused_by_name(tmp_path: Path, key: str) -> None:
    config = read(tmp_path, changed(key, MISSING))
    assert block_refusal(config, petals).startswith(f"{key}: field required")


@pytest.mark.parametrize("days", [0, -1, float("inf"), "90"])
def test_predictions_are_kept_for_a_positive_number_of_days(tmp_path: Path, days: object) -> None:
    assert read(tmp_path, TUTORIAL).monitoring.retention_days == 90
    config = read(tmp_path, TUTORIAL | {"monitoring": {"retention_days": 0.5}})
    assert config.monitoring.retention_days == 0.5
    wrong = TUTORIAL | {"monitoring": {"retention_days": days}}
    assert "monitoring.retention_days: input should be" in refusal(tmp_path, wrong)


@pytest.mark.parametrize("key", ["seed", "validation.minimum", "serving.port"])
def test_an_unknown_key_is_refused_by_name(tmp_path: Path, key: str) -> None:
    assert refusal(tmp_path, changed(key, 1)) == f"unknown key '{key}'"


@pytest.mark.parametrize("key", ["model.depth", "data.shuffle"])
def test_an_unknown_key_of_the_models_blocks_is_refused_by_name(tmp_path: Path, key: str) -> None:
    assert block_refusal(read(tmp_path, changed(key, 1)), petals) == f"unknown key '{key}'"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("model", [], "valid dictionary"),
        ("data.test_size", "0.2", "valid number"),
        ("data.random_state", 4.5, "valid integer"),
        ("experiment_name", 7, "valid string"),
        ("version", 1.0, "valid string"),
        ("validation", 0.9, "valid dictionary"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused_with_key_and_value(
    tmp_path: Path, key: str, value: Any, expected: str
) -> None:
    message = refusal(tmp_path, changed(key, value))
    assert message.startswith(f"{key}: input should be a {expected}")
    assert message.endswith(f"(got {value!r})")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.n_estimators", "100"),
        ("model.n_estimators", 100.0),
        ("model.n_estimators", True),
        ("model.max_depth", "5"),
        ("model.random_state", None),
    ],
)
def test_a_forest_parameter_of_a_wrong_type_is_refused_with_key_and_value(
    tmp_path: Path, key: str, value: Any
) -> None:
    message = block_refusal(read(tmp_path, changed(key, value)), petals)
    assert message == f"{key}: input should be a valid integer (got {value!r})"


def test_types_are_equally_strict_in_the_configuration_of_a_package() -> None:
    with pytest.raises(ValidationError, match="test_size"):
        TrainingConfig.model_validate(changed("data.test_size", "0.2"))


@pytest.mark.parametrize("name", catalog.names())
def test_a_configuration_survives_being_recorded_in_a_package(name: str) -> None:
    config = TrainingConfig.read(config_path(name))
    recorded = json.loads(json.dumps(config.model_dump()))
    assert TrainingConfig.model_validate(recorded) == config


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.test_size", 0),
        ("data.test_size", 1),
        ("data.test_size", 1.5),
        ("data.test_size", float("nan")),
        ("experiment_name", ""),
        ("model_name", "petals-classifier"),
        ("model_name", "Iris"),
        ("model_name", "../petals"),
        ("model_name", "i" * 64),
        ("version", "1.0"),
        ("version", "v1.0.0"),
        ("validation.threshold", 1.01),
        ("validation.threshold", float("nan")),
    ],
)
def test_an_invalid_value_is_refused_with_key_and_value(
    tmp_path: Path, key: str, value: Any
) -> None:
    message = refusal(tmp_path, changed(key, value))
    assert message.startswith(f"{key}: ")
    assert message.endswith(f"(got {value!r})")


def test_all_errors_are_reported_together(tmp_path: Path) -> None:
    config = changed("serving.depth", 3) | {"version": "one"}
    config["data"]["test_size"] = 2
    message = refusal(tmp_path, config)
    for part in ("unknown key 'serving.depth'", "data.test_size: input should be", "version: "):
        assert part in message


@pytest.mark.parametrize("value", [[], "text", 3, None])
def test_a_file_without_a_json_object_is_refused(tmp_path: Path, value: Any) -> None:
    assert refusal(tmp_path, value).startswith("the whole file: ")


def test_a_missing_file_is_reported_by_path(tmp_path: Path) -> None:
    path = tmp_path / "nowhere_config.json"
    with pytest.raises(ConfigError) as refused:
        TrainingConfig.read(path)
    assert str(refused.value) == f"cannot read the configuration {path}: No such file or directory"


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownModelError) as refused:
        registered_name("nosuch")
    assert str(refused.value).startswith("unknown model nosuch: ")
    assert str(refused.value).endswith(f"Known models: {catalog.list_names()}")


def test_a_folder_in_place_of_a_file_is_reported_by_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        TrainingConfig.read(tmp_path)
    assert str(refused.value) == f"cannot read the configuration {tmp_path}: Is a directory"


@pytest.mark.parametrize("text", ["", '{"model": ', "model: {}", "{'model': {}}", "{},"])
def test_a_file_that_is_not_json_is_refused_with_the_position(tmp_path: Path, text: str) -> None:
    path = tmp_path / "iris_config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        TrainingConfig.read(path)
    assert str(refused.value).startswith(f"{path} is not JSON: ")
    assert "line 1 column" in str(refused.value)


def test_a_file_that_is_not_text_is_reported_by_path(tmp_path: Path) -> None:
    path = tmp_path / "iris_config.json"
    path.write_bytes(json.dumps(TUTORIAL).encode("utf-16"))
    with pytest.raises(ConfigError, match="iris_config.json"):
        TrainingConfig.read(path)


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "iris_config.json"
    path.write_text(json.dumps(TUTORIAL), encoding="utf-8-sig")
    assert TrainingConfig.read(path) == TrainingConfig.model_validate(TUTORIAL)


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000], ids=["depth", "digits"])
def test_a_file_with_too_much_nesting_or_too_many_digits_is_reported_by_path(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "iris_config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        TrainingConfig.read(path)
    assert str(refused.value).startswith(f"{path} is not JSON: ")


def build_untyped(depth, trees: int, share=0.5):  # type: ignore[no-untyped-def]
    """Only its parameters matter here."""
    raise NotImplementedError((depth, trees, share))


def build_reserved(model_config: int = 3) -> None:
    """Only its parameters matter here."""
    raise NotImplementedError(model_config)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (build_untyped, " needs type annotations for depth, share: they are the schema"),
        (build_reserved, " cannot have a parameter called model_config, "),
    ],
)
def test_parameters_without_a_schema_are_refused_by_function_and_name(
    function: Callable[..., Any], reason: str
) -> None:
    model = cast(CatalogModel, SimpleNamespace(SPEC=petals.SPEC, build=function, load=function))
    for arguments in (TrainingConfig.build_arguments, TrainingConfig.load_arguments):
        with pytest.raises(ConfigError) as refused:
            arguments(with_blocks({}), model)
        assert f"{__name__}.{function.__name__}{reason}" in str(refused.value)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_scikit_learn_does_not_accept_is_refused_by_key(
    tmp_path: Path, seed: int
) -> None:
    with pytest.raises(ConfigError, match="data.random_state"):
        read(tmp_path, changed("data.random_state", seed))


def test_parameters_have_dotted_names_and_include_every_value(tmp_path: Path) -> None:
    parameters = read(tmp_path, TUTORIAL).parameters()
    expected = {
        f"{group}.{key}": value
        for group in ("model", "data")
        for key, value in TUTORIAL[group].items()
    }
    rules = {f"validation.{key}": value for key, value in ValidationConfig().model_dump().items()}
    decision: dict[str, Any] = {
        "decision.by": None,
        "decision.costs": {},
        "decision.threshold": None,
    }
    others = {"serving.format": "onnx"} | dict.fromkeys(
        ("data.split", "data.source", "data.labelled", "data.reference_rows")
    )
    assert parameters == expected | decision | rules | others


@pytest.mark.parametrize(
    "decision",
    [{"by": "f1"}, {"threshold": 0.3}, {"costs": {"yes": {"no": 5}, "no": {"yes": 1.5}}}, {}],
)
def test_a_decision_has_a_measure_costs_or_a_threshold(
    tmp_path: Path, decision: dict[str, Any]
) -> None:
    config = read(tmp_path, TUTORIAL | {"decision": decision}).decision
    assert config.model_dump(exclude_defaults=True) == decision


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        ({"by": "f1", "threshold": 0.3}, "decision: set only one of by, costs and threshold"),
        ({"by": "f1", "costs": {"a": {"b": 1}}}, "decision: set only one of by, costs and"),
        ({"threshold": 1}, "decision.threshold: input should be less than 1"),
        ({"threshold": 0.0}, "decision.threshold: input should be greater than 0"),
        ({"by": "recall"}, "decision.by: input should be 'accuracy', 'balanced_accuracy', 'f1'"),
        ({"measure": "f1"}, "unknown key 'decision.measure'"),
        ({"costs": {"a": {"b": "1"}}}, "decision.costs.a.b: input should be a valid number"),
    ],
)
def test_an_invalid_decision_is_refused_by_key(
    tmp_path: Path, decision: dict[str, Any], message: str
) -> None:
    assert message in refusal(tmp_path, TUTORIAL | {"decision": decision})


def test_gates_may_have_their_names_from_earlier_versions() -> None:
    rules = ValidationConfig.model_validate({"skip": ["better_than_trivial", "size"]})
    assert rules.skip == ["beats_baseline", "size"]


def test_every_gate_that_can_be_skipped_is_on_by_default() -> None:
    rules = ValidationConfig()
    assert not rules.skip
    assert rules.approval == "automatic"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("margin", value) for value in (-0.01, "0.1")),
        *(("calibration_error", -1), ("slice_margin", -1), ("noise", -0.1), ("sensitivity", 1.5)),
        *(("fewest_rows", 0), ("slice_rows", 2.5), ("parity_tolerance", 0)),
        *(("latency_ratio", 0.5), ("size_ratio", "3"), ("approval", "never")),
        *(("measure", 1), ("measure", {"precision": 0.5}), ("measure", {"name": "f1", "beta": 2})),
        *(("measure", {"name": "precision_at_top", "top": 0}), ("seconds", 0)),
        *(("measure", {"name": "neg_mean_pinball_loss", "quantile": 1.0}),),
        *(("measure", {"name": "neg_expected_cost", "costs": {"a": {"b": -1.0}}}),),
        *(("repeat_search", 1), ("folds", 1)),
        *(("skip", ["parity"]), ("skip", "quality"), ("slices", {"north": ["district"]})),
    ],
)
def test_an_invalid_validation_rule_is_refused_by_key(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"validation.{key}"):
        read(tmp_path, changed("validation", {key: value}))


def test_slices_are_conditions_on_inputs_by_name(tmp_path: Path) -> None:
    slices = {"large": {"petal_length": [5, None]}, "north": {"district": ["north", None]}}
    assert read(tmp_path, changed("validation", {"slices": slices})).validation.slices == slices


def test_parameters_include_the_arguments_of_load() -> None:
    parameters = with_blocks(FLAT, {"table": "flats.csv"}).parameters()
    assert parameters["data.table"] == "flats.csv"
    assert parameters["data.test_size"] == 0.2
    assert parameters["model.styles"] == ["new", "old"]


def test_the_measure_is_accuracy_or_r2_unless_it_is_configured() -> None:
    assert ValidationConfig().measure_of(KINDS["text"].SPEC).name == "accuracy"
    assert ValidationConfig().measure_of(KINDS["regression"].SPEC).name == "r2"


def test_a_measure_is_a_name_or_a_name_with_options(tmp_path: Path) -> None:
    spec = KINDS["categories"].SPEC
    by_name = read(tmp_path, changed("validation", {"measure": "roc_auc"})).validation
    assert by_name.measure_of(spec) == Measure(spec, "roc_auc")
    options = {"name": "recall_at_precision", "precision": 0.8}
    with_options = read(tmp_path, changed("validation", {"measure": options})).validation
    assert with_options.measure_of(spec) == Measure(spec, "recall_at_precision", precision=0.8)
    costs = {"yes": {"no": 5.0}}
    priced = ValidationConfig.model_validate(
        {"measure": {"name": "neg_expected_cost", "costs": costs}, "threshold": -1.0}
    )
    assert priced.measure_of(spec).costs == costs


@pytest.mark.parametrize("threshold", [0.85, 0.0])
def test_a_threshold_that_a_negative_measure_cannot_reach_is_refused(threshold: float) -> None:
    rules = ValidationConfig.model_validate({"measure": "neg_log_loss", "threshold": threshold})
    message = f"validation.threshold is {threshold:g}, but neg_log_loss is negative"
    with pytest.raises(ConfigError, match=message):
        rules.measure_of(KINDS["text"].SPEC)


def test_a_measure_that_does_not_fit_the_contract_is_refused() -> None:
    rules = ValidationConfig.model_validate({"measure": "r2"})
    with pytest.raises(ConfigError, match="validation.measure: 'r2' does not fit"):
        rules.measure_of(KINDS["text"].SPEC)


def test_the_snapshot_of_a_source_is_the_path_that_load_gets(tmp_path: Path) -> None:
    def load(path: str) -> Dataset:
        raise AssertionError(path)

    model = cast(CatalogModel, SimpleNamespace(SPEC=petals.SPEC, load=load, build=build_flat))
    source = {"address": "s3://bucket/t/"}
    config = read(tmp_path, changed("data.source", source))
    assert config.load_arguments(model, tmp_path / "s.parquet") == {
        "path": str(tmp_path / "s.parquet")
    }
    both = TrainingConfig.model_validate(
        changed("data", TUTORIAL["data"] | {"source": source, "path": "t.csv"})
    )
    with pytest.raises(ConfigError, match="has data.path and data.source: remove one"):
        both.load_arguments(model, tmp_path / "s.parquet")


def test_a_secret_in_the_address_of_the_data_is_refused_and_not_shown(tmp_path: Path) -> None:
    for address in ("postgresql://ann:w0rd@host/shop", "https://host/t.csv?token=w0rd"):
        message = refusal(tmp_path, changed("data.source", {"address": address}))
        assert "write ${NAME} in its place" in message and "w0rd" not in message
