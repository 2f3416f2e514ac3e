"""Searches inside estimators: what they chose, and the same estimator without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import uniform
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from domain.estimators.conformal import ConformalRegressor
from domain.estimators.search import (
    best_found,
    chosen_parameters,
    keeps_scorer,
    possible_parts,
    without_search,
)

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


def test_the_pipeline_around_what_was_found_keeps_its_class_and_the_fitted_one_its_search() -> None:
    class Own(Pipeline):
        """A pipeline of a library."""

    fitted = Own([("scale", StandardScaler()), ("search", SEARCH)]).fit(ROWS, VALUES)
    assert isinstance(best_found(fitted), Own)
    assert isinstance(fitted[-1], GridSearchCV)


def test_the_possible_parts_are_those_of_each_choice() -> None:
    ridge, first, second = Ridge(), StandardScaler(), StandardScaler(with_std=False)
    steps = Pipeline([("scale", first), ("model", ridge)])
    search = GridSearchCV(steps, [{"scale": ["passthrough", second]}, {"model__alpha": [2.0]}])
    inner, *others = possible_parts(search)
    assert isinstance(inner, Pipeline) and not inner.steps and len(steps.steps) == 2
    assert others == [first, ridge, "passthrough", second, 2.0]


def test_a_distribution_has_no_parts_and_a_threshold_those_of_its_estimator() -> None:
    logistic = LogisticRegression()
    search = RandomizedSearchCV(logistic, {"C": uniform(), "max_iter": [7]})
    assert possible_parts(TunedThresholdClassifierCV(search)) == [logistic, 7]


def test_a_search_keeps_the_function_of_a_scoring_but_no_default() -> None:
    scored = GridSearchCV(Ridge(), {"alpha": [1]}, scoring="r2")
    assert [keeps_scorer(part) for part in (scored, SEARCH, Ridge())] == [True, False, False]
    assert keeps_scorer(TunedThresholdClassifierCV(LogisticRegression()))
    assert not keeps_scorer(CalibratedClassifierCV())
    boosting = HistGradientBoostingClassifier
    assert keeps_scorer(boosting(early_stopping=True, scoring="roc_auc"))
    assert keeps_scorer(boosting(early_stopping=True, scoring=None))
    assert not keeps_scorer(boosting(early_stopping=False, scoring="roc_auc"))
    assert not keeps_scorer(boosting())
