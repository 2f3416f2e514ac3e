"""Models without an ONNX form, loaded with skops; nothing is unpickled.

``model.json``, next to ``model.skops``, lists what training has found in it: the types that a
server may create, and the libraries that it needs. Both files may have been forged, so only classes
of libraries of estimators are created, even if others are listed.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from application.ports.model import Model
from domain.contract import ModelSpec
from domain.errors import PackageError, reason_of
from domain.evaluation.predictions import predict_function

_SPARSE = ("bsr", "coo", "csc", "csr", "dia")  # those that SciPy writes to files
OWN_TYPES = frozenset(
    {
        "collections.OrderedDict",  # LightGBM's boosters keep one
        "domain.estimators.conformal.ConformalRegressor",
        "numpy.dtype",  # imputers keep one
        *(f"scipy.sparse._{name}.{name}_array" for name in _SPARSE),  # support vectors
        *(f"scipy.sparse._{name}.{name}_matrix" for name in _SPARSE),
    }
)


def load_native(path: Path, spec: ModelSpec) -> Model:
    """A model from a file that skops has written.

    Warns if another version of a library is installed than the model was trained with.

    Raises:
        PackageError: it contains a type that training has not recorded, or one that is never
            trusted; nothing is loaded then. Or a library is missing, skops cannot read it, its
            record is damaged, or it contains no estimator that predicts what the contract says.
    """
    # pylint: disable-next=import-outside-toplevel  # only in images of such models
    import skops.io

    facts_file = path.with_suffix(".json")
    types, requirements = _read_facts(facts_file)
    try:
        found = skops.io.get_untrusted_types(file=path)
        unknown = sorted({*found} - {*types})
        if unknown:
            raise PackageError(
                f"{path} contains {', '.join(unknown)}, which training has not recorded in "
                f"{facts_file.name}"
            )
        if never := untrusted(found):
            raise PackageError(f"{path} contains {', '.join(never)}, which is never trusted")
        _warn_of_other_versions(requirements)
        estimator = skops.io.load(path, trusted=found)
    except ImportError as error:
        raise PackageError(f"{path} needs {', '.join(requirements)}: {reason_of(error)}") from error
    except PackageError:
        raise
    except Exception as error:  # skops has no common base for what it raises
        raise PackageError(f"skops cannot read {path}: {reason_of(error)}") from error
    method = "predict_proba" if spec.classes else "predict"
    if not callable(getattr(estimator, method, None)):
        raise PackageError(
            f"{path} contains an object of {type(estimator).__name__}, which has no {method}: "
            "train again"
        )
    compute = predict_function(estimator, spec)

    def predict(rows: np.ndarray) -> np.ndarray:
        """Encoded rows → float32 (n_rows, n_outputs)."""
        return np.asarray(compute(rows), dtype=np.float32)

    return predict


def untrusted(types: Collection[str]) -> list[str]:
    """Those names of types that no file may contain, sorted.

    Trusted are `OWN_TYPES`, classes of scikit-learn, and classes of an installed library that has
    an estimator among the types: a class with ``fit`` and ``get_params``. Functions, which could do
    anything, classes of Python itself and of libraries without estimators, of which some run
    commands or write files, are not.

    Raises:
        ImportError: the library of a type is missing.
    """
    installed = installed_libraries()
    classes = {name: _class_of(name, installed) for name in {*types} - OWN_TYPES}
    libraries = {"sklearn"} | {
        _library_of(name)
        for name, found in classes.items()
        if hasattr(found, "fit") and hasattr(found, "get_params")
    }
    return sorted(
        name for name, found in classes.items() if not found or _library_of(name) not in libraries
    )


def installed_libraries() -> Mapping[str, list[str]]:
    """First names of the modules that are installed, with the distributions that have them.

    Looking through all packages takes half a second, so it is done once, until one is installed.
    """
    folders = [folder or "." for folder in sys.path if os.path.isdir(folder or ".")]
    return _installed(tuple((folder, os.stat(folder).st_mtime_ns) for folder in folders))


@lru_cache(maxsize=1)
def _installed(_folders: tuple[tuple[str, int], ...]) -> Mapping[str, list[str]]:
    return packages_distributions()


def _class_of(name: str, installed: Collection[str]) -> type | None:
    """The class of this name, if it is defined by the installed library that the name begins with;
    modules of this clone and of Python itself are not even imported."""
    module, _, attribute = name.rpartition(".")
    library = _library_of(name)
    if not module or library in sys.stdlib_module_names:
        return None
    if library not in installed:
        if not library or library in sys.modules or find_spec(library):
            return None
        raise ModuleNotFoundError(f"No module named {library!r}")
    found = getattr(import_module(module), attribute, None)
    return found if isinstance(found, type) and _library_of(found.__module__) == library else None


def _library_of(name: str) -> str:
    return name.partition(".")[0]


def _read_facts(file: Path) -> tuple[list[str], list[str]]:
    """The types and the requirements that training has recorded."""
    if not file.exists():
        raise PackageError(f"{file} is missing, so no type is trusted: train again")
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PackageError(f"cannot read {file}: {reason_of(error)}; train again") from error
    match facts:
        case {"types": [*types], "requirements": [*requirements]}:
            if all(isinstance(each, str) for each in (*types, *requirements)):
                return types, requirements
    raise PackageError(f"{file} must have types and requirements, lists of text: train again")


def _warn_of_other_versions(requirements: Iterable[str]) -> None:
    """Warn of libraries of other versions; `make bento-build` refuses them."""
    for requirement in requirements:
        name, _, wanted = requirement.partition("==")
        try:
            found = version(name).partition("+")[0]
        except PackageNotFoundError:
            found = "no version"
        if found != wanted:
            warnings.warn(
                f"the model was trained with {requirement}, but {found} is installed: install that "
                "version, or train again",
                stacklevel=3,
            )
