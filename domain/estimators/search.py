"""Estimators that search for their parameters while they are fitted, such as GridSearchCV."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline


def chosen_parameters(fitted: Any) -> dict[str, Any]:
    """The parameters that searches in a fitted estimator chose, by name; empty without a search.

    Finds a search that is the estimator itself, a step of a pipeline, or inside an estimator that
    wraps another as ``estimator``, such as `ConformalRegressor`.
    """
    if hasattr(fitted, "best_params_"):
        return dict(fitted.best_params_)
    if hasattr(fitted, "estimator_"):
        return chosen_parameters(fitted.estimator_)
    if isinstance(fitted, Pipeline):
        found: dict[str, Any] = {}
        for _, step in fitted.steps:
            found |= chosen_parameters(step)
        return found
    return {}


def without_search(fitted: Any) -> Any:
    """An unfitted copy of a fitted estimator, with the chosen parameters instead of searches."""
    if hasattr(fitted, "best_estimator_"):
        return clone(fitted.best_estimator_)
    copy = clone(fitted)
    if chosen_parameters(getattr(fitted, "estimator_", None)):
        return copy.set_params(estimator=without_search(fitted.estimator_))
    if isinstance(fitted, Pipeline):
        steps = {
            name: without_search(step) for name, step in fitted.steps if chosen_parameters(step)
        }
        return copy.set_params(**steps)
    return copy


def best_found(fitted: Any) -> Any:
    """The fitted estimator that makes the predictions, without the search that found it.

    Finds a search that is the estimator itself or a step of a pipeline. A threshold that was tuned
    is dropped, since it changes no probability; `decision` in the configuration sets one.
    """
    if hasattr(fitted, "best_estimator_"):
        return best_found(fitted.best_estimator_)
    if isinstance(fitted, FixedThresholdClassifier | TunedThresholdClassifierCV):
        return best_found(fitted.estimator_)
    if isinstance(fitted, Pipeline):
        return Pipeline([(name, best_found(step)) for name, step in fitted.steps])
    return fitted
