"""The configuration of a training run, read from JSON and checked before anything else happens."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from domain import catalog
from domain.catalog import CatalogModel
from domain.errors import ConfigError, UnknownModelError

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Gate = Literal[
    "quality",
    "beats_baseline",
    "calibration",
    "interval_coverage",
    "worst_slice",
    "robustness",
    "no_target_leakage",
    "not_worse_than_champion",
    "contract_is_versioned",
    "latency",
    "size",
]
Share = Annotated[float, Field(ge=0, le=1)]
Ratio = Annotated[float, Field(ge=1)]
_NAME = r"^[a-z][a-z0-9_]{0,62}$"  # what MLflow, the Bento store and a folder all accept


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class DataConfig(_Strict):
    """How the data are split; further keys are parameters of the model's `load`.

    Only a model that is not trained, such as a transcriber, does without the two.
    """

    model_config = ConfigDict(extra="allow")

    test_size: float | None = Field(None, gt=0, lt=1)
    random_state: Seed | None = None

    @property
    def split(self) -> tuple[float, int]:
        """Share of the rows that is held out, and the seed of the shuffle.

        Raises:
            ConfigError: one of them is missing.
        """
        if self.test_size is None or self.random_state is None:
            raise ConfigError(
                "the configuration: data.test_size and data.random_state say how the data are "
                "split; both are needed"
            )
        return self.test_size, self.random_state


class ValidationConfig(_Strict):
    """What a candidate must reach; a loss is 1 for a wrong class, or the absolute error of a
    quantity in standard deviations of its true values.

    Attributes:
        threshold: smallest accuracy, or R² of a regression, on the hold-out. The default is honest
            for about 30 rows of a classification: docs/decisions/0004 has the arithmetic. Of a
            transcriber it is the smallest 1 − word error rate; only there it may be null, which
            accepts weights that were not measured.
        skip: gates whose refusal is known and accepted; what they say is shown nevertheless.
        folds: folds of the cross-validation that is shown beside the verdicts; 0 leaves it out.
        approval: whether what is accepted becomes champion at once, or by `make promote`.
        margin: by how much the mean loss may be above the champion's; docs/decisions/0011.
        fewest_rows: rows that champion and challenger must have in common, unseen by both.
        calibration_error: largest expected calibration error of a classifier.
        coverage_error: largest difference between the share of true values that a regression's
            intervals hold and the one that is wanted.
        slices: rows to be looked at by themselves, by name: conditions on inputs, which all must
            hold; ``[low, high]`` of a number, null being open, or a list of words.
        slice_margin: by how much the mean loss of a slice may be above that of all rows.
        slice_rows: rows that a slice must have.
        noise: standard deviation of what is added to numbers, in parts of each input's own.
        sensitivity: largest share of answers that noise may change; of a quantity, mean change in
            standard deviations of the answers.
        parity_tolerance: largest difference between the native and the served model.
        latency_ratio: how many times as long as the champion's an answer may take.
        size_ratio: how many times as large as the champion's the served file may be.
    """

    threshold: float | None = Field(0.85, le=1)
    skip: list[Gate] = []
    folds: Literal[0] | Annotated[int, Field(ge=2, le=100)] = 10
    approval: Literal["automatic", "manual"] = "automatic"
    margin: Share = 0.05
    fewest_rows: int = Field(20, ge=1)
    calibration_error: Share = 0.1
    coverage_error: Share = 0.05
    slices: dict[str, dict[str, list[float | str | None]]] = {}
    slice_margin: Share = 0.15
    slice_rows: int = Field(20, ge=1)
    noise: Share = 0.01
    sensitivity: Share = 0.1
    parity_tolerance: Annotated[float, Field(gt=0)] = 1e-5
    latency_ratio: Ratio = 3.0
    size_ratio: Ratio = 3.0


class ServingConfig(_Strict):
    """How the model is served: as ONNX, or, where it cannot be exported, as it is."""

    format: Literal["onnx", "native"] = "onnx"


class TrainingConfig(_Strict):
    """One training run: `configs/iris_config.json` is an example."""

    model: dict[str, Any]
    data: DataConfig
    experiment_name: str = Field(min_length=1)
    model_name: str = Field(pattern=_NAME)
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    validation: ValidationConfig = ValidationConfig()
    serving: ServingConfig = ServingConfig()

    @classmethod
    def read(cls, path: Path) -> TrainingConfig:
        """Read a JSON file.

        Raises:
            ConfigError: the file is missing, is not JSON, lacks a key, has an unknown one or a
                value of a wrong type; the message names the file and each key.
        """
        try:
            text = path.read_text(encoding="utf-8-sig")  # editors on Windows write the mark
        except OSError as error:
            raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is not UTF-8: {error}") from error
        try:
            return cls.model_validate(json.loads(text), strict=True)
        except ValidationError as error:
            raise ConfigError(f"{path}: {_describe(error)}") from error
        except (ValueError, RecursionError) as error:  # nested too deeply, or of too many digits
            raise ConfigError(f"{path} is not JSON: {error}") from error

    @classmethod
    def recorded(cls, provenance: Mapping[str, Any]) -> TrainingConfig:
        """The configuration that a package was trained with, from its ``provenance.json``."""
        return cls.model_validate(provenance["config"])

    def build_arguments(self, model: CatalogModel) -> dict[str, Any]:
        """The block ``model`` as arguments of the model's `build`.

        Raises:
            ConfigError: a key is missing, unknown or of a wrong type.
        """
        return _arguments(model.build, self.model, "model")

    def load_arguments(self, model: CatalogModel) -> dict[str, Any]:
        """The further keys of the block ``data`` as arguments of the model's `load`.

        Raises:
            ConfigError: a key is missing, unknown or of a wrong type.
        """
        return _arguments(model.load, self.data.model_extra or {}, "data")

    def parameters(self) -> dict[str, Any]:
        """Every value with a dotted name, such as ``model.max_depth``, for tracking."""
        groups = self.model_dump(include={"model", "data", "validation", "serving"})
        return {
            f"{group}.{key}": value
            for group, values in groups.items()
            for key, value in values.items()
        }


def config_path(model: str) -> Path:
    """The configuration of a model of this repository.

    Raises:
        UnknownModelError: there is none; the message lists the models there are.
    """
    path = Path(__file__).parent / "configs" / f"{model}_config.json"
    if not path.exists():
        raise UnknownModelError(
            f"no model {model}: {path} is not there; make new-model writes one. "
            f"There are: {', '.join(catalog.names())}"
        )
    return path


def registered_name(model: str) -> str:
    """The name of a model of this repository in the registry and in the Bento store."""
    return TrainingConfig.read(config_path(model)).model_name


def _arguments(
    function: Callable[..., Any], values: Mapping[str, Any], block: str
) -> dict[str, Any]:
    """Values checked against a function's parameters, whose types and defaults are the schema."""
    parameters = inspect.signature(function).parameters
    hints = get_type_hints(function, include_extras=True)
    function_name = f"{function.__module__}.{function.__qualname__}"
    untyped = [name for name in parameters if name not in hints]
    if untyped:
        raise ConfigError(
            f"{function_name} needs types for {', '.join(untyped)}: they are the schema"
        )
    if "model_config" in parameters:
        raise ConfigError(
            f"{function_name} cannot have a parameter called model_config, which pydantic keeps "
            "for itself: rename it"
        )
    fields: dict[str, Any] = {
        name: (hints[name], ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in parameters.items()
    }
    schema = create_model("Arguments", __base__=_Strict, **fields)
    try:
        checked = schema.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise ConfigError(f"the configuration: {_describe(error, block)}") from error
    return {name: getattr(checked, name) for name in fields}


def _describe(error: ValidationError, *prefix: str) -> str:
    places = (
        (".".join(map(str, (*prefix, *item["loc"]))) or "the whole file", item)
        for item in error.errors()
    )
    return "; ".join(
        (
            f"unknown key {place!r}"
            if item["type"] == "extra_forbidden"
            else f"{place}: {item['msg'][0].lower()}{item['msg'][1:]} (got {item['input']!r})"
        )
        for place, item in places
    )
