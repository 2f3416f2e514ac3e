"""Models that have no ONNX form, served as they are; nothing is unpickled."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np

from application.ports.model import Model
from domain.contract import ModelSpec
from domain.errors import PackageError
from domain.evaluation.predictions import predict_function

_HARMLESS = {
    "domain.estimators.conformal.ConformalRegressor",
    "numpy.dtype",  # imputers keep one
}


def load_native(path: Path, spec: ModelSpec) -> Model:
    """A model from a file that skops has written.

    Raises:
        PackageError: it holds what is neither scikit-learn's nor the house's; none of it is loaded.
    """
    # pylint: disable-next=import-outside-toplevel  # only in images of such models
    import skops.io

    foreign = foreign_types(path)
    if foreign:
        raise PackageError(f"{path} holds {', '.join(foreign)}, which is not scikit-learn's")
    estimator = skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
    answers = predict_function(estimator, spec)

    def answer(rows: np.ndarray) -> np.ndarray:
        """Encoded rows → float32 (n_rows, n_answers)."""
        return np.asarray(answers(rows), dtype=np.float32)

    return answer


def foreign_types(path: Path) -> list[str]:
    """What a file of skops holds beside scikit-learn's classes and the house's, by name, sorted.

    skops itself trusts no class that checks its state less than Python code would, trees included.
    Here they are: a package's digests are compared before it is loaded.
    """
    # pylint: disable-next=import-outside-toplevel  # only in images of such models
    import skops.io

    return sorted(
        name
        for name in skops.io.get_untrusted_types(file=path)
        if name not in _HARMLESS and not _is_class_of_sklearn(name)
    )


def _is_class_of_sklearn(name: str) -> bool:
    """Whether it is a class: a function that scikit-learn's modules import could do anything."""
    module, _, attribute = name.rpartition(".")
    if not module.startswith("sklearn."):
        return False
    try:
        found = getattr(import_module(module), attribute, None)
    except ImportError:
        return False
    return isinstance(found, type) and found.__module__.startswith("sklearn.")
