"""Models without an ONNX form are loaded without running code from their file."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import gen_batches

from domain.errors import PackageError
from infrastructure.frameworks.native import save
from infrastructure.inference.native import load_native, untrusted
from tests import petals
from tests.kinds import KINDS, UNLIKE

ROWS = petals.load().encoded(petals.SPEC)
SPECIES = petals.load().encoded_target(petals.SPEC)


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return tmp_path / "model.skops"


def saved(estimator: Any, file: Path) -> Path:
    """The file of an estimator, as training writes it."""
    save(estimator, file)
    return file


@pytest.mark.parametrize("count", [1, 150])
def test_a_classifier_gives_float32_probabilities(
    fitted: Callable[[str], Any], count: int, file: Path
) -> None:
    answers = load_native(saved(fitted("petals"), file), petals.SPEC)(ROWS[:count])
    assert answers.shape == (count, 3)
    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers, fitted("petals").predict_proba(ROWS[:count]), atol=1e-7)


def test_a_regression_gives_its_prediction_and_its_interval(
    fitted: Callable[[str], Any], file: Path
) -> None:
    spec = KINDS["regression"].SPEC
    rows = spec.encode_rows(UNLIKE["regression"])
    answers = load_native(saved(fitted("regression"), file), spec)(rows)
    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers, fitted("regression").predict_interval(rows), rtol=1e-6)
    assert (np.diff(answers[:, [1, 0, 2]], axis=1) > 0).all()


def test_text_is_predicted_too(fitted: Callable[[str], Any], file: Path) -> None:
    spec = KINDS["text"].SPEC
    model = load_native(saved(fitted("text"), file), spec)
    answers = model(spec.encode_rows([["lovely fine"], ["awful dull"]]))
    assert [spec.classes[best] for best in answers.argmax(axis=1)] == ["good", "bad"]


def tell(rows: np.ndarray) -> np.ndarray:
    """A step that is not scikit-learn's; it must never be run."""
    raise AssertionError(rows)


@pytest.mark.parametrize("foreign", [FunctionTransformer(tell), RandomForestClassifier(2)])
def test_a_file_in_which_training_has_not_seen_a_type_is_refused_by_its_name(
    foreign: Any, file: Path
) -> None:
    saved(make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, SPECIES), file)
    if isinstance(foreign, RandomForestClassifier):
        foreign.fit(ROWS, SPECIES)
    skops.io.dump(foreign, file)
    name, *_ = skops.io.get_untrusted_types(file=file)
    with pytest.raises(PackageError, match=f"contains .*{name}.*, which training has not recorded"):
        load_native(file, petals.SPEC)


@pytest.mark.parametrize("function", [tell, print, eval, gen_batches])
def test_a_function_is_refused_even_if_the_record_was_changed_too(
    function: Any, file: Path
) -> None:
    skops.io.dump(make_pipeline(FunctionTransformer(function), LogisticRegression()), file)
    types = skops.io.get_untrusted_types(file=file)
    facts = {"types": types, "requirements": []}
    file.with_suffix(".json").write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(PackageError, match=f"{function.__name__}, which is never trusted"):
        load_native(file, petals.SPEC)


def test_functions_and_classes_of_python_are_never_trusted() -> None:
    never = [
        *("builtins.eval", "os.system", "subprocess.Popen", "sklearn.utils.gen_batches"),
        "nothing",
    ]
    known = ["sklearn.tree._tree.Tree", "numpy.dtype", "collections.OrderedDict"]
    assert untrusted([*known, *never]) == sorted(never)
    assert subprocess.Popen.__module__ == "subprocess"  # a class, but one that runs commands


def test_a_class_that_a_library_only_imports_is_not_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sklearn.tree.Popen", subprocess.Popen, raising=False)
    assert untrusted(["sklearn.tree.Popen"]) == ["sklearn.tree.Popen"]


def test_without_the_record_of_its_types_nothing_is_loaded(file: Path) -> None:
    skops.io.dump(LogisticRegression().fit(ROWS, SPECIES), file)
    with pytest.raises(PackageError, match="model.json is missing, so no type is trusted: train"):
        load_native(file, petals.SPEC)


def test_a_missing_library_is_named_with_its_version(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lightgbm = pytest.importorskip("lightgbm", reason="make install EXTRAS=lightgbm")
    saved(lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(ROWS, SPECIES), file)
    for name in [each for each in sys.modules if each.startswith("lightgbm")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    message = rf"needs lightgbm=={lightgbm.__version__}, scikit-learn==.*: .*lightgbm"
    with pytest.raises(PackageError, match=message):
        load_native(file, petals.SPEC)


def test_a_pickle_in_place_of_the_file_is_not_opened(file: Path) -> None:
    saved(LogisticRegression().fit(ROWS, SPECIES), file)
    file.write_bytes(pickle.dumps(LogisticRegression()))
    with pytest.raises(PackageError, match="skops cannot read .*not a zip file"):
        load_native(file, petals.SPEC)
