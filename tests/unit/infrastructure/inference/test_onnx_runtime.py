"""A served model takes float32 rows and gives probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from domain.models import iris
from infrastructure.inference.onnx_runtime import load_onnx

ROWS = iris.load().inputs.to_numpy(np.float32)


@pytest.mark.parametrize("count", [1, 2, 150])
def test_each_row_gets_one_float32_probability_for_each_class(onnx_file: Path, count: int) -> None:
    probabilities = load_onnx(onnx_file)(ROWS[:count])
    assert probabilities.shape == (count, 3)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_a_row_gets_the_same_answer_alone_and_among_others(onnx_file: Path) -> None:
    model = load_onnx(onnx_file)
    alone = np.concatenate([model(ROWS[row : row + 1]) for row in range(len(ROWS))])
    np.testing.assert_array_equal(alone, model(ROWS))


def test_the_number_of_threads_does_not_change_the_answers(onnx_file: Path) -> None:
    np.testing.assert_allclose(
        load_onnx(onnx_file, threads=2)(ROWS), load_onnx(onnx_file)(ROWS), atol=1e-6
    )


@pytest.mark.parametrize("rows", [ROWS.astype(np.float64), ROWS[:, :3]])
def test_rows_of_another_type_or_width_are_refused(onnx_file: Path, rows: np.ndarray) -> None:
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        load_onnx(onnx_file)(rows)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(Exception, match="INVALID_PROTOBUF"):
        load_onnx(tmp_path / "model.onnx")
