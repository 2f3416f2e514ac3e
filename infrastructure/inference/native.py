"""Models without an ONNX form, loaded with skops; nothing is unpickled."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np

from application.ports.model import Model
from domain.contract import ModelSpec
from domain.errors import PackageError
from domain.evaluation.predictions import predict_function

_TRUSTED = {
    "domain.estimators.conformal.ConformalRegressor",
    "numpy.dtype",  # imputers keep one
}


def load_native(path: Path, spec: ModelSpec) -> Model:
    """A model from a file that skops has written.

    Raises:
        PackageError: it contains types from neither scikit-learn nor the template; nothing is
            loaded.
    """
    # pylint: disable-next=import-outside-toplevel  # only in images of such models
    import skops.io

    foreign = foreign_types(path)
    if foreign:
        raise PackageError(
            f"{path} contains {', '.join(foreign)}, and only scikit-learn's types are allowed"
        )
    estimator = skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
    compute = predict_function(estimator, spec)

    def predict(rows: np.ndarray) -> np.ndarray:
        """Encoded rows → float32 (n_rows, n_outputs)."""
        return np.asarray(compute(rows), dtype=np.float32)

    return predict


def foreign_types(path: Path) -> list[str]:
    """Names of a skops file's types that are neither scikit-learn's nor the template's, sorted.

    skops trusts fewer of scikit-learn's classes, since some, such as trees, do not check their
    state. They are trusted here because a package's digests are checked before it is loaded.
    """
    # pylint: disable-next=import-outside-toplevel  # only in images of such models
    import skops.io

    return sorted(
        name
        for name in skops.io.get_untrusted_types(file=path)
        if name not in _TRUSTED and not _is_sklearn_class(name)
    )


def _is_sklearn_class(name: str) -> bool:
    """Whether it is a class of scikit-learn; functions are not trusted, they could do anything."""
    module, _, attribute = name.rpartition(".")
    if not module.startswith("sklearn."):
        return False
    try:
        found = getattr(import_module(module), attribute, None)
    except ImportError:
        return False
    return isinstance(found, type) and found.__module__.startswith("sklearn.")
