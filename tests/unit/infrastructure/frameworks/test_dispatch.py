"""An estimator is trained and exported by its library's adapter; regressions get intervals."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.experimental import enable_halving_search_cv  # pylint: disable=unused-import
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.semi_supervised import LabelSpreading

from domain.contract import Classes
from domain.errors import ExportError
from domain.estimators.conformal import ConformalRegressor
from infrastructure.frameworks import scikit_learn
from infrastructure.frameworks.dispatch import Frameworks, framework_of
from infrastructure.inference.loading import load_served
from shared.paths import ROOT
from tests import petals
from tests.kinds import KINDS, UNLIKE

RENTS = KINDS["regression"]
FLOWERS = petals.load()
ROWS, SPECIES = FLOWERS.encoded(petals.SPEC), FLOWERS.encoded_target(petals.SPEC)


def ignored(*_: Any) -> None:
    """Ignores the metrics of epochs."""


def unknown(rows: np.ndarray) -> np.ndarray:
    """A step that is not scikit-learn's."""
    return rows


class Alone:
    """An estimator from no known library."""


@pytest.mark.parametrize("estimator", [Ridge(), make_pipeline(Ridge()), Alone()])
def test_estimators_of_unknown_libraries_are_dispatched_to_scikit_learn(estimator: Any) -> None:
    assert framework_of(estimator) is scikit_learn


def test_skorch_estimators_are_dispatched_to_pytorch() -> None:
    pytest.importorskip("torch", reason="make install EXTRAS=torch")
    network = pytest.importorskip("domain.estimators.torch_network").TorchClassifier
    assert framework_of(network(None)).__name__ == "infrastructure.frameworks.pytorch"


def test_keras_wrappers_are_dispatched_to_keras() -> None:
    pytest.importorskip("tensorflow", reason="make install EXTRAS=tensorflow")
    keras = pytest.importorskip("domain.estimators.keras_network").keras
    estimator = keras.wrappers.SKLearnClassifier(lambda X, y: None)
    assert framework_of(estimator).__name__ == "infrastructure.frameworks.keras"


def test_a_classifier_is_fitted_by_its_framework() -> None:
    forest = petals.build(5, 3, 2, 1, 0)
    Frameworks().fit(forest, ROWS, SPECIES, ignored)
    assert forest.score(ROWS, SPECIES) > 0.9


def test_a_regression_is_fitted_with_its_interval_without_epochs() -> None:
    reported: list[Any] = []
    estimator = ConformalRegressor(RENTS.build(), 0.8)
    dataset = RENTS.load()
    Frameworks().fit(
        estimator,
        dataset.encoded(RENTS.SPEC),
        dataset.encoded_target(RENTS.SPEC),
        lambda *figures: reported.append(figures),
    )
    assert estimator.half_width_ > 0
    assert not reported


def test_the_outputs_of_a_regression_are_prediction_lower_and_upper(
    fitted: Callable[[str], Any], tmp_path: Path
) -> None:
    Frameworks().export(fitted("regression"), RENTS.SPEC, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model)
    assert [output.name for output in model.graph.output] == ["prediction", "lower", "upper"]
    for output in model.graph.output:
        rows, columns = output.type.tensor_type.shape.dim
        assert output.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert not rows.HasField("dim_value")
        assert columns.dim_value == 1


