"""Models without an ONNX form are loaded without running code from their file."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import gen_batches

from domain.errors import PackageError
from infrastructure.inference.native import foreign_types, load_native
from tests import petals
from tests.kinds import KINDS, UNLIKE

ROWS = petals.load().encoded(petals.SPEC)


def saved(estimator: Any, folder: Path) -> Path:
    """The file of an estimator."""
    skops.io.dump(estimator, folder / "model.skops")
    return folder / "model.skops"


@pytest.mark.parametrize("count", [1, 150])
def test_a_classifier_gives_float32_probabilities(
    fitted: Callable[[str], Any], count: int, tmp_path: Path
) -> None:
    answers = load_native(saved(fitted("petals"), tmp_path), petals.SPEC)(ROWS[:count])
    assert answers.shape == (count, 3)
    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers, fitted("petals").predict_proba(ROWS[:count]), atol=1e-7)


def test_a_regression_gives_its_prediction_and_its_interval(
    fitted: Callable[[str], Any], tmp_path: Path
) -> None:
    spec = KINDS["regression"].SPEC
    rows = spec.encode_rows(UNLIKE["regression"])
    answers = load_native(saved(fitted("regression"), tmp_path), spec)(rows)
    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers, fitted("regression").predict_interval(rows), rtol=1e-6)
    assert (np.diff(answers[:, [1, 0, 2]], axis=1) > 0).all()


def test_text_is_predicted_too(fitted: Callable[[str], Any], tmp_path: Path) -> None:
    spec = KINDS["text"].SPEC
    model = load_native(saved(fitted("text"), tmp_path), spec)
    answers = model(spec.encode_rows([["lovely fine"], ["awful dull"]]))
    assert [spec.classes[best] for best in answers.argmax(axis=1)] == ["good", "bad"]


def tell(rows: np.ndarray) -> np.ndarray:
    """A step that is not scikit-learn's; it must never be run."""
    raise AssertionError(rows)


@pytest.mark.parametrize("function", [tell, print, eval])
def test_a_file_that_holds_anything_else_is_refused_by_its_name(
    function: Any, tmp_path: Path
) -> None:
    file = saved(make_pipeline(FunctionTransformer(function), LogisticRegression()), tmp_path)
    (name,) = foreign_types(file)
    assert name.endswith(f".{function.__name__}")
    with pytest.raises(PackageError, match=f"contains {name}, and only scikit-learn's"):
        load_native(file, petals.SPEC)


def test_everything_foreign_is_named_in_order(tmp_path: Path) -> None:
    steps = (FunctionTransformer(function) for function in (tell, print, eval))
    names = foreign_types(saved(make_pipeline(*steps), tmp_path))
    assert names == ["builtins.eval", "builtins.print", f"{tell.__module__}.tell"]


def test_a_function_is_foreign_even_if_it_is_scikit_learns(tmp_path: Path) -> None:
    file = saved(FunctionTransformer(gen_batches), tmp_path)
    assert [name.rpartition(".")[2] for name in foreign_types(file)] == ["gen_batches"]


def test_a_scikit_learn_model_contains_nothing_foreign(
    fitted: Callable[[str], Any], tmp_path: Path
) -> None:
    for kind in ("petals", *KINDS):
        assert not foreign_types(saved(fitted(kind), tmp_path))


def test_a_pickle_in_place_of_the_file_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes(pickle.dumps(LogisticRegression()))
    with pytest.raises(Exception, match="not a zip file"):
        load_native(tmp_path / "model.skops", petals.SPEC)
