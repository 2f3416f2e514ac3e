"""The models of this repository, by name: every module of this folder that has a ``SPEC``."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, Protocol, cast

import domain.models
from domain.data.dataset import Dataset
from domain.errors import UnknownModelError
from domain.models.contract import ModelSpec

_NOT_MODELS = {"catalog", "contract"}


class CatalogModel(Protocol):
    """What a model's module holds."""

    SPEC: ModelSpec

    def load(self) -> Dataset:
        """The data that it learns from."""

    def build(self, parameters: dict[str, Any]) -> Any:
        """An unfitted estimator with scikit-learn's API."""


def names() -> list[str]:
    """Names of all models, sorted."""
    found = {module.name for module in pkgutil.iter_modules(domain.models.__path__)}
    return sorted(found - _NOT_MODELS)


def get(name: str) -> CatalogModel:
    """The model of that name.

    Raises:
        UnknownModelError: there is none; the message lists those there are.
    """
    if name not in names():
        raise UnknownModelError(
            f"no model {name!r} in domain/models; there are: {', '.join(names())}"
        )
    return cast(CatalogModel, importlib.import_module(f"domain.models.{name}"))
