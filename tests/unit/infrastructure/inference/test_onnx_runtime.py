"""A served model maps float32 rows to probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, save

from domain.contract import Classes, ModelSpec, Number, Quantity, Text
from domain.errors import PackageError
from infrastructure.inference.onnx_runtime import load_onnx
from tests import petals

ROWS = petals.load().encoded(petals.SPEC)
RENT = ModelSpec("rent", (Number("area", "m²", 0, 500),), Quantity("rent", "EUR"))
REVIEW = ModelSpec("review", (Text("review"),), Classes(("good", "bad")))


@pytest.mark.parametrize("count", [1, 2, 150])
def test_each_row_gets_one_float32_probability_for_each_class(onnx_file: Path, count: int) -> None:
    probabilities = load_onnx(onnx_file, petals.SPEC)(ROWS[:count])
    assert probabilities.shape == (count, 3)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_a_row_gets_the_same_prediction_alone_and_in_a_batch(onnx_file: Path) -> None:
    model = load_onnx(onnx_file, petals.SPEC)
    alone = np.concatenate([model(ROWS[row : row + 1]) for row in range(len(ROWS))])
    np.testing.assert_array_equal(alone, model(ROWS))


def test_the_number_of_threads_does_not_change_predictions(onnx_file: Path) -> None:
    np.testing.assert_allclose(
        load_onnx(onnx_file, petals.SPEC, threads=2)(ROWS),
        load_onnx(onnx_file, petals.SPEC)(ROWS),
        atol=1e-6,
    )


@pytest.mark.parametrize("rows", [ROWS.astype(np.float64), ROWS[:, :3]])
def test_rows_of_another_type_or_width_are_refused(onnx_file: Path, rows: np.ndarray) -> None:
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        load_onnx(onnx_file, petals.SPEC)(rows)


def test_a_file_that_is_not_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(Exception, match="INVALID_PROTOBUF"):
        load_onnx(tmp_path / "model.onnx", petals.SPEC)


def write_model(path: Path, outputs: dict[str, float], kind: int = TensorProto.FLOAT) -> Path:
    """A model whose outputs, not in the requested order, are its input plus a number."""
    nodes, constants = [], []
    for name, number in outputs.items():
        constants.append(helper.make_tensor(f"{name}_number", TensorProto.FLOAT, [1], [number]))
        nodes.append(helper.make_node("Add", ["inputs", f"{name}_number"], [name]))
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("inputs", kind, [None, 1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in outputs],
        constants,
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_value_and_limits_are_combined_by_name_into_one_array(tmp_path: Path) -> None:
    outputs = {"upper": 10.0, "other": 99.0, "lower": -10.0, "prediction": 0.0}
    answer = load_onnx(write_model(tmp_path / "model.onnx", outputs), RENT)
    answers = answer(np.array([[1], [300]], dtype=np.float32))
    assert answers.tolist() == [[1, -9, 11], [300, 290, 310]]
    assert answers.dtype == np.float32


def test_a_model_without_the_outputs_of_its_task_is_refused_with_what_it_gives(
    tmp_path: Path, onnx_file: Path
) -> None:
    with pytest.raises(PackageError, match="expected prediction, lower, upper"):
        load_onnx(onnx_file, RENT)
    only = write_model(tmp_path / "model.onnx", {"prediction": 0.0})
    with pytest.raises(PackageError, match="has the outputs prediction, expected probabilities"):
        load_onnx(only, petals.SPEC)


def test_texts_are_accepted_as_an_array_of_str(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [
            helper.make_node(
                "LabelEncoder",
                ["inputs"],
                ["probabilities"],
                domain="ai.onnx.ml",
                keys_strings=["good", "naïve"],
                values_floats=[1.0, 0.5],
                default_float=0.0,
            )
        ],
        "model",
        [helper.make_tensor_value_info("inputs", TensorProto.STRING, [None, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 1])],
    )
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    save(helper.make_model(graph, opset_imports=sets, ir_version=9), tmp_path / "model.onnx")
    answer = load_onnx(tmp_path / "model.onnx", REVIEW)
    assert answer(REVIEW.encode_rows([["good"], ["naïve"], ["other"]])).tolist() == [
        [1],
        [0.5],
        [0],
    ]
