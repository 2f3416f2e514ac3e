"""Models without an ONNX form, loaded with skops; nothing is unpickled.

``model.json``, next to ``model.skops``, lists what training has found in it: the types that a
server may create, and the libraries that it needs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from importlib import import_module
from pathlib import Path

import numpy as np

from application.ports.model import Model
from domain.contract import ModelSpec
from domain.errors import PackageError, reason_of
from domain.evaluation.predictions import predict_function

OWN_TYPES = frozenset(
    {
        "collections.OrderedDict",  # LightGBM's boosters keep one
        "domain.estimators.conformal.ConformalRegressor",
        "numpy.dtype",  # imputers keep one
    }
)


def load_native(path: Path, spec: ModelSpec) -> Model:
    """A model from a file that skops has written.

    Raises:
        PackageError: it contains a type that training has not recorded, or one that is never
            trusted; nothing is loaded then. Or a library is missing, or skops cannot read it.
    """
    # pylint: disable-next=import-outside-toplevel  # only in images of such models
    import skops.io

    facts_file = path.with_suffix(".json")
    if not facts_file.exists():
        raise PackageError(f"{facts_file} is missing, so no type is trusted: train again")
    facts = json.loads(facts_file.read_text(encoding="utf-8"))
    try:
        found = skops.io.get_untrusted_types(file=path)
        unknown = sorted({*found} - {*facts["types"]})
        if unknown:
            raise PackageError(
                f"{path} contains {', '.join(unknown)}, which training has not recorded in "
                f"{facts_file.name}"
            )
        if never := untrusted(found):
            raise PackageError(f"{path} contains {', '.join(never)}, which is never trusted")
        estimator = skops.io.load(path, trusted=found)
    except ImportError as error:
        raise PackageError(
            f"{path} needs {', '.join(facts['requirements'])}: {reason_of(error)}"
        ) from error
    except PackageError:
        raise
    except Exception as error:  # skops has no common base for what it raises
        raise PackageError(f"skops cannot read {path}: {reason_of(error)}") from error
    compute = predict_function(estimator, spec)

    def predict(rows: np.ndarray) -> np.ndarray:
        """Encoded rows → float32 (n_rows, n_outputs)."""
        return np.asarray(compute(rows), dtype=np.float32)

    return predict


def untrusted(types: Collection[str]) -> list[str]:
    """Those names of types that no file may contain, sorted: functions, which could do anything,
    and classes of Python itself, of which some run commands.

    Raises:
        ImportError: the library of a type is missing.
    """
    return sorted(name for name in types if name not in OWN_TYPES and not _is_library_class(name))


def _is_library_class(name: str) -> bool:
    """Whether a name is that of a class, in a module of the library that defines it."""
    module, _, attribute = name.rpartition(".")
    library = module.partition(".")[0]
    if not library or library in sys.stdlib_module_names:
        return False
    found = getattr(import_module(module), attribute, None)
    return isinstance(found, type) and found.__module__.partition(".")[0] == library
