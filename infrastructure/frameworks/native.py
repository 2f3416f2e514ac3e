"""Estimators that are served as they are, written by skops in a form that is not unpickled.

skops names the types in a file. A server creates only those that were reviewed here: classes of
scikit-learn and of the installed libraries of the estimators that `build` returns.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distribution, packages_distributions, version
from pathlib import Path
from typing import Any

import skops.io
from packaging.utils import canonicalize_name

from domain.errors import ExportError, reason_of
from infrastructure.frameworks.scikit_learn import parts_of
from infrastructure.inference.native import OWN_TYPES, untrusted

_ALWAYS = ("scikit-learn", "skops")


def check_save(estimator: Any) -> None:
    """Check that skops can write and read an unfitted estimator, and that its types are trusted.

    Raises:
        ExportError: they are not, or skops cannot; the message says what to do.
    """
    _reviewed(estimator)


def save(estimator: Any, path: Path) -> None:
    """Write a fitted estimator, and next to it its types and the libraries that it needs.

    Raises:
        ExportError: as `check_save`.
    """
    data, types = _reviewed(estimator)
    needed = {*_ALWAYS, *_libraries(estimator).values()}
    # public indexes do not have local labels such as +cpu
    requirements = [f"{name}=={version(name).partition('+')[0]}" for name in sorted(needed)]
    facts = {"types": types, "requirements": requirements}
    path.write_bytes(data)
    path.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


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


def _reviewed(estimator: Any) -> tuple[bytes, list[str]]:
    """An estimator in skops' format, and the types in it that skops does not trust by itself."""
    name = type(estimator).__name__
    try:
        data = skops.io.dumps(estimator)
    except Exception as error:  # skops has no common base for what it raises
        raise ExportError(
            f"skops cannot write {name} for serving without ONNX: {reason_of(error)}. Choose "
            "another estimator"
        ) from error
    types = sorted(skops.io.get_untrusted_types(data=data))
    libraries = {"sklearn", *_libraries(estimator)}
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
            f"{reason_of(error)}. Choose another estimator"
        ) from error
    return data, types


def _libraries(estimator: Any) -> Mapping[str, str]:
    """First names of the modules of an estimator's parts, with the distributions that have them."""
    modules = {type(part).__module__ for part in parts_of(estimator)}
    installed = packages_distributions()
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
