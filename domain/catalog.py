"""The models of this repository, by name: every module of domain/models."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

import domain.models
from domain.contract import ModelSpec
from domain.data.dataset import Dataset
from domain.errors import ContractError, MissingExtraError, UnknownModelError

_EXTRAS = {  # module → extra that installs it
    "torch": "torch",
    "skorch": "torch",
    "tensorflow": "tensorflow",
    "keras": "tensorflow",
    **{name: name for name in ("catboost", "lightgbm", "xgboost")},
    **dict.fromkeys(("whisper", "jiwer", "soundfile", "soxr"), "whisper"),
}


class CatalogModel(Protocol):
    """What the module of a model defines.

    Attributes:
        SPEC: the contract.
        load: returns the data to train on; its parameters are the model's own keys of ``data`` in
            the configuration.
        build: returns an unfitted estimator with scikit-learn's API; its parameters are the keys of
            ``model`` in the configuration.
    """

    SPEC: ModelSpec
    load: Callable[..., Dataset]
    build: Callable[..., Any]


def names() -> list[str]:
    """Names of all models, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(domain.models.__path__))


def list_names() -> str:
    """Names of all models for a message."""
    return ", ".join(names()) or "none yet (make new-model writes one)"


def get(name: str) -> CatalogModel:
    """Import a model by its name.

    Raises:
        UnknownModelError: no model has this name; the message lists the names that exist.
        MissingExtraError: the model needs a library that is not installed.
        ContractError: the name in its contract differs from its file's name.
    """
    if name not in names():
        raise UnknownModelError(
            f"unknown model {name!r}; the models in domain/models are: {list_names()}"
        )
    with needing_extras(name):
        model = cast(CatalogModel, importlib.import_module(f"domain.models.{name}"))
    if model.SPEC.name != name:
        raise ContractError(
            f"domain/models/{name}.py: SPEC has the name {model.SPEC.name!r}; "
            f"it must be {name!r}, as the file is called"
        )
    return model


@contextmanager
def needing_extras(name: str, extra: str | None = None) -> Iterator[None]:
    """Run imports in the block; if a library of an extra is missing, say how to install it.

    Args:
        name: of the model, for the message.
        extra: that installs the libraries; None looks it up by the missing library.

    Raises:
        MissingExtraError: a library of an extra is not installed; the message has the command.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        extra = extra or _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise MissingExtraError(
            f"the model {name} needs {error.name}, which is not installed: "
            f"make install EXTRAS={extra}"
        ) from error
