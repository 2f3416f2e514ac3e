"""The diabetes model."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_diabetes

from domain.contract import Category
from domain.models import diabetes

SPEC, DATA = diabetes.SPEC, diabetes.load()
ROWS, TARGET = DATA.encoded(SPEC), DATA.encoded_target(SPEC)


def test_the_data_match_scikit_learn() -> None:
    reference = load_diabetes(scaled=False)
    measures = DATA.inputs.to_numpy(float)
    assert measures == pytest.approx(reference.data, rel=0, abs=1e-9)
    assert (TARGET == reference.target).all()
    assert "Efron et al., 2004" in DATA.source
    assert not DATA.inputs.isna().to_numpy().any()


def test_the_data_have_442_patients_with_unscaled_measures() -> None:
    assert ROWS.shape == (442, 10)
    assert TARGET.dtype == np.float64
    assert (TARGET.min(), TARGET.max()) == (25, 346)
    assert DATA.rows()[0] == (59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.8598, 87)


def test_sex_is_a_category_as_the_source_codes_it() -> None:
    assert SPEC.columns_of(Category) == [1]
    first, second = SPEC.encode_rows([DATA.rows()[0], [59, "1", *DATA.rows()[0][2:]]])
    assert (first[1], second[1]) == (1, 0)


def test_the_output_is_a_progression_with_an_interval_of_nine_tenths() -> None:
    assert SPEC.task == "regression"
    assert SPEC.output_columns == ("prediction", "lower", "upper")
    assert getattr(SPEC.output, "coverage") == 0.9


def test_the_ridge_learns_less_with_more_regularization() -> None:
    def score(alpha: float) -> float:
        fitted = diabetes.build(alpha).fit(ROWS[::2], TARGET[::2])
        return float(fitted.score(ROWS[1::2], TARGET[1::2]))

    assert score(1.0) > 0.4
    assert score(1e6) < 0.1


def test_the_ridge_ignores_the_order_of_categories() -> None:
    swapped = ROWS.copy()
    swapped[:, 1] = 1 - swapped[:, 1]
    one, other = (diabetes.build(1.0).fit(rows, TARGET).predict(rows) for rows in (ROWS, swapped))
    assert one == pytest.approx(other, rel=1e-3)
