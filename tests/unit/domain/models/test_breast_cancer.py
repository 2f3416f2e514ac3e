"""The breast cancer model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

pytest.importorskip("lightgbm", reason="make install EXTRAS=lightgbm")
# pylint: disable=wrong-import-position
from domain.contract import Number
from domain.models import breast_cancer

PARAMETERS: dict[str, Any] = {
    "learning_rate": 0.2,
    "n_estimators": 20,
    "num_leaves": 7,
    "reg_lambda": 1.0,
    "share_of_rows": 0.7,
    "share_of_columns": 0.5,
    "random_state": 42,
}
SPEC, DATA = breast_cancer.SPEC, breast_cancer.load()
ROWS, LABELS = DATA.encoded(SPEC), DATA.encoded_target(SPEC)


def test_the_data_match_scikit_learn() -> None:
    reference = load_breast_cancer()
    assert DATA.inputs.to_numpy() == pytest.approx(reference.data, rel=0, abs=1e-9)
    assert (LABELS == reference.target).all()
    assert "Street, Wolberg and Mangasarian, 1993" in DATA.source
    assert not DATA.inputs.isna().to_numpy().any()


def test_the_data_have_569_tumours_212_of_them_malignant() -> None:
    assert ROWS.shape == (569, 30)
    assert np.bincount(LABELS).tolist() == [212, 357]
    assert SPEC.classes == ("malignant", "benign")


def test_every_measure_has_a_mean_an_error_and_a_worst_value() -> None:
    names = [name.partition("_")[::2] for name in SPEC.input_names]
    assert [statistic for statistic, _ in names] == ["mean"] * 10 + ["error"] * 10 + ["worst"] * 10
    assert [name for _, name in names[:10]] == [name for _, name in names[20:]]


def test_columns_have_the_values_that_their_names_promise() -> None:
    # every worst value is at least the mean; an area is about π · radius²
    for number in range(10):
        assert (ROWS[:, 20 + number] >= ROWS[:, number]).all(), SPEC.input_names[number]
    area, radius = (DATA.inputs[name] for name in ("mean_area", "mean_radius"))
    assert np.allclose(area, np.pi * radius**2, rtol=0.2)


def test_every_measure_may_be_missing_and_is_filled_with_its_median() -> None:
    assert all(isinstance(item, Number) and item.nullable for item in SPEC.inputs)
    pipeline = breast_cancer.build(**PARAMETERS).fit(ROWS, LABELS)
    missing = np.full((1, 30), np.nan, np.float32)
    median = np.median(ROWS, axis=0, keepdims=True)
    assert (pipeline.predict_proba(missing) == pipeline.predict_proba(median)).all()


def test_the_pipeline_learns_the_diagnosis() -> None:
    pipeline = breast_cancer.build(**PARAMETERS).fit(ROWS[::2], LABELS[::2])
    assert pipeline.score(ROWS[1::2], LABELS[1::2]) > 0.9


def test_the_estimator_has_the_configured_parameters() -> None:
    boosting = breast_cancer.build(**PARAMETERS)[-1]
    names = {"share_of_rows": "subsample", "share_of_columns": "colsample_bytree"}
    expected = {names.get(name, name): value for name, value in PARAMETERS.items()}
    assert boosting.get_params().items() >= expected.items()
    # without it, LightGBM ignores the share of rows
    assert boosting.get_params()["subsample_freq"] == 1
