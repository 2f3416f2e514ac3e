"""Boosted trees of every library predict the same in ONNX: at split points, with categories as
codes and with missing values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from threadpoolctl import threadpool_limits

from domain.contract import Category, Classes, ModelSpec, Number, Quantity
from domain.errors import ExportError
from domain.evaluation.parity import edge_rows
from infrastructure.frameworks import scikit_learn
from tests.exports import run_onnx

WORDS = tuple("abcdefgh")
INPUTS = (
    Category("letter", WORDS, nullable=True),
    Number("near", "", 0.0, 2.0, nullable=True),
    Number("wide", "", -1e6, 1e6, nullable=True),
    Number("full", "", -9.0, 9.0, nullable=True),
)
OUTPUTS = {
    "binary": Classes(("no", "yes")),
    "multi-class": Classes(("low", "middle", "high")),
    "regression": Quantity("value"),
}
ROUNDS = {
    "lightgbm": {"n_estimators": 30, "verbose": -1, "n_jobs": 1},
    "xgboost": {"n_estimators": 30, "n_jobs": 1},
    "catboost": {
        **{"n_estimators": 30, "thread_count": 1, "verbose": 0, "allow_writing_files": False}
    },
    "sklearn.ensemble": {"max_iter": 30},
}
NAMES = {
    "lightgbm": ("LGBMClassifier", "LGBMRegressor"),
    "xgboost": ("XGBClassifier", "XGBRegressor"),
    "catboost": ("CatBoostClassifier", "CatBoostRegressor"),
    "sklearn.ensemble": ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"),
}
NATIVE_CATEGORIES: dict[str, dict[str, Any]] = {
    "xgboost": {"enable_categorical": True, "feature_types": ["c", "q", "q", "q"]},
    "sklearn.ensemble": {"categorical_features": [0]},
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with threadpool_limits(1):  # several only wait for each other on so few rows
        yield


def rows_and_score(count: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Encoded rows with missing values in three columns, and what the outputs are made of.

    Values of ``near`` are neighbours in float32, and the score depends on which one it is.
    """
    rng = np.random.default_rng(0)
    letter = rng.integers(0, len(WORDS) - 1, count)  # the last word is unknown to the training
    step = rng.integers(0, 6, count)
    near = np.float32(1) + step.astype(np.float32) * np.float32(2**-23)
    wide = rng.normal(0, 1e4, count)
    full = rng.normal(size=count)
    score = (letter % 3) + 2.0 * (step % 2) + wide / 1e4 + full
    rows = np.stack([letter, near, wide, full], axis=1).astype(np.float32)
    for column in range(3):
        gone = rng.random(count) < 0.1
        rows[gone, column] = np.nan
        score[gone] += column - 1.0
    return rows, score


ROWS, SCORE = rows_and_score()


def target_of(task: str) -> np.ndarray:
    """What to learn for a task, shape (n_rows,)."""
    shares = {"binary": [0.4], "multi-class": [0.3, 0.7]}
    return np.digitize(SCORE, np.quantile(SCORE, shares[task])) if task in shares else SCORE


def unfitted(library: str, task: str, **parameters: Any) -> Any:
    """A small estimator of a library."""
    module = pytest.importorskip(library, reason=f"make install EXTRAS={library}")
    kind = getattr(module, NAMES[library][task == "regression"])
    return kind(**{**ROUNDS[library], **parameters})


def assert_exported_equally(estimator: Any, task: str, folder: Path, at_least: int = 60) -> None:
    """Check that the export predicts the same on the data, at jumps and on odd rows."""
    spec = ModelSpec("m", INPUTS, OUTPUTS[task])
    scikit_learn.export(estimator, spec, folder / "model.onnx")

    def native(rows: np.ndarray) -> np.ndarray:
        predict = estimator.predict_proba if spec.classes else estimator.predict
        return np.asarray(predict(rows)).reshape(len(rows), -1)

    rows = np.concatenate([ROWS, edge_rows(native, ROWS, spec, 0)])
    served = run_onnx(folder / "model.onnx", rows)
    assert served.dtype == np.float32
    np.testing.assert_allclose(served, native(rows), rtol=2e-5, atol=2e-6)
    assert len(np.unique(served[:, 0])) >= at_least  # it has learned something


@pytest.mark.parametrize("task", OUTPUTS)
@pytest.mark.parametrize("library", NAMES)
def test_an_export_predicts_the_same_at_split_points_and_for_missing_values(
    library: str, task: str, tmp_path: Path
) -> None:
    estimator = unfitted(library, task).fit(ROWS, target_of(task))
    assert_exported_equally(estimator, task, tmp_path)


@pytest.mark.parametrize("task", OUTPUTS)
@pytest.mark.parametrize("library", ["lightgbm", *NATIVE_CATEGORIES])
def test_a_column_that_the_library_treats_as_categories_is_exported(
    library: str, task: str, tmp_path: Path
) -> None:
    estimator = unfitted(library, task, **NATIVE_CATEGORIES.get(library, {}))
    options = {"categorical_feature": [0]} if library == "lightgbm" else {}
    assert_exported_equally(estimator.fit(ROWS, target_of(task), **options), task, tmp_path)