def test_the_served_interval_matches_the_regression(
    fitted: Callable[[str], Any], tmp_path: Path
) -> None:
    estimator = fitted("regression")
    Frameworks().export(estimator, RENTS.SPEC, tmp_path / "model.onnx")
    served = load_served(tmp_path / "model.onnx", RENTS.SPEC)
    everything = RENTS.load().encoded(RENTS.SPEC)
    for rows in (everything, everything[:1], RENTS.SPEC.encode_rows(UNLIKE["regression"])):
        predictions = served(rows)
        assert predictions.shape == (len(rows), 3)
        assert predictions.dtype == np.float32
        np.testing.assert_allclose(predictions, estimator.predict_interval(rows), rtol=1e-5)
        half = np.float32(estimator.half_width_)
        np.testing.assert_allclose(predictions[:, 2] - predictions[:, 1], 2 * half, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_every_kind_is_saved_and_read_back_without_unpickling(
    fitted: Callable[[str], Any], kind: str, tmp_path: Path
) -> None:
    spec, estimator = KINDS[kind].SPEC, fitted(kind)
    Frameworks().save(estimator, spec, tmp_path / "model.skops")
    rows = spec.encode_rows(UNLIKE[kind])
    predict = estimator.predict_proba if spec.classes else estimator.predict_interval
    np.testing.assert_allclose(
        load_served(tmp_path / "model.skops", spec)(rows), predict(rows), rtol=1e-6
    )


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(3),
        GradientBoostingClassifier(n_estimators=3),
        HistGradientBoostingClassifier(max_iter=3),
        KNeighborsClassifier(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_estimators_with_compiled_parts_can_be_served_natively(
    estimator: Any, tmp_path: Path
) -> None:
    Frameworks().save(estimator.fit(ROWS, SPECIES), petals.SPEC, tmp_path / "model.skops")
    np.testing.assert_allclose(
        load_served(tmp_path / "model.skops", petals.SPEC)(ROWS),
        estimator.predict_proba(ROWS),
        atol=1e-6,
    )


def test_an_estimator_without_an_onnx_form_is_refused_before_the_fit_with_what_to_do() -> None:
    native = 'serve it as it is: "serving": {"format": "native"} in the configuration$'
    with pytest.raises(ExportError, match=f"LabelSpreading cannot be exported to ONNX: .*{native}"):
        Frameworks().check_export(make_pipeline(StandardScaler(), LabelSpreading()))
    neither = "since this one cannot be served as it is either: .* it contains .*unknown, and"
    with pytest.raises(ExportError, match=f"a function of Python is not known .*{neither}"):
        Frameworks().check_export(make_pipeline(FunctionTransformer(unknown), LogisticRegression()))


@pytest.mark.parametrize("step", [unknown, lambda rows: rows, print])
def test_an_estimator_with_foreign_types_is_not_saved_for_serving(
    step: Any, tmp_path: Path
) -> None:
    estimator = make_pipeline(FunctionTransformer(step), LogisticRegression())
    for refused in (
        lambda: Frameworks().check_save(estimator),
        lambda: Frameworks().save(estimator, petals.SPEC, tmp_path / "model.skops"),
    ):
        with pytest.raises(ExportError, match="cannot serve Pipeline without ONNX: it contains"):
            refused()
    assert not list(tmp_path.iterdir())


def test_an_estimator_that_skops_cannot_write_is_refused_with_the_reason(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    estimator = FunctionTransformer(kw_args={"endless": endless})
    with pytest.raises(ExportError, match="skops cannot write FunctionTransformer .* Choose anot"):
        Frameworks().save(estimator, petals.SPEC, tmp_path / "model.skops")


def test_a_regression_around_an_estimator_without_export_is_refused(tmp_path: Path) -> None:
    dataset = RENTS.load()
    estimator = ConformalRegressor(make_pipeline(FunctionTransformer(unknown), RENTS.build()), 0.8)
    estimator.fit(dataset.encoded(RENTS.SPEC), dataset.encoded_target(RENTS.SPEC))
    with pytest.raises(ExportError, match="skl2onnx cannot export Pipeline"):
        Frameworks().export(estimator, RENTS.SPEC, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


LOGISTIC = LogisticRegression(max_iter=500)
STRENGTHS = {"C": [0.01, 10.0]}


@pytest.mark.parametrize(
    "search",
    [
        GridSearchCV(LOGISTIC, STRENGTHS, cv=3),
        HalvingGridSearchCV(LOGISTIC, STRENGTHS, cv=3, random_state=0),
        RandomizedSearchCV(LOGISTIC, STRENGTHS, n_iter=2, cv=3, random_state=0),
        GridSearchCV(make_pipeline(StandardScaler(), LOGISTIC), {"logisticregression__C": [1, 9]}),
        make_pipeline(StandardScaler(), HalvingGridSearchCV(LOGISTIC, STRENGTHS, cv=3)),
        TunedThresholdClassifierCV(GridSearchCV(LOGISTIC, STRENGTHS, cv=3), cv=3),
    ],
    ids=["grid", "halving", "random", "of a pipeline", "in a pipeline", "threshold"],
)
def test_a_search_exports_the_best_estimator(search: Any, tmp_path: Path) -> None:
    two = SPECIES < 2 if isinstance(search, TunedThresholdClassifierCV) else SPECIES >= 0
    spec = replace(petals.SPEC, output=Classes(("a", "b"))) if not two.all() else petals.SPEC
    frameworks = Frameworks()
    frameworks.check_export(search)
    search.fit(ROWS[two], SPECIES[two])
    frameworks.export(search, spec, tmp_path / "model.onnx")
    served = load_served(tmp_path / "model.onnx", spec)
    np.testing.assert_allclose(served(ROWS), search.predict_proba(ROWS), atol=1e-5)


def test_the_estimator_inside_a_regression_is_checked_before_the_fit() -> None:
    estimator = ConformalRegressor(make_pipeline(FunctionTransformer(unknown), RENTS.build()), 0.8)
    with pytest.raises(ExportError, match="FunctionTransformer cannot be exported to ONNX"):
        Frameworks().check_export(estimator)


def test_a_network_behind_other_steps_is_refused_before_the_fit() -> None:
    pytest.importorskip("torch", reason="make install EXTRAS=torch")
    network = pytest.importorskip("domain.estimators.torch_network").TorchClassifier(None)
    Frameworks().check_export(network)
    with pytest.raises(ExportError, match="move the preprocessing into the network"):
        Frameworks().check_export(make_pipeline(StandardScaler(), network))


def test_a_training_imports_skops_only_if_it_serves_natively() -> None:
    module = "infrastructure.frameworks.dispatch"
    code = f"import sys, {module}; print({{'skops', 'torch'}} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout == "set()\n"
