"""Models in ONNX and in skops' format are loaded by one function and predict the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domain.errors import PackageError
from infrastructure.frameworks.dispatch import Frameworks
from infrastructure.inference.loading import load_served
from tests.kinds import KINDS, UNLIKE


@pytest.mark.parametrize("kind", KINDS)
def test_both_forms_of_every_kind_of_model_predict_the_same(
    fitted: Callable[[str], Any], kind: str, tmp_path: Path
) -> None:
    spec = KINDS[kind].SPEC
    Frameworks().export(fitted(kind), spec, tmp_path / "model.onnx")
    Frameworks().save(fitted(kind), spec, tmp_path / "model.skops")
    for rows in (KINDS[kind].load().encoded(spec), spec.encode_rows(UNLIKE[kind])):
        answers = [load_served(tmp_path / f"model.{end}", spec)(rows) for end in ("onnx", "skops")]
        assert answers[0].shape == answers[1].shape == (len(rows), len(spec.output_columns))
        assert answers[0].dtype == answers[1].dtype == np.float32
        np.testing.assert_allclose(answers[0], answers[1], rtol=1e-5, atol=1e-6)


def test_a_model_without_the_outputs_of_its_contract_is_refused(onnx_file: Path) -> None:
    with pytest.raises(
        PackageError, match="has the outputs probabilities, expected prediction, lower, upper"
    ):
        load_served(onnx_file, KINDS["regression"].SPEC)


@pytest.mark.parametrize("end", ["onnx", "skops"])
def test_the_number_of_threads_does_not_change_predictions(
    fitted: Callable[[str], Any], end: str, tmp_path: Path
) -> None:
    path, spec = tmp_path / f"model.{end}", KINDS["regression"].SPEC
    (Frameworks().export if end == "onnx" else Frameworks().save)(fitted("regression"), spec, path)
    rows = KINDS["regression"].load().encoded(spec)
    np.testing.assert_array_equal(load_served(path, spec, 2)(rows), load_served(path, spec)(rows))
