"""scikit-learn estimators: trained in one go, exported by skl2onnx.

skl2onnx is imported at export, so that its import does not count as time of a fit.
"""

# pylint: disable=import-outside-toplevel

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.experimental import enable_halving_search_cv  # pylint: disable=unused-import
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.preprocessing import FunctionTransformer

from application.ports.framework import CurveReport
from domain.contract import ModelSpec, Text
from domain.data.split_keys import SplitKeys
from domain.errors import ExportError, reason_of
from domain.estimators.fitting import fit_estimator
from infrastructure.frameworks.boosting import reason_against, register_converters

# exported by what they have found
_SEARCHES = (
    *(FixedThresholdClassifier, TunedThresholdClassifierCV, GridSearchCV, RandomizedSearchCV),
    *(HalvingGridSearchCV, HalvingRandomSearchCV),
)


def fit(
    estimator: Any,
    rows: np.ndarray,
    target: np.ndarray,
    _report: CurveReport,
    keys: SplitKeys | None = None,
) -> None:
    """Fit; there are no epochs to report."""
    fit_estimator(estimator, rows, target, keys)


def check_export(estimator: Any) -> None:
    """Check that each part of an unfitted estimator can be exported.

    Raises:
        ExportError: a part has no converter, or parameters that ONNX cannot express.
    """
    from skl2onnx._parse import sklearn_parsers_map
    from skl2onnx._supported_operators import sklearn_operator_name_map

    register_converters()
    known = {*sklearn_parsers_map, *sklearn_operator_name_map, *_SEARCHES}
    for part in parts_of(estimator):
        name = type(part).__name__
        if type(part) not in known and not hasattr(part, "onnx_converter"):
            reason = "it has no ONNX form"
        else:
            reason = _reason_against(part)
        if reason:
            raise ExportError(f"{name} cannot be exported to ONNX: {reason}")


def parts_of(estimator: Any) -> Iterator[Any]:
    """An estimator and the estimators in its parameters."""
    yield estimator
    for value in estimator.get_params(deep=True).values():
        if hasattr(value, "fit") and hasattr(value, "get_params") and not isinstance(value, type):
            yield value


def _reason_against(part: Any) -> str:
    """Why these parameters cannot be exported; empty if they can."""
    parameters = part.get_params(deep=False)
    if isinstance(part, FunctionTransformer) and part.func is not None:
        return "a function of Python is not known to a server"
    if parameters.get("add_indicator"):
        return "add_indicator=True; a constant outside the range tells trees the same"
    return reason_against(type(part).__module__.partition(".")[0], parameters)


def export(estimator: Any, spec: ModelSpec, path: Path) -> None:
    """Write `path`: input ``inputs``, output ``probabilities`` or ``prediction``.

    Raises:
        ExportError: skl2onnx cannot convert the estimator.
    """
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    register_converters()
    text = isinstance(spec.inputs[0], Text)
    inputs = StringTensorType([None, 1]) if text else FloatTensorType([None, spec.width])
    options: dict[Any, Any] = {id(estimator): {"zipmap": False}} if spec.classes else {}
    if text:  # lower-casing needs a locale: choose one that every machine has
        options |= {kind: {"locale": "C.UTF-8"} for kind in (CountVectorizer, TfidfVectorizer)}
    try:
        model = to_onnx(estimator, initial_types=[("inputs", inputs)], options=options)
    except ExportError:
        raise
    except Exception as error:  # skl2onnx has no common base for what it raises
        raise ExportError(
            f"skl2onnx cannot export {type(estimator).__name__}: {reason_of(error)}"
        ) from error
    _name_output(model.graph, spec)
    path.write_bytes(model.SerializeToString())


def _name_output(graph: Any, spec: ModelSpec) -> None:
    """Rename the last output and drop the others: labels follow from it.

    Probabilities are clipped to [0, 1], since sums of float32 can miss it by rounding.
    """
    from onnx import TensorProto, helper

    del graph.output[:-1]
    previous, (output,) = "from_estimator", graph.output
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [previous if name == output.name else name for name in names]
    if spec.classes:
        output.name = "probabilities"
        for limit, value in (("least", 0.0), ("most", 1.0)):
            graph.initializer.append(helper.make_tensor(limit, TensorProto.FLOAT, [], [value]))
        # not Clip: in old opsets its limits are attributes, not inputs
        graph.node.append(helper.make_node("Max", [previous, "least"], ["at_least"]))
        last = helper.make_node("Min", ["at_least", "most"], [output.name])
    else:
        output.name = "prediction"
        last = helper.make_node("Identity", [previous], [output.name])
    graph.node.append(last)
