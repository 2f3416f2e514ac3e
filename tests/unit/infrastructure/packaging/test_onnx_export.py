"""The exported forest answers what scikit-learn's does, where rounding to float32 matters too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from domain.models import iris
from infrastructure.inference.onnx_runtime import load_onnx
from infrastructure.packaging.onnx_export import export_onnx

TOLERANCE = 1e-5


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


def test_random_rows_get_the_same_answers(forest: RandomForestClassifier, onnx_file: Path) -> None:
    rows = np.random.default_rng(0).uniform(0.1, 30, (2000, 4)).astype(np.float32)
    rows[:1000] = rows[:1000] / 4  # where the flowers are
    np.testing.assert_allclose(
        load_onnx(onnx_file)(rows), forest.predict_proba(rows), atol=TOLERANCE
    )


def test_rows_beside_split_points_fall_on_the_same_side(
    forest: RandomForestClassifier, onnx_file: Path
) -> None:
    rows = rows_beside_splits(forest, np.random.default_rng(0))
    assert len(rows) > 200
    np.testing.assert_allclose(
        load_onnx(onnx_file)(rows), forest.predict_proba(rows), atol=TOLERANCE
    )


def test_every_flower_gets_the_same_answer(forest: RandomForestClassifier, onnx_file: Path) -> None:
    rows = iris.load().inputs.to_numpy(np.float32)
    np.testing.assert_allclose(
        load_onnx(onnx_file)(rows), forest.predict_proba(rows), atol=TOLERANCE
    )


def test_the_model_takes_any_number_of_float_rows_of_the_contracts_width(onnx_file: Path) -> None:
    (given,) = onnx.load(onnx_file).graph.input
    rows, inputs = given.type.tensor_type.shape.dim
    assert given.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert not rows.HasField("dim_value")
    assert inputs.dim_value == len(iris.SPEC.features)


def test_probabilities_are_one_array_and_no_list_of_maps(onnx_file: Path) -> None:
    _, probabilities = onnx.load(onnx_file).graph.output
    assert probabilities.type.WhichOneof("value") == "tensor_type"


def test_another_kind_of_estimator_is_exported_too(tmp_path: Path) -> None:
    flowers = iris.load()
    rows = flowers.inputs.to_numpy(np.float32)
    estimator = LogisticRegression(max_iter=500).fit(rows, flowers.codes(iris.SPEC.classes))
    export_onnx(estimator, iris.SPEC, tmp_path / "model.onnx")
    np.testing.assert_allclose(
        load_onnx(tmp_path / "model.onnx")(rows), estimator.predict_proba(rows), atol=TOLERANCE
    )


class Oracle(ClassifierMixin, BaseEstimator):
    """An estimator that skl2onnx knows nothing of."""


def test_an_estimator_without_converter_is_refused_and_no_file_is_left(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Oracle"):
        export_onnx(Oracle(), iris.SPEC, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
