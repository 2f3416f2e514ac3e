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
    **dict.fromkeys(("whisper", "jiwer", "soundfile", "soxr"), "whisper"),
}


class CatalogModel(Protocol):
    """What a model's module holds.

    Attributes:
        SPEC: its contract.
        load: gives the data that it learns from; its parameters are the further keys of ``data`` in
            the configuration.
        build: gives an unfitted estimator with scikit-learn's API; its parameters are the keys of
            ``model`` in the configuration.
    """

    SPEC: ModelSpec
    load: Callable[..., Dataset]
    build: Callable[..., Any]


def names() -> list[str]:
    """Names of all models, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(domain.models.__path__))


def get(name: str) -> CatalogModel:
    """The model of that name.

    Raises:
        UnknownModelError: there is none; the message lists those there are.
        MissingExtraError: it needs a library that is not installed.
        ContractError: its contract has another name.
    """
    if name not in names():
        raise UnknownModelError(
            f"no model {name!r} in domain/models; there are: {', '.join(names())}"
        )
    with needing_extras(name):
        model = cast(CatalogModel, importlib.import_module(f"domain.models.{name}"))
    if model.SPEC.name != name:
        raise ContractError(
            f"domain/models/{name}.py has a contract with the name {model.SPEC.name!r}: "
            f"call it {name!r}"
        )
    return model


@contextmanager
def needing_extras(name: str, extra: str | None = None) -> Iterator[None]:
    """Imports that a model needs, in its block.

    Args:
        extra: what installs all of them; None where it follows from the library that is missing.

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
