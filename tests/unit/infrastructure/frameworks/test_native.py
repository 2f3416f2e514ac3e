"""Estimators of any installed library are served as they are, and nothing else is trusted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, StandardScaler
from sklearn.svm import SVC

from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.errors import ExportError
from domain.estimators.conformal import ConformalRegressor
from infrastructure.frameworks.native import check_save, not_locked, save
from infrastructure.inference.native import load_native
from shared.paths import ROOT
from tests import petals
from tests.installed import LIBRARY, REQUIREMENT, install_library
from tests.kinds import KINDS

ROWS = petals.load().encoded(petals.SPEC)
SPECIES = petals.load().encoded_target(petals.SPEC)
ALWAYS = {f"{name}=={version(name)}" for name in ("scikit-learn", "skops")}
BOOSTING = {
    "lightgbm": ("LGBMClassifier", {"n_estimators": 3, "verbose": -1, "n_jobs": 1}),
    "xgboost": ("XGBClassifier", {"n_estimators": 3, "n_jobs": 1}),
    "catboost": (
        "CatBoostClassifier",
        {"n_estimators": 3, "verbose": 0, "thread_count": 1, "allow_writing_files": False},
    ),
}


@pytest.fixture(name="tiny", scope="module")
def _tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A library that is installed, but in no lock file."""
    folder = tmp_path_factory.mktemp("site")
    install_library(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield import_module(LIBRARY)


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return tmp_path / "model.skops"


def facts_of(file: Path) -> dict[str, list[str]]:
    """What is recorded next to a model."""
    facts: dict[str, list[str]] = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    return facts


def boosting(library: str) -> Any:
    """An unfitted classifier."""
    module = pytest.importorskip(library, reason=f"make install EXTRAS={library}")
    name, parameters = BOOSTING[library]
    return getattr(module, name)(**parameters)


def assert_served_equally(estimator: Any, file: Path) -> None:
    """Check that an estimator passes before its fit, and predicts the same from its file."""
    check_save(estimator)
    fitted = clone(estimator).fit(ROWS, SPECIES)
    save(fitted, file)
    answers = load_native(file, petals.SPEC)(ROWS)
    np.testing.assert_allclose(answers, fitted.predict_proba(ROWS), atol=1e-6)


@pytest.mark.parametrize("library", BOOSTING)
def test_a_boosting_library_is_served_with_its_version(library: str, file: Path) -> None:
    assert_served_equally(make_pipeline(StandardScaler(), boosting(library)), file)
    facts = facts_of(file)
    assert set(facts["requirements"]) == {*ALWAYS, f"{library}=={version(library)}"}
    assert any(name.startswith(f"{library}.") for name in facts["types"])
    assert not not_locked(file.parent, ROOT / "poetry.lock")


def test_a_search_over_another_library_is_served_too(file: Path) -> None:
    grid = GridSearchCV(boosting("lightgbm"), {"num_leaves": [2, 4]}, cv=3)
    assert_served_equally(grid, file)
    assert f"lightgbm=={version('lightgbm')}" in facts_of(file)["requirements"]


LOGISTIC = LogisticRegression(max_iter=500)
GRID = {"C": [0.01, 10.0]}


@pytest.mark.parametrize(
    "estimator",
    [
        GridSearchCV(LOGISTIC, GRID, cv=3, scoring="roc_auc_ovr"),
        make_pipeline(StandardScaler(), GridSearchCV(LOGISTIC, GRID, cv=3, scoring="neg_log_loss")),
        RandomizedSearchCV(LOGISTIC, {"C": loguniform(0.1, 10)}, n_iter=2, cv=3, random_state=0),
        make_pipeline(KBinsDiscretizer(3), CalibratedClassifierCV(SVC(), ensemble=False)),
    ],
    ids=["search", "search in a pipeline", "distribution", "sparse support vectors"],
)
def test_what_a_search_found_and_sparse_data_are_served(estimator: Any, file: Path) -> None:
    assert_served_equally(estimator, file)
    assert not [name for name in facts_of(file)["types"] if ".metrics." in name]


@pytest.mark.parametrize("inner", [LOGISTIC, GridSearchCV(LOGISTIC, GRID, scoring="roc_auc")])
def test_a_tuned_threshold_is_served_without_it(inner: Any, file: Path) -> None:
    estimator = TunedThresholdClassifierCV(inner, cv=3)
    check_save(estimator)
    two = SPECIES < 2
    estimator.fit(ROWS[two], SPECIES[two])
    save(estimator, file)
    answers = load_native(file, replace(petals.SPEC, output=Classes(("a", "b"))))(ROWS)
    np.testing.assert_allclose(answers, estimator.predict_proba(ROWS), atol=1e-6)


def test_an_interval_around_a_search_is_served_by_what_it_found(file: Path) -> None:
    spec = ModelSpec("m", (Number("x", "", 0, 9), Number("y", "", 0, 9)), Quantity("z", "", 0.8))
    grid = GridSearchCV(Ridge(), {"alpha": [1e-3, 1e6]}, cv=3, scoring="neg_mean_absolute_error")
    estimator = ConformalRegressor(make_pipeline(StandardScaler(), grid), 0.8)
    check_save(estimator)
    rows = np.random.default_rng(0).uniform(0, 9, (60, 2)).astype(np.float32)
    estimator.fit(rows, rows.sum(axis=1))
    save(estimator, file)
    expected = estimator.predict_interval(rows)
    np.testing.assert_allclose(load_native(file, spec)(rows), expected, rtol=1e-5)
    assert isinstance(estimator.estimator_[-1], GridSearchCV)  # the native model keeps its search


@pytest.mark.parametrize("only_tiny", [True, False])
def test_a_search_over_two_libraries_needs_only_the_library_of_what_it_found(
    tiny: ModuleType, only_tiny: bool, file: Path
) -> None:
    steps = Pipeline([("scale", StandardScaler()), ("model", LOGISTIC)])
    choices = [tiny.Halver()] if only_tiny else [tiny.Halver(), StandardScaler()]
    assert_served_equally(GridSearchCV(steps, {"scale": choices}, cv=3), file)
    needed = {*ALWAYS, REQUIREMENT} if only_tiny else ALWAYS
    assert set(facts_of(file)["requirements"]) == needed


def test_a_choice_that_cannot_be_served_is_refused_before_the_fit() -> None:
    steps = Pipeline([("scale", StandardScaler()), ("model", LOGISTIC)])
    grid = GridSearchCV(steps, {"scale": ["passthrough", FunctionTransformer(print)]})
    with pytest.raises(ExportError, match="cannot serve GridSearchCV .* contains builtins.print"):
        check_save(grid)


@pytest.mark.parametrize(
    "inner",
    [
        GridSearchCV(LOGISTIC, GRID, scoring="roc_auc"),
        TunedThresholdClassifierCV(LOGISTIC),
        HistGradientBoostingClassifier(early_stopping=True, scoring="roc_auc"),
    ],
)
def test_what_keeps_its_scoring_inside_another_estimator_is_refused_before_the_fit(
    inner: Any,
) -> None:
    message = f"{type(inner).__name__} would keep .* A search must be around the whole estimator"
    with pytest.raises(ExportError, match=message):
        check_save(make_pipeline(StandardScaler(), CalibratedClassifierCV(inner)))


def test_a_search_that_keeps_no_scoring_may_be_inside_another_estimator(file: Path) -> None:
    assert_served_equally(CalibratedClassifierCV(GridSearchCV(LOGISTIC, GRID, cv=3), cv=3), file)


@pytest.mark.parametrize("function", [StandardScaler().fit_transform, lambda rows: rows])
def test_methods_and_lambdas_are_refused_before_the_fit_with_what_to_do(function: Any) -> None:
    steps = make_pipeline(FunctionTransformer(function), LOGISTIC)
    message = "Pipeline .*(no functions or methods as parameters|in place of a function too)"
    with pytest.raises(ExportError, match=message):
        check_save(steps)


def test_a_step_of_a_small_library_is_served_with_exactly_its_types(
    tiny: ModuleType, file: Path
) -> None:
    assert_served_equally(make_pipeline(tiny.Halver(), LogisticRegression()), file)
    assert facts_of(file) == {
        "types": [f"{LIBRARY}.Halver", f"{LIBRARY}.State"],
        "requirements": sorted([*ALWAYS, REQUIREMENT]),
    }


def test_a_library_that_the_lock_file_lacks_is_named(
    tiny: ModuleType, file: Path, tmp_path: Path
) -> None:
    save(make_pipeline(tiny.Halver(), LogisticRegression()).fit(ROWS, SPECIES), file)
    assert not_locked(tmp_path, ROOT / "poetry.lock") == [REQUIREMENT]
    assert not not_locked(tmp_path / "served as ONNX", ROOT / "poetry.lock")


def test_an_interval_around_another_library_is_served(tiny: ModuleType, file: Path) -> None:
    spec = ModelSpec("m", (Number("x", "", 0, 9), Number("y", "", 0, 9)), Quantity("z", "", 0.8))
    estimator = ConformalRegressor(make_pipeline(tiny.Halver(), KINDS["regression"].build()), 0.8)
    check_save(estimator)
    rows = np.random.default_rng(0).uniform(0, 9, (60, 2)).astype(np.float32)
    estimator.fit(rows, rows.sum(axis=1))
    save(estimator, file)
    assert REQUIREMENT in facts_of(file)["requirements"]
    expected = estimator.predict_interval(rows)
    np.testing.assert_allclose(load_native(file, spec)(rows), expected, rtol=1e-5)


class Own(TransformerMixin, BaseEstimator):
    """A step of a file in the clone, which an image does not have."""

    def transform(self, rows: np.ndarray) -> np.ndarray:
        """The same."""
        return rows


@pytest.mark.parametrize("step", [FunctionTransformer(print), FunctionTransformer(len), Own()])
def test_functions_and_classes_of_the_clone_are_refused_before_the_fit(step: Any) -> None:
    foreign = type(step).__name__ if isinstance(step, Own) else step.func.__name__
    message = rf"contains .*\.{foreign}, and a server creates only .* must be in a package"
    with pytest.raises(ExportError, match=message):
        check_save(make_pipeline(step, LogisticRegression()))


def test_a_function_of_the_library_of_a_step_is_refused(tiny: ModuleType) -> None:
    steps = make_pipeline(tiny.Halver(), FunctionTransformer(tiny.twice))
    with pytest.raises(ExportError, match=rf"contains {LIBRARY}.twice, and"):
        check_save(steps)


def test_an_installed_library_that_is_no_part_of_the_estimator_is_not_trusted(
    tiny: ModuleType,
) -> None:
    estimator = LogisticRegression()
    estimator.extra = tiny.State(1.0)
    with pytest.raises(ExportError, match=f"contains {LIBRARY}.State, and"):
        check_save(estimator)


def test_what_skops_cannot_read_back_is_refused_before_the_fit(tiny: ModuleType) -> None:
    message = "can write Pipeline .*, but not read it back: state is not welcome. Choose another"
    with pytest.raises(ExportError, match=message):
        check_save(make_pipeline(tiny.Refusing(), LogisticRegression()))


def test_what_skops_cannot_write_after_the_fit_is_refused_and_leaves_no_file(
    tiny: ModuleType, file: Path
) -> None:
    estimator = make_pipeline(tiny.Opening(), LogisticRegression())
    check_save(estimator)
    with pytest.raises(ExportError, match="Pipeline .*generator.* Choose another estimator"):
        save(estimator.fit(ROWS, SPECIES), file)
    assert not list(file.parent.iterdir())


def test_a_scikit_learn_model_needs_nothing_else(fitted: Callable[[str], Any], file: Path) -> None:
    for kind in ("petals", *KINDS):
        save(fitted(kind), file)
        assert set(facts_of(file)["requirements"]) == ALWAYS
