"""Searches inside estimators: what they chose, and the same estimator without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from domain.estimators.conformal import ConformalRegressor
from domain.estimators.search import best_found, chosen_parameters, without_search

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(120, 3))
VALUES = ROWS @ [3.0, 0.0, -1.0] + RNG.normal(0, 0.1, 120)
SEARCH = GridSearchCV(Ridge(), {"alpha": [1e-3, 1e6]}, cv=3)


@pytest.mark.parametrize(
    "estimator",
    [
        SEARCH,
        make_pipeline(StandardScaler(), SEARCH),
        ConformalRegressor(make_pipeline(StandardScaler(), SEARCH), 0.9, random_state=0),
    ],
    ids=["alone", "in a pipeline", "with intervals"],
)
def test_the_chosen_parameters_are_found_and_kept_without_the_search(estimator: Any) -> None:
    fitted = estimator.fit(ROWS, VALUES)
    assert chosen_parameters(fitted) == {"alpha": 1e-3}
    again = without_search(fitted).fit(ROWS, VALUES)
    assert chosen_parameters(again) == {}
    assert again.predict(ROWS) == pytest.approx(fitted.predict(ROWS))


def test_an_estimator_without_a_search_is_copied_unfitted() -> None:
    fitted = LogisticRegression(C=0.5).fit(ROWS, VALUES > 0)
    copy = without_search(fitted)
    assert chosen_parameters(fitted) == {}
    assert copy.C == 0.5 and not hasattr(copy, "coef_")


def test_the_best_estimator_predicts_the_same_without_the_search() -> None:
    fitted = make_pipeline(StandardScaler(), SEARCH).fit(ROWS, VALUES)
    found = best_found(fitted)
    assert isinstance(found[-1], Ridge) and found[-1].alpha == 1e-3
    assert (found.predict(ROWS) == fitted.predict(ROWS)).all()