@pytest.mark.parametrize("library", NAMES)
def test_an_estimator_after_other_steps_is_exported(library: str, tmp_path: Path) -> None:
    categories = make_pipeline(
        SimpleImputer(strategy="constant", fill_value=-1.0),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32),
    )
    columns = make_column_transformer((categories, [0]), remainder="passthrough")
    pipeline = make_pipeline(columns, unfitted(library, "binary"))
    assert_exported_equally(pipeline.fit(ROWS, target_of("binary")), "binary", tmp_path)


@pytest.mark.parametrize("library", NAMES)
def test_calibrated_probabilities_are_exported(library: str, tmp_path: Path) -> None:
    estimator = CalibratedClassifierCV(unfitted(library, "binary"), cv=2)
    assert_exported_equally(estimator.fit(ROWS, target_of("binary")), "binary", tmp_path)


@pytest.mark.parametrize("task", ["multi-class", "regression"])
@pytest.mark.parametrize(
    ("library", "parameters"),
    [
        ("lightgbm", {"boosting_type": "rf", "subsample": 0.5, "subsample_freq": 1}),
        ("lightgbm", {"boosting_type": "dart"}),
        ("xgboost", {"booster": "dart", "rate_drop": 0.3}),
        ("xgboost", {"num_parallel_tree": 2}),
        ("catboost", {"grow_policy": "Lossguide"}),
        ("catboost", {"nan_mode": "Max"}),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else value,
)
def test_other_ways_of_growing_trees_are_exported(
    library: str, parameters: dict[str, Any], task: str, tmp_path: Path
) -> None:
    estimator = unfitted(library, task, **parameters).fit(ROWS, target_of(task))
    assert_exported_equally(estimator, task, tmp_path, 20)


@pytest.mark.parametrize(
    ("library", "parameters"),
    [
        ("lightgbm", {"objective": "poisson"}),
        ("lightgbm", {"objective": "quantile"}),
        ("xgboost", {"objective": "count:poisson"}),
        ("xgboost", {"objective": "reg:absoluteerror"}),
        ("catboost", {"loss_function": "Poisson"}),
        ("catboost", {"loss_function": "MAE"}),
        ("sklearn.ensemble", {"loss": "gamma"}),
    ],
)
def test_objectives_of_regressions_are_exported(
    library: str, parameters: dict[str, Any], tmp_path: Path
) -> None:
    estimator = unfitted(library, "regression", **parameters)
    positive = np.exp(SCORE / 3)
    assert_exported_equally(estimator.fit(ROWS, positive), "regression", tmp_path)


def stopped_early(library: str) -> Any:
    """An estimator whose best round is not its last."""
    rows, valid = ROWS[::2], ROWS[1::2]
    half = len(ROWS) // 2
    target, truth = target_of("binary")[:half], target_of("binary")[half:]
    if library == "lightgbm":  # rows and target do not belong together: there is nothing to learn
        stop = pytest.importorskip("lightgbm").early_stopping(5, verbose=False)
        estimator = unfitted(library, "binary", learning_rate=0.01)
        estimator.fit(rows, target, eval_X=(valid,), eval_y=(truth,), callbacks=[stop])
        assert 0 < estimator.best_iteration_ < estimator.n_estimators
    else:
        estimator = unfitted(library, "binary", early_stopping_rounds=5, learning_rate=0.01)
        estimator.fit(rows, target, eval_set=[(valid, truth)], verbose=False)
        assert estimator.best_iteration < estimator.get_booster().num_boosted_rounds() - 1
    return estimator


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_an_export_stops_at_the_best_round(library: str, tmp_path: Path) -> None:
    assert_exported_equally(stopped_early(library), "binary", tmp_path, 5)


REFUSED = [
    ("lightgbm", {"zero_as_missing": True}, "zero_as_missing=True, which ONNX cannot express"),
    ("lightgbm", {"linear_tree": True}, "linear_tree=True"),
    ("lightgbm", {"reg_sqrt": True}, "reg_sqrt=True"),
    ("xgboost", {"missing": -1.0}, "missing=-1.0"),
    ("xgboost", {"booster": "gblinear"}, "booster='gblinear'"),
]


@pytest.mark.parametrize(
    ("library", "parameters", "message"),
    [
        *REFUSED,
        ("catboost", {"loss_function": "RMSEWithUncertainty"}, "RMSEWithUncertainty cannot be"),
    ],
)
def test_what_onnx_cannot_express_is_refused_with_the_reason(
    library: str, parameters: dict[str, Any], message: str, tmp_path: Path
) -> None:
    estimator = unfitted(library, "regression", **parameters).fit(np.nan_to_num(ROWS), SCORE)
    spec = ModelSpec("m", INPUTS, OUTPUTS["regression"])
    with pytest.raises(ExportError, match=message):
        scikit_learn.export(estimator, spec, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("library", "parameters", "message"),
    [*REFUSED, ("catboost", {"cat_features": [0]}, r"cat_features=\[0\]")],
)
def test_parameters_that_onnx_cannot_express_are_refused_before_the_fit(
    library: str, parameters: dict[str, Any], message: str
) -> None:
    estimator = unfitted(library, "regression", **parameters)
    with pytest.raises(ExportError, match=f"{type(estimator).__name__} cannot.*{message}"):
        scikit_learn.check_export(make_pipeline(estimator))


@pytest.mark.parametrize("task", OUTPUTS)
@pytest.mark.parametrize("library", NAMES)
def test_an_estimator_that_can_be_exported_passes_the_check(library: str, task: str) -> None:
    scikit_learn.check_export(make_pipeline(unfitted(library, task)))
