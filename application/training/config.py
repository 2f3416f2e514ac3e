"""The configuration of a training run, read from JSON and checked before anything else happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from domain.errors import ConfigError

Seed = Annotated[int, Field(ge=0, lt=2**32)]
_NAME = r"^[a-z][a-z0-9_]*$"  # what MLflow, the Bento store and a folder all accept


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataConfig(_Strict):
    """How the data are split."""

    test_size: float = Field(gt=0, lt=1)
    random_state: Seed


class ForestConfig(_Strict):
    """Parameters of scikit-learn's random forest."""

    n_estimators: int = Field(ge=1)
    max_depth: int | None = Field(ge=1)
    min_samples_split: int = Field(ge=2)
    min_samples_leaf: int = Field(ge=1)
    random_state: Seed


class ValidationConfig(_Strict):
    """What a candidate must reach.

    The default is honest for about 30 hold-out rows: docs/decisions/0004 has the arithmetic.
    """

    threshold: float = Field(0.85, ge=0, le=1)


class TrainingConfig(_Strict):
    """One training run: `configs/iris_config.json` is an example with every key."""

    model: ForestConfig
    data: DataConfig
    experiment_name: str = Field(min_length=1)
    model_name: str = Field(pattern=_NAME)
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    validation: ValidationConfig = ValidationConfig()

    @classmethod
    def read(cls, path: Path) -> TrainingConfig:
        """Read a JSON file.

        Raises:
            ConfigError: the file is missing, is not JSON, lacks a key, has an unknown one or a
                value of a wrong type; the message names the file and each key.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is not UTF-8: {error}") from error
        try:
            return cls.model_validate(json.loads(text), strict=True)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{path} is not JSON: {error}") from error
        except ValidationError as error:
            raise ConfigError(f"{path}: {_describe(error)}") from error

    def parameters(self) -> dict[str, Any]:
        """Every value with a dotted name, such as ``model.max_depth``, for tracking."""
        return {
            f"{group}.{key}": value
            for group, values in self.model_dump(include={"model", "data", "validation"}).items()
            for key, value in values.items()
        }


def config_path(model: str) -> Path:
    """The configuration of a model of this repository."""
    return Path(__file__).parent / "configs" / f"{model}_config.json"


def _describe(error: ValidationError) -> str:
    places = (
        (".".join(map(str, item["loc"])) or "the whole file", item) for item in error.errors()
    )
    return "; ".join(
        (
            f"unknown key {place!r}"
            if item["type"] == "extra_forbidden"
            else f"{place}: {item['msg'][0].lower()}{item['msg'][1:]} (got {item['input']!r})"
        )
        for place, item in places
    )
