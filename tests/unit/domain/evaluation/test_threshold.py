"""The choice of a decision threshold, compared with trying many and with scikit-learn's scores."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from domain.contract import Classes
from domain.evaluation.threshold import (
    SCORES,
    best_threshold,
    choose_threshold,
    cost_score,
    counts_at,
)

OUTPUT = Classes(("no", "yes"))
COSTS = np.array([[0.0, 1.0], [5.0, 0.0]])  # a missed yes costs as much as five false alarms
SCIKIT_LEARN: dict[str, Callable[..., Any]] = {
    "accuracy": metrics.accuracy_score,
    "balanced_accuracy": metrics.balanced_accuracy_score,
    "f1": metrics.f1_score,
    "matthews_corrcoef": metrics.matthews_corrcoef,
}


def rare(rows: int, seed: int = 0, share: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calibrated probabilities of a rare class, shape (rows, 2), actual codes, and five folds."""
    rng = np.random.default_rng(seed)
    actual = (rng.random(rows) < share).astype(int)
    evidence = rng.normal(size=rows) + 1.5 * actual
    odds = np.exp(1.5 * evidence - 1.125) * share / (1 - share)
    shares = odds / (1 + odds)
    return np.column_stack([1 - shares, shares]), actual, np.arange(rows) % 5


def counts(actual: np.ndarray, decided: np.ndarray) -> tuple[np.ndarray, ...]:
    """True positives, false positives, false negatives, true negatives."""
    pairs = ((1, 1), (0, 1), (1, 0), (0, 0))
    return tuple(((actual == true) & (decided == yes)).sum() for true, yes in pairs)


@pytest.mark.parametrize("name", SCORES)
def test_scores_of_counts_equal_those_of_scikit_learn(name: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        actual, decided = np.append(rng.integers(0, 2, (2, 12)), [[0, 1], [0, 1]], axis=1)
        expected = SCIKIT_LEARN[name](actual, decided)
        assert SCORES[name](*counts(actual, decided)) == pytest.approx(expected)


@pytest.mark.parametrize("name", SCORES)
def test_scores_of_no_rows_and_of_no_predictions_are_numbers(name: str) -> None:
    nothing, one = np.array([0, 0]), np.array([0, 1])
    assert np.isfinite(SCORES[name](nothing, nothing, nothing, one)).all()
    assert np.isfinite(SCORES[name](nothing, one, nothing, nothing)).all()


@pytest.mark.parametrize(("code", "cost"), [(1, 2 * 1.0 + 3 * 5.0), (0, 2 * 5.0 + 3 * 1.0)])
def test_costs_are_those_of_actual_and_predicted_class(code: int, cost: float) -> None:
    found = cost_score(COSTS, code)(*map(np.array, (1, 2, 3, 4)))
    assert found == pytest.approx(-cost / 10)
    gain = cost_score(np.array([[-1.0, 0.0], [0.0, -2.0]]), 1)
    assert gain(*map(np.array, (3, 0, 0, 4))) == pytest.approx((3 * 2 + 4) / 7)


@pytest.mark.parametrize("name", [*SCORES, "costs"])
@given(data=st.data())
def test_no_threshold_is_better_than_the_best_one(name: str, data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 12))
    tenths = data.draw(st.lists(st.integers(0, 10), min_size=size, max_size=size))
    shares = np.array(tenths) / 10
    positive = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    score = cost_score(COSTS, 1) if name == "costs" else SCORES[name]
    default = shares > 0.5
    found = best_threshold(shares, positive, default, score)

    def score_at(threshold: float) -> float:
        decided = shares.astype(np.float32) >= threshold
        return float(score(*counts(positive.astype(int), decided.astype(int))))

    most = max(map(score_at, np.linspace(0.01, 0.999, 60).tolist()))
    at_default = float(score(*counts(positive.astype(int), default.astype(int))))
    if found is None:
        assert at_default >= most - 1e-9
    else:
        assert 0 < found < 1
        assert score_at(found) == pytest.approx(most) and most > at_default


def test_the_threshold_is_short_and_between_the_probabilities_that_it_separates() -> None:
    positive, nothing = np.array([False, True, True]), np.zeros(3, bool)
    for shares, threshold in (
        ([0.1, 0.3, 0.4], 0.2),
        ([0.3001, 0.3003, 0.4], 0.3002),
        ([1e-6, 3e-6, 4e-6], 2e-6),
        ([0.0, 1e-30, 1e-30], 1e-30),
    ):
        found = best_threshold(np.array(shares), positive, nothing, SCORES["accuracy"])
        assert found == pytest.approx(threshold)


