"""Estimators that are served as they are, written by skops in a form that is not unpickled.

skops names the types in a file. A server creates only those that were reviewed here: classes of
scikit-learn and of the installed libraries of the estimators that `build` returns.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from importlib.metadata import Distribution, distribution, version
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from sklearn.base import clone

from domain.errors import ExportError, reason_of
from domain.estimators.conformal import ConformalRegressor
from domain.estimators.search import best_found, keeps_scorer, possible_parts
from infrastructure.frameworks.scikit_learn import parts_of
from infrastructure.inference.native import OWN_TYPES, installed_libraries, untrusted

_ALWAYS = ("scikit-learn", "skops")


def check_save(estimator: Any) -> None:
    """Check that skops can write and read an unfitted estimator, and that its types are trusted.

    Raises:
        ExportError: they are not, or skops cannot; the message says what to do.
    """
    name = type(estimator).__name__
    if isinstance(estimator, ConformalRegressor):
        estimator = estimator.estimator
    parts = possible_parts(estimator)
    _review(name, parts, _estimators_in(parts))
    for part in _estimators_in(parts):
        if keeps_scorer(part):
            raise ExportError(
                f"cannot serve {name} without ONNX: {type(part).__name__} would keep the function "
                "of its scoring. A search must be around the whole estimator, or a step of a "
                'pipeline; early stopping must be by scoring="loss"'
            )


def save(estimator: Any, path: Path) -> None:
    """Write a fitted estimator, and next to it its types and the libraries that it needs.

    Of a search, the file has only what it found, as an export to ONNX: see `best_found`.

    Raises:
        ExportError: as `check_save`.
    """
    name = type(estimator).__name__
    estimator = _without_searches(estimator)
    parts = [*parts_of(estimator)]
    data, types = _review(name, estimator, parts)
    needed = {*_ALWAYS, *_libraries(parts).values()}
    # public indexes do not have local labels such as +cpu
    requirements = [f"{name}=={version(name).partition('+')[0]}" for name in sorted(needed)]
    facts = {"types": types, "requirements": requirements}
    path.write_bytes(data)
    path.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _without_searches(fitted: Any) -> Any:
    if not isinstance(fitted, ConformalRegressor):
        return best_found(fitted)
    served = copy(fitted)
    # pylint: disable-next=attribute-defined-outside-init  # scikit-learn's convention
    served.estimator_ = best_found(fitted.estimator_)
    served.estimator = clone(served.estimator_)
    return served


def not_locked(package: Path, lock: Path) -> list[str]:
    """The libraries that a package's model is served with and that a lock file of Poetry lacks, as
    ``name==version``; empty for a model that is served as ONNX."""
    facts = package / "model.json"
    if not facts.exists():
        return []
    locked = {each["name"] for each in tomllib.loads(lock.read_text(encoding="utf-8"))["package"]}
    requirements = json.loads(facts.read_text(encoding="utf-8"))["requirements"]
    return [
        each for each in requirements if canonicalize_name(each.partition("==")[0]) not in locked
    ]


def _estimators_in(values: Sequence[Any]) -> list[Any]:
    """The estimators among some values, and those in their parameters."""
    return [part for each in values if hasattr(each, "get_params") for part in parts_of(each)]


def _review(name: str, content: Any, parts: Sequence[Any]) -> tuple[bytes, list[str]]:
    """An estimator in skops' format, and the types in it that skops does not trust by itself.

    Args:
        name: of the class of the estimator, for messages.
        content: what is written: the estimator, or a list of what it may consist of.
        parts: the estimators in it, whose libraries are trusted.
    """
    # pylint: disable-next=import-outside-toplevel  # it imports all of scikit-learn, and PyTorch
    import skops.io

    try:
        data = skops.io.dumps(content)
        types = sorted(skops.io.get_untrusted_types(data=data))
    except Exception as error:  # skops has no common base for what it raises
        raise ExportError(
            f"skops cannot write {name} for serving without ONNX: {_reason(error)}. Choose "
            "another estimator, and no functions or methods as parameters"
        ) from error
    libraries = {"sklearn", *_libraries(parts)}
    never = untrusted(types)
    foreign = [
        each
        for each in types
        if each in never or each not in OWN_TYPES and each.partition(".")[0] not in libraries
    ]
    if foreign:
        raise ExportError(
            f"cannot serve {name} without ONNX: it contains {', '.join(foreign)}, and a server "
            "creates only objects of classes of scikit-learn and of the installed libraries of "
            "the estimators in `build`. Use such a class, in place of a function too; one of your "
            "own must be in a package that is installed"
        )
    try:
        skops.io.loads(data, trusted=types)
    except Exception as error:
        raise ExportError(
            f"skops can write {name} for serving without ONNX, but not read it back: "
            f"{_reason(error)}. Choose another estimator"
        ) from error
    return data, types


def _reason(error: Exception) -> str:
    return reason_of(error).rstrip(".")


def _libraries(parts: Sequence[Any]) -> Mapping[str, str]:
    """First names of the modules of some estimators, with the distributions that have them."""
    modules = {type(part).__module__ for part in parts}
    installed = installed_libraries()
    return {
        module.partition(".")[0]: found.name
        for module in sorted(modules)
        for found in _distributions(module, installed)
    }


def _distributions(module: str, installed: Mapping[str, list[str]]) -> Iterator[Distribution]:
    """The distribution that has the file of a module, if it is installed as one."""
    file = Path(getattr(sys.modules[module], "__file__", None) or "")
    for name in set(installed.get(module.partition(".")[0], ())):
        found = distribution(name)
        if any(Path(str(found.locate_file(each))) == file for each in found.files or ()):
            yield found
