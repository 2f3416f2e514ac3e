"""An exported estimator predicts the same, even where rounding to float32 matters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    BaggingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from domain.contract import ModelSpec, Number, Quantity
from domain.errors import ExportError
from infrastructure.frameworks import scikit_learn
from infrastructure.inference.onnx_runtime import load_onnx
from tests import petals
from tests.kinds import KINDS, UNLIKE

TOLERANCE = 1e-5
FLOWERS = petals.load()
ROWS, SPECIES = FLOWERS.encoded(petals.SPEC), FLOWERS.encoded_target(petals.SPEC)


def exported(estimator: Any, spec: ModelSpec, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The estimator, exported to ONNX and loaded."""
    scikit_learn.export(estimator, spec, folder / "model.onnx")
    return load_onnx(folder / "model.onnx", spec)


def rows_beside_splits(forest: RandomForestClassifier, rng: np.random.Generator) -> np.ndarray:
    """Rows with one input at a split point of the forest, and at the float32 on each side of it."""
    rows = []
    for tree in (estimator.tree_ for estimator in forest.estimators_):
        splits = tree.feature >= 0
        for feature, threshold in zip(tree.feature[splits], tree.threshold[splits]):
            point = np.float32(threshold)
            for value in (np.nextafter(point, np.float32(0)), point, np.nextafter(point, np.inf)):
                row = rng.uniform(0.1, 8, 4).astype(np.float32)
                row[feature] = value
                rows.append(row)
    return np.array(rows, np.float32)


def test_fitting_learns_and_reports_no_epochs() -> None:
    reported: list[Any] = []
    estimator = petals.build(10, 5, 2, 1, 0)
    scikit_learn.fit(estimator, ROWS, SPECIES, lambda *figures: reported.append(figures))
    assert estimator.score(ROWS, SPECIES) > 0.95
    assert not reported


def test_random_rows_get_the_same_predictions(
    forest: RandomForestClassifier, onnx_file: Path
) -> None:
    rows = np.random.default_rng(0).uniform(0.1, 30, (2000, 4)).astype(np.float32)
    rows[:1000] = rows[:1000] / 4  # the range of the flowers
    np.testing.assert_allclose(
        load_onnx(onnx_file, petals.SPEC)(rows), forest.predict_proba(rows), atol=TOLERANCE
    )


def test_rows_next_to_split_points_fall_on_the_same_side(
    forest: RandomForestClassifier, onnx_file: Path
) -> None:
    rows = rows_beside_splits(forest, np.random.default_rng(0))
    assert len(rows) > 200
    np.testing.assert_allclose(
        load_onnx(onnx_file, petals.SPEC)(rows), forest.predict_proba(rows), atol=TOLERANCE
    )


def test_every_flower_gets_the_same_prediction(
    forest: RandomForestClassifier, onnx_file: Path
) -> None:
    np.testing.assert_allclose(
        load_onnx(onnx_file, petals.SPEC)(ROWS), forest.predict_proba(ROWS), atol=TOLERANCE
    )


def test_the_model_accepts_any_number_of_float_rows_of_the_contract_width(onnx_file: Path) -> None:
    (graph_input,) = onnx.load(onnx_file).graph.input
    rows, inputs = graph_input.type.tensor_type.shape.dim
    assert graph_input.name == "inputs"
    assert graph_input.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert not rows.HasField("dim_value")
    assert inputs.dim_value == petals.SPEC.width


def test_probabilities_are_one_array_and_the_only_output(onnx_file: Path) -> None:
    (probabilities,) = onnx.load(onnx_file).graph.output
    assert probabilities.name == "probabilities"
    assert probabilities.type.WhichOneof("value") == "tensor_type"


@pytest.mark.parametrize("kind", ["categories", "tensor", "text"])
def test_a_classifier_for_every_kind_of_input_predicts_the_same(
    fitted: Callable[[str], Any], kind: str, tmp_path: Path
) -> None:
    spec = KINDS[kind].SPEC
    served = exported(fitted(kind), spec, tmp_path)
    for rows in (KINDS[kind].load().encoded(spec), spec.encode_rows(UNLIKE[kind])):
        np.testing.assert_allclose(served(rows), fitted(kind).predict_proba(rows), atol=TOLERANCE)


def test_a_text_is_passed_as_a_string(fitted: Callable[[str], Any], tmp_path: Path) -> None:
    exported(fitted("text"), KINDS["text"].SPEC, tmp_path)
    (graph_input,) = onnx.load(tmp_path / "model.onnx").graph.input
    assert graph_input.type.tensor_type.elem_type == onnx.TensorProto.STRING
    assert graph_input.type.tensor_type.shape.dim[1].dim_value == 1


def test_a_regression_outputs_only_its_prediction(tmp_path: Path) -> None:
    spec = ModelSpec("m", tuple(Number(n, "", 0, 9, nullable=True) for n in "abc"), Quantity("y"))
    rows = np.random.default_rng(0).uniform(0, 9, (50, 3)).astype(np.float32)
    rows[::7, 1] = np.nan
    estimator = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), Ridge())
    estimator.fit(rows, np.nan_to_num(rows) @ [1, 2, 3])
    scikit_learn.export(estimator, spec, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    assert [output.name for output in model.graph.output] == ["prediction"]
    predictions: Any = ReferenceEvaluator(model).run(None, {"inputs": rows})[0]
    assert predictions.shape == (50, 1)
    np.testing.assert_allclose(predictions[:, 0], estimator.predict(rows), rtol=1e-4)


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(max_iter=500),
        make_pipeline(StandardScaler(), LogisticRegression()),
        HistGradientBoostingClassifier(max_iter=5),
    ],
    ids=["logistic", "pipeline", "boosting"],
)
def test_other_kinds_of_estimators_are_exported_too(estimator: Any, tmp_path: Path) -> None:
    estimator.fit(ROWS, SPECIES)
    np.testing.assert_allclose(
        exported(estimator, petals.SPEC, tmp_path)(ROWS),
        estimator.predict_proba(ROWS),
        atol=TOLERANCE,
    )


class Oracle(ClassifierMixin, BaseEstimator):
    """An estimator that skl2onnx does not support."""

    def fit(self, _rows: np.ndarray, _target: np.ndarray) -> Oracle:
        """Learns nothing."""
        return self


def test_an_estimator_without_converter_is_refused_and_no_file_is_left_behind(
    tmp_path: Path,
) -> None:
    with pytest.raises(ExportError, match="skl2onnx cannot export Oracle: "):
        scikit_learn.export(Oracle(), petals.SPEC, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_an_estimator_without_converter_is_refused_before_the_fit() -> None:
    for estimator in (
        Oracle(),
        make_pipeline(StandardScaler(), Oracle()),
        BaggingClassifier(Oracle()),
    ):
        with pytest.raises(ExportError, match="Oracle cannot be exported to ONNX: it has no ONNX"):
            scikit_learn.check_export(estimator)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (FunctionTransformer(np.log1p), "a function of Python"),
        (SimpleImputer(add_indicator=True), "add_indicator=True"),
    ],
)
def test_a_step_that_onnx_cannot_express_is_refused_before_the_fit(step: Any, message: str) -> None:
    columns = make_column_transformer((step, [0]), remainder="passthrough")
    with pytest.raises(ExportError, match=f"{type(step).__name__} cannot.*{message}"):
        scikit_learn.check_export(make_pipeline(columns, LogisticRegression()))


@pytest.mark.parametrize("kind", KINDS)
def test_an_estimator_of_every_kind_of_model_passes_the_check(kind: str) -> None:
    scikit_learn.check_export(KINDS[kind].build())