def test_of_equally_good_thresholds_that_nearest_to_one_half_is_chosen() -> None:
    # 0.2 and 0.5 have one error each
    shares = np.array([0.1, 0.3, 0.45, 0.6, 0.8, 0.9])
    positive = np.array([False, True, False, True, True, True])
    nothing = np.zeros(6, bool)
    found = best_threshold(shares, positive, nothing, SCORES["accuracy"])
    assert found is not None and 0.45 < found < 0.6
    assert best_threshold(shares, positive, shares > 0.5, SCORES["accuracy"]) is None


def test_no_threshold_separates_what_has_one_probability() -> None:
    shares, positive = np.full(10, 1.0), np.arange(10) < 3
    assert best_threshold(shares, positive, shares > 0.5, SCORES["f1"]) is None
    zero = np.zeros(10)
    assert best_threshold(zero, positive, zero > 0.5, SCORES["f1"]) is None


def test_the_best_threshold_of_calibrated_probabilities_is_that_of_the_costs() -> None:
    probabilities, actual, folds = rare(40_000)
    choice = choose_threshold(OUTPUT, probabilities, actual, folds, cost_score(COSTS, 1))
    assert choice.threshold == pytest.approx(1 / 6, abs=0.02)
    assert choice.score > choice.default and choice.certainty == 1


def test_the_threshold_is_of_the_positive_class() -> None:
    probabilities, actual, folds = rare(5_000)
    of_second = choose_threshold(OUTPUT, probabilities, actual, folds, SCORES["f1"])
    first = Classes(("yes", "no"), positive="yes")
    of_first = choose_threshold(first, probabilities[:, ::-1], 1 - actual, folds, SCORES["f1"])
    assert of_first == of_second
    assert of_second.threshold is not None and 0.1 < of_second.threshold < 0.4


def test_scores_are_those_of_thresholds_chosen_without_the_rows() -> None:
    probabilities, actual, folds = rare(1_000)
    score = SCORES["f1"]
    choice = choose_threshold(OUTPUT, probabilities, actual, folds, score)
    decided = np.zeros(1_000, int)
    for fold in range(5):
        out, held = folds != fold, folds == fold
        shares = probabilities[out, 1]
        found = best_threshold(shares, actual[out] == 1, shares > 0.5, score)
        decided[held] = replace(OUTPUT, threshold=found).decide(probabilities[held])
    assert choice.score == pytest.approx(metrics.f1_score(actual, decided))
    assert choice.default == pytest.approx(metrics.f1_score(actual, probabilities[:, 1] > 0.5))


def test_there_is_no_threshold_where_the_most_probable_class_is_best() -> None:
    kept = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        shares = rng.random(300)
        actual = (rng.random(300) < shares).astype(int)
        probabilities = np.column_stack([1 - shares, shares])
        folds = np.arange(300) % 5
        choice = choose_threshold(OUTPUT, probabilities, actual, folds, SCORES["accuracy"])
        kept += choice.threshold is not None
    assert kept <= 10


def test_a_gain_of_few_rows_is_not_certain() -> None:
    probabilities, actual, folds = rare(40, share=0.2)
    choice = choose_threshold(OUTPUT, probabilities, actual, folds, SCORES["accuracy"])
    assert choice.threshold is None and choice.certainty < 0.95


def test_a_threshold_of_the_contract_is_ignored() -> None:
    probabilities, actual, folds = rare(2_000)
    decided = replace(OUTPUT, threshold=0.9)
    assert choose_threshold(decided, probabilities, actual, folds, SCORES["f1"]) == (
        choose_threshold(OUTPUT, probabilities, actual, folds, SCORES["f1"])
    )


@pytest.mark.alone
def test_many_rows_take_seconds() -> None:
    probabilities, actual, folds = rare(300_000)
    start = time.perf_counter()
    choose_threshold(OUTPUT, probabilities, actual, folds, SCORES["f1"])
    assert time.perf_counter() - start < 10


def test_counts_are_those_of_every_threshold() -> None:
    shares, positive = np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, True, False, True])
    found = np.array(counts_at(shares, positive, np.array([0.05, 0.4, 0.5, 0.9])))
    assert found.tolist() == [[2, 2, 1, 0], [2, 1, 0, 0], [0, 0, 1, 2], [0, 1, 2, 2]]
