"""The decision threshold that a training chooses, or that its configuration sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from application.training.config import DecisionConfig
from application.training.threshold import check_decision, decide, describe, facts, folds_of
from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.data.split_keys import SplitKeys
from domain.errors import ConfigError
from domain.evaluation.threshold import choose_threshold, f1
from tests import petals

INPUTS = (Number("x", "", -10, 10),)
LEAVES = Classes(("no", "yes"), "leaves")
SPEC = ModelSpec("leaves", INPUTS, LEAVES)
RENT = ModelSpec("rent", INPUTS, Quantity("rent"))
COSTS = {"yes": {"no": 5.0}, "no": {"yes": 1.0}}


def data(rows: int = 2_000) -> tuple[np.ndarray, np.ndarray]:
    """Rows of shape (n_rows, 1), and classes of which the second is rare."""
    rng = np.random.default_rng(0)
    target = (rng.random(rows) < 0.1).astype(int)
    return (rng.normal(size=rows) + 1.5 * target)[:, None].astype(np.float32), target


def decided(output: Classes = LEAVES, **config: Any) -> tuple[Classes, Any]:
    """The output and the choice for a logistic regression."""
    spec = ModelSpec("leaves", INPUTS, output)
    decided_spec, choice = decide(spec, DecisionConfig(**config), LogisticRegression(), *data(), 0)
    assert isinstance(decided_spec.output, Classes)
    return decided_spec.output, choice


def test_without_a_configured_decision_the_contract_stays() -> None:
    assert decided() == (LEAVES, None)
    own = Classes(("no", "yes"), threshold=0.3)
    assert decided(own) == (own, None)


def test_a_configured_threshold_is_taken_without_training() -> None:
    spec, choice = decide(SPEC, DecisionConfig(threshold=0.3), None, *data(), 0)
    assert spec == ModelSpec("leaves", INPUTS, Classes(("no", "yes"), "leaves", threshold=0.3))
    assert choice is None


def test_a_threshold_is_chosen_on_rows_that_the_estimator_has_not_seen() -> None:
    rows, target = data()
    spec, choice = decide(SPEC, DecisionConfig(by="f1"), LogisticRegression(), rows, target, 0)
    folds = np.empty(len(target), np.intp)
    for number, (_, test) in enumerate(folds_of(target, 0)):
        folds[test] = number
    unseen = cross_val_predict(
        LogisticRegression(),
        rows,
        target,
        cv=PredefinedSplit(folds),
        method="predict_proba",
    )
    assert choice == choose_threshold(LEAVES, unseen, target, folds, f1)
    assert choice is not None and choice.threshold is not None
    assert spec.output == Classes(("no", "yes"), "leaves", threshold=choice.threshold)
    assert 0.1 < choice.threshold < 0.4 and choice.score > choice.default


def test_costs_give_the_threshold_of_the_ratio_of_the_costs() -> None:
    assert decided(costs=COSTS)[0].threshold == pytest.approx(1 / 6, abs=0.06)
    dear_alarm = {"yes": {"no": 0.5}, "no": {"yes": 4.5}}
    threshold = decided(costs=dear_alarm)[0].threshold
    assert threshold == pytest.approx(0.9, abs=0.1)


def test_the_most_probable_class_is_predicted_if_no_threshold_is_certainly_better() -> None:
    output, choice = decided(by="accuracy")
    assert output == LEAVES
    assert choice.threshold is None
    config = DecisionConfig(by="accuracy")
    assert describe(output, config, choice) == (
        f"the most probable class, by accuracy: {choice.default:.3f}, with a threshold "
        f"{choice.score:.3f}, which is not certainly better (cross-validated)"
    )
    assert facts(output, config, choice)["threshold"] is None


def test_the_line_and_the_facts_of_a_decision_have_its_scores() -> None:
    output, choice = decided(by="f1")
    config = DecisionConfig(by="f1")
    reason = (
        f"threshold {output.threshold:g} for yes, by f1: {choice.default:.3f} for the most "
        f"probable class, {choice.score:.3f} with the threshold (cross-validated)"
    )
    assert describe(output, config, choice) == reason
    assert facts(output, config, choice) == {
        **{"positive": "yes", "threshold": output.threshold, "reason": reason, "by": "f1"},
        **{"score": choice.score, "default": choice.default, "certainty": choice.certainty},
    }


def test_the_line_of_costs_has_costs_and_that_of_a_number_the_number() -> None:
    config = DecisionConfig(costs=COSTS)
    output, choice = decided(costs=COSTS)
    assert f"by cost per row: {-choice.default:.3f} for" in describe(output, config, choice)
    assert facts(output, config, choice)["by"] == "costs"
    config = DecisionConfig(threshold=0.25)
    output, _ = decided(threshold=0.25)
    reason = "threshold 0.25 for yes (decision.threshold)"
    assert describe(output, config, None) == reason
    assert facts(output, config, None) == {"positive": "yes", "threshold": 0.25, "reason": reason}


@pytest.mark.parametrize("spec", [petals.SPEC, RENT], ids=["three classes", "a value"])
def test_only_two_classes_have_a_decision(spec: ModelSpec) -> None:
    check_decision(spec, DecisionConfig())
    with pytest.raises(ConfigError, match=f"{spec.name} does not predict one of two classes"):
        check_decision(spec, DecisionConfig(by="f1"))


@pytest.mark.parametrize("costs", [{"maybe": {"no": 1.0}}, {"yes": {"maybe": 1.0}}])
def test_costs_name_classes_of_the_contract(costs: dict[str, dict[str, float]]) -> None:
    check_decision(SPEC, DecisionConfig(costs=COSTS))
    with pytest.raises(ConfigError, match="decision.costs: 'maybe' is not one of no, yes"):
        check_decision(SPEC, DecisionConfig(costs=costs))


def test_every_row_is_in_one_of_five_folds_or_of_as_many_as_the_rarer_class_has_rows() -> None:
    target = np.array([0] * 20 + [1] * 10)
    folds = folds_of(target, 0)
    assert [np.bincount(target[test]).tolist() for _, test in folds] == [[4, 2]] * 5
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(30))
    assert len(folds_of(np.array([0] * 20 + [1] * 3), 0)) == 3
    with pytest.raises(ConfigError, match="set decision.threshold instead"):
        folds_of(np.array([0] * 20 + [1]), 0)


def test_folds_follow_the_split_in_time() -> None:
    target, time = np.tile([0, 1], 30), np.arange(60.0)
    folds = folds_of(target, 0, SplitKeys(time=time))
    assert len(folds) >= 2
    assert all(time[fit].max() < time[test].min() for fit, test in folds)
    rows = target[:, None] + np.random.default_rng(0).normal(size=(60, 1))
    _, choice = decide(
        SPEC, DecisionConfig(by="f1"), LogisticRegression(), rows, target, 0, SplitKeys(time=time)
    )
    assert choice is not None and np.isfinite(choice.default)
