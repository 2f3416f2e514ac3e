"""Chooses the framework of an estimator; adds intervals to regressions of every framework."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from application.ports.framework import CurveReport
from domain.contract import ModelSpec
from domain.data.split_keys import SplitKeys
from domain.errors import ExportError
from domain.estimators.conformal import ConformalRegressor
from domain.estimators.search import best_found
from infrastructure.frameworks import native, scikit_learn

# library of the estimator's class → module of this package
_ADAPTERS = {"skorch": "pytorch", "keras": "keras"}


class Adapter(Protocol):
    """A module of this package, for one library; see the port `Framework`."""

    def fit(
        self,
        estimator: Any,
        rows: np.ndarray,
        target: np.ndarray,
        report: CurveReport,
        keys: SplitKeys | None,
    ) -> None:
        """Fit on encoded rows."""

    def export(self, estimator: Any, spec: ModelSpec, path: Path) -> None:
        """Write `path` as ONNX."""


def framework_of(estimator: Any) -> Adapter:
    """The adapter of an estimator's library; scikit-learn's by default."""
    libraries = [cls.__module__.partition(".")[0] for cls in type(estimator).__mro__]
    known = [_ADAPTERS[library] for library in libraries if library in _ADAPTERS]
    name = known[0] if known else "scikit_learn"
    return cast(Adapter, import_module(f"infrastructure.frameworks.{name}"))


class Frameworks:
    """Trains and exports estimators of every library; implements the port `Framework`."""

    def fit(
        self,
        estimator: Any,
        rows: np.ndarray,
        target: np.ndarray,
        report: CurveReport,
        keys: SplitKeys | None = None,
    ) -> None:
        """Fit on encoded rows; a conformal regressor does not report the epochs of its folds."""
        if isinstance(estimator, ConformalRegressor):
            estimator.fit(rows, target, keys)
        else:
            framework_of(estimator).fit(estimator, rows, target, report, keys)

    def check_export(self, estimator: Any) -> None:
        """Check that an unfitted estimator can be exported to ONNX, as far as is known before.

        Raises:
            ExportError: a part of it cannot be exported; the message says what to do.
        """
        if isinstance(estimator, ConformalRegressor):
            estimator = estimator.estimator
        steps = getattr(estimator, "steps", None)
        if steps and framework_of(steps[-1][1]) is not scikit_learn:
            raise ExportError(
                f"cannot export {type(estimator).__name__} around a network: move the "
                "preprocessing into the network"
            )
        if framework_of(estimator) is scikit_learn:
            try:
                scikit_learn.check_export(estimator)
            except ExportError as error:
                raise ExportError(f"{error}. {_alternative(estimator)}") from error

    def export(self, estimator: Any, spec: ModelSpec, path: Path) -> None:
        """Write `path` as ONNX.

        Raises:
            ExportError: the estimator cannot be exported.
        """
        estimator = best_found(estimator)
        if isinstance(estimator, ConformalRegressor):
            self.export(estimator.estimator_, spec, path)
            _add_interval(path, estimator.half_width_)
        else:
            steps = getattr(estimator, "steps", None)  # the last step of a pipeline decides
            framework_of(steps[-1][1] if steps else estimator).export(estimator, spec, path)
            _normalize(path)

    def check_save(self, estimator: Any) -> None:
        """Check that an unfitted estimator can be served as it is, as far as is known before.

        Raises:
            ExportError: skops cannot write or read it, or a part of it is not trusted.
        """
        native.check_save(estimator)

    def save(self, estimator: Any, _spec: ModelSpec, path: Path) -> None:
        """Write `path` with skops, which loads it without unpickling.

        Raises:
            ExportError: skops cannot write or read it, or a part of it is not trusted.
        """
        native.save(estimator, path)


def _alternative(estimator: Any) -> str:
    """What to do about an unfitted estimator that has no ONNX form."""
    try:
        native.check_save(estimator)
    except ExportError as error:
        return f"Choose another estimator, since this one cannot be served as it is either: {error}"
    return (
        'Choose another estimator, or serve it as it is: "serving": {"format": "native"} in the '
        "configuration"
    )


def _normalize(path: Path) -> None:
    """Make exports of the same model equal: sort the operator sets, drop paths of source files."""
    # pylint: disable-next=import-outside-toplevel  # not where a model is served natively
    from onnx import load, save

    model = load(path)
    sets = {item.domain: item for item in model.opset_import}
    del model.opset_import[:]
    model.opset_import.extend(sets[domain] for domain in sorted(sets))
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    for value in graph.initializer:
        del value.metadata_props[:]
    save(model, path)


def _add_interval(path: Path, half_width: float) -> None:
    """Add the outputs ``lower`` and ``upper`` around ``prediction`` to a model."""
    # pylint: disable-next=import-outside-toplevel  # only regressions need it
    from onnx import TensorProto, helper, load, save

    model = load(path)
    graph = model.graph
    graph.initializer.append(
        helper.make_tensor("half_width", TensorProto.FLOAT, [1, 1], [half_width])
    )
    for name, operator in (("lower", "Sub"), ("upper", "Add")):
        graph.node.append(helper.make_node(operator, ["prediction", "half_width"], [name]))
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]))
    save(model, path)
