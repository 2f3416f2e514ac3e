"""The decision threshold of a classifier of two classes, as the configuration wants it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from application.training.config import DecisionConfig
from domain.contract import Classes, ModelSpec, join_names
from domain.data.split_keys import Fold, SplitKeys
from domain.errors import ConfigError
from domain.estimators.fitting import fit_on, make_folds
from domain.estimators.search import without_search
from domain.evaluation.measures import cost_matrix
from domain.evaluation.predictions import predict_function
from domain.evaluation.threshold import (
    SCORES,
    Score,
    ThresholdChoice,
    choose_threshold,
    cost_score,
)

_FOLDS = 5


def check_decision(spec: ModelSpec, config: DecisionConfig) -> None:
    """Check that the configured decision suits the contract.

    Raises:
        ConfigError: a decision is configured, but there are not two classes; or the costs name
            another class.
    """
    if config == DecisionConfig():
        return
    if len(spec.classes) != 2:
        raise ConfigError(
            f"the configuration has the block decision, but {spec.name} does not predict one of "
            "two classes: remove the block"
        )
    for actual, by_predicted in config.costs.items():
        for name in (actual, *by_predicted):
            if name not in spec.classes:
                raise ConfigError(
                    f"decision.costs: {name!r} is not one of {join_names(spec.classes)}"
                )


def decide(
    spec: ModelSpec,
    config: DecisionConfig,
    estimator: Any,
    rows: np.ndarray,
    target: np.ndarray,
    seed: int,
    keys: SplitKeys | None = None,
) -> tuple[ModelSpec, ThresholdChoice | None]:
    """The contract with its decision threshold, and how that was chosen, if it was.

    Args:
        config: which `check_decision` has accepted.
        estimator: of which clones are trained, to predict rows that they have not seen.
        rows: encoded training rows, shape (n_rows, width).
        target: their class numbers, shape (n_rows,).
        keys: of the rows, if the folds must follow time or group.

    Raises:
        ConfigError: a class has too few rows for folds.
    """
    output = spec.output
    if not isinstance(output, Classes) or config == DecisionConfig():
        return spec, None
    if config.threshold is not None:
        return replace(spec, output=replace(output, threshold=config.threshold)), None
    folds, probabilities = np.full(len(rows), -1), np.empty((len(rows), 2))
    for number, (fit, test) in enumerate(folds_of(target, seed, keys)):
        fitted = fit_on(fit, without_search(estimator), rows, target, keys)
        folds[test], probabilities[test] = number, predict_function(fitted, spec)(rows[test])
    tested = folds >= 0  # the earliest rows are in no fold in time
    choice = choose_threshold(
        *(output, probabilities[tested], target[tested], folds[tested]),
        _score_of(output, config),
    )
    return replace(spec, output=replace(output, threshold=choice.threshold)), choice


def folds_of(target: np.ndarray, seed: int, keys: SplitKeys | None = None) -> list[Fold]:
    """Up to five folds of the training rows that follow the split, else stratified by class.

    Raises:
        ConfigError: a class has too few rows.
    """
    count = min(_FOLDS, int(np.bincount(target).min()))
    try:
        return make_folds(keys, len(target), count, seed, target)
    except ValueError as error:
        raise ConfigError(
            f"decision cannot choose a threshold by cross-validation: {error}: set "
            "decision.threshold instead"
        ) from error


def describe(output: Classes, config: DecisionConfig, choice: ThresholdChoice | None) -> str:
    """The configured decision in one line, for the steps of the training."""
    positive = output.names[output.positive_code]
    if choice is None:
        return f"threshold {config.threshold:g} for {positive} (decision.threshold)"
    by, sign = ("cost per row", -1) if config.costs else (config.by, 1)
    default, score = sign * choice.default, sign * choice.score
    if choice.threshold is None:
        return (
            f"the most probable class, by {by}: {default:.3f}, with a threshold {score:.3f}, which "
            "is not certainly better (cross-validated)"
        )
    return (
        f"threshold {choice.threshold:g} for {positive}, by {by}: {default:.3f} for the most "
        f"probable class, {score:.3f} with the threshold (cross-validated)"
    )


def facts(
    output: Classes, config: DecisionConfig, choice: ThresholdChoice | None
) -> Mapping[str, Any]:
    """The decision for ``metrics.json``."""
    found = {
        "positive": output.names[output.positive_code],
        "threshold": output.threshold,
        "reason": describe(output, config, choice),
    }
    if choice is None:
        return found
    by = "costs" if config.costs else config.by
    scores = {"score": choice.score, "default": choice.default, "certainty": choice.certainty}
    return {**found, "by": by, **scores}


def _score_of(output: Classes, config: DecisionConfig) -> Score:
    if not config.costs:
        return SCORES[str(config.by)]
    return cost_score(cost_matrix(output.names, config.costs), output.positive_code)
