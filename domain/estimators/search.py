"""Estimators that search for their parameters while they are fitted, such as GridSearchCV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
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
    unfitted = clone(fitted)
    if chosen_parameters(getattr(fitted, "estimator_", None)):
        return unfitted.set_params(estimator=without_search(fitted.estimator_))
    if isinstance(fitted, Pipeline):
        steps = {
            name: without_search(step) for name, step in fitted.steps if chosen_parameters(step)
        }
        return unfitted.set_params(**steps)
    return unfitted


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
        return _with_steps(fitted, [(name, best_found(step)) for name, step in fitted.steps])
    return fitted


def possible_parts(unfitted: Any) -> list[Any]:
    """What `best_found` of an estimator may contain once it is fitted: its parts, and instead of a
    search what is searched and every listed value of a parameter, of which some are estimators."""
    if isinstance(unfitted, FixedThresholdClassifier | TunedThresholdClassifierCV):
        return possible_parts(unfitted.estimator)
    if isinstance(unfitted, Pipeline):
        steps = [part for _, step in unfitted.steps for part in possible_parts(step)]
        return [_with_steps(unfitted, []), *steps]
    if _searches_parameters(unfitted):
        values = [part for value in _listed_values(unfitted) for part in possible_parts(value)]
        return [*possible_parts(unfitted.estimator), *values]
    return [unfitted]


def keeps_scorer(part: Any) -> bool:
    """Whether an estimator keeps a function for its `scoring` once fitted: a search does, and
    histogram gradient boosting that may stop early by a score."""
    scoring = getattr(part, "scoring", None)
    if getattr(part, "early_stopping", False) and hasattr(part, "scoring"):
        return bool(scoring != "loss")
    searches = isinstance(part, TunedThresholdClassifierCV) or _searches_parameters(part)
    return searches and scoring is not None


def _searches_parameters(estimator: Any) -> bool:
    return hasattr(estimator, "param_grid") or hasattr(estimator, "param_distributions")


def _listed_values(search: Any) -> Iterator[Any]:
    """The values in a search's grids; distributions have none."""
    space = search.param_grid if hasattr(search, "param_grid") else search.param_distributions
    for grid in [space] if isinstance(space, Mapping) else space:
        for values in grid.values():
            if not hasattr(values, "rvs"):
                yield from values


def _with_steps(pipeline: Pipeline, steps: list[tuple[str, Any]]) -> Pipeline:
    """A pipeline of the same class and options with other steps, which are not copied."""
    other = copy(pipeline)
    other.steps = steps
    return other
