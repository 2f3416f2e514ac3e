"""Models without an ONNX form are loaded without running code from their file."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from importlib.metadata import version
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
from skops.io._protocol import PROTOCOL

from domain.errors import PackageError
from infrastructure.frameworks.native import save
from infrastructure.inference.native import installed_libraries, load_native, untrusted
from tests import petals
from tests.installed import LIBRARY, install_library
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


def forge(file: Path, name: str, *args: Any) -> None:
    """A file that calls a class with arguments when skops loads it, and a record that lists it."""
    module, _, attribute = name.rpartition(".")
    content = [
        {
            "__class__": "str",
            "__module__": "builtins",
            "__loader__": "JsonNode",
            "content": json.dumps(value),
            "is_json": True,
        }
        for value in args
    ]
    schema = {
        "__class__": attribute,
        "__module__": module,
        "__loader__": "ConstructorFromReduceNode",
        "content": {
            "__class__": "tuple",
            "__module__": "builtins",
            "__loader__": "TupleNode",
            "content": content,
        },
        "protocol": PROTOCOL,
        "_skops_version": skops.__version__,
    }
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))
    facts = {"types": [name], "requirements": []}
    file.with_suffix(".json").write_text(json.dumps(facts), encoding="utf-8")


@pytest.mark.parametrize("name", ["psutil.Popen", "subprocess.Popen"])
def test_files_that_are_both_forged_run_no_command(name: str, file: Path) -> None:
    forge(file, name, ["touch", str(file.with_name("made"))])
    with pytest.raises(PackageError, match=f"contains {name}, which is never trusted"):
        load_native(file, petals.SPEC)
    assert not file.with_name("made").exists()


def test_files_that_are_both_forged_overwrite_no_file(file: Path) -> None:
    victim = file.with_name("victim")
    victim.write_text("precious", encoding="utf-8")
    forge(file, "numpy.memmap", str(victim), "uint8", "w+", 0, [4])
    with pytest.raises(PackageError, match="contains numpy.memmap, which is never trusted"):
        load_native(file, petals.SPEC)
    assert victim.read_text(encoding="utf-8") == "precious"


def test_a_library_counts_only_together_with_an_estimator_of_it() -> None:
    pytest.importorskip("lightgbm", reason="make install EXTRAS=lightgbm")
    booster, estimator = "lightgbm.basic.Booster", "lightgbm.sklearn.LGBMClassifier"
    assert untrusted([booster]) == [booster]
    assert not untrusted([booster, estimator])
    assert untrusted([booster, estimator, "psutil.Popen"]) == ["psutil.Popen"]


def test_modules_that_are_not_installed_as_a_library_are_not_even_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stray.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    names = ["stray.Thing", "domain.estimators.torch_network.TorchClassifier", "__main__.Own"]
    assert untrusted(names) == sorted(names)
    assert "stray" not in sys.modules


@pytest.mark.parametrize(
    ("estimator", "kind", "message"),
    [
        (StandardScaler(), "petals", "StandardScaler, which has no predict_proba: train again"),
        (StandardScaler(), "regression", "StandardScaler, which has no predict: train again"),
        ([1, 2], "petals", "object of list, which has no predict_proba"),
    ],
)
def test_a_file_without_an_estimator_that_predicts_is_refused(
    estimator: Any, kind: str, message: str, file: Path
) -> None:
    saved(LogisticRegression().fit(ROWS, SPECIES), file)
    skops.io.dump(estimator, file)
    with pytest.raises(PackageError, match=message):
        load_native(file, petals.SPEC if kind == "petals" else KINDS[kind].SPEC)


def test_functions_and_classes_of_python_are_never_trusted() -> None:
    never = [
        *("builtins.eval", "os.system", "subprocess.Popen", "sklearn.utils.gen_batches"),
        "nothing",
    ]
    known = ["sklearn.tree._tree.Tree", "numpy.dtype", "collections.OrderedDict"]
    known += ["scipy.sparse._csr.csr_matrix", "scipy.sparse._csc.csc_array"]
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "cannot read .*model.json: Expecting .*; train again"),
        (b"\xff\xfe", "cannot read .*model.json: 'utf-8' codec .*; train again"),
        (b"[]", "must have types and requirements, lists of text: train again"),
        (b'{"types": []}', "must have types and requirements"),
        (b'{"requirements": []}', "must have types and requirements"),
        (b'{"types": [[1]], "requirements": []}', "must have types and requirements"),
        (b'{"types": "*", "requirements": []}', "must have types and requirements"),
    ],
)
def test_a_damaged_record_is_refused_with_its_name(
    content: bytes, message: str, file: Path
) -> None:
    saved(LogisticRegression().fit(ROWS, SPECIES), file)
    file.with_suffix(".json").write_bytes(content)
    with pytest.raises(PackageError, match=message):
        load_native(file, petals.SPEC)


@pytest.mark.parametrize(
    ("requirement", "found"),
    [("scikit-learn==0.1", re.escape(version("scikit-learn"))), ("absent==1.0", "no version")],
)
def test_a_model_of_another_version_of_its_library_is_loaded_with_a_warning(
    requirement: str, found: str, file: Path
) -> None:
    saved(LogisticRegression().fit(ROWS, SPECIES), file)
    record = file.with_suffix(".json")
    facts = json.loads(record.read_text(encoding="utf-8"))
    facts["requirements"] = [requirement]
    record.write_text(json.dumps(facts), encoding="utf-8")
    with pytest.warns(UserWarning, match=f"trained with {requirement}, but {found} is installed"):
        load_native(file, petals.SPEC)


def test_a_model_of_the_installed_versions_is_loaded_without_a_warning(file: Path) -> None:
    saved(LogisticRegression().fit(ROWS, SPECIES), file)
    with warnings.catch_warnings(action="error"):
        load_native(file, petals.SPEC)


def test_a_library_that_is_not_installed_is_named_with_its_version(file: Path) -> None:
    forge(file, "absent_library.Estimator")
    facts = {"types": ["absent_library.Estimator"], "requirements": ["absent-library==1.0"]}
    file.with_suffix(".json").write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(PackageError, match="needs absent-library==1.0: No module named 'absent_"):
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


def test_a_library_that_is_installed_later_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert LIBRARY not in installed_libraries()
    assert installed_libraries() is installed_libraries()
    install_library(tmp_path)
    assert LIBRARY in installed_libraries()
