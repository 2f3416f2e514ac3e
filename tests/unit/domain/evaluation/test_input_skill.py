"""How well single inputs and pairs predict the target."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from domain.evaluation.input_skill import best_pairs, pair_skill, single_feature_skill
from domain.evaluation.leakage import LIMITS

RNG = np.random.default_rng(0)
CLASSES = np.arange(300) % 3
VALUES = RNG.normal(size=300)


def test_an_input_equal_to_the_class_has_full_skill() -> None:
    assert single_feature_skill(CLASSES * 10.0, CLASSES, "classification").value == 1


@pytest.mark.parametrize("copy", [VALUES, VALUES * 3 + 7, -VALUES, VALUES * 1e-3])
def test_an_input_that_is_the_target_in_another_unit_has_full_skill(copy: np.ndarray) -> None:
    assert single_feature_skill(copy, VALUES, "regression").value >= LIMITS["regression"]


def test_noise_has_no_skill() -> None:
    assert single_feature_skill(RNG.normal(size=300), CLASSES, "classification").value < 0.2
    assert single_feature_skill(RNG.normal(size=300), VALUES, "regression").value < 0.2


def test_a_good_input_is_not_a_leak() -> None:
    good = CLASSES + RNG.normal(0, 0.3, 300)
    skill = single_feature_skill(good, CLASSES, "classification")
    assert skill.value > 0.7
    assert skill.certain < LIMITS["classification"]


def test_missing_values_can_leak_the_target() -> None:
    column = np.where(CLASSES == 0, np.nan, 1.0)
    assert (
        single_feature_skill(column, (CLASSES == 0).astype(np.int64), "classification").value == 1
    )


def test_a_missing_value_differs_from_0() -> None:
    column = np.where(CLASSES == 0, np.nan, 0.0)
    assert (
        single_feature_skill(column, (CLASSES == 0).astype(np.int64), "classification").value == 1
    )


def test_sorted_rows_are_divided_at_random() -> None:
    column = np.arange(300.0)
    assert single_feature_skill(column, np.arange(300) // 10 % 2, "classification").value > 0.8
    assert single_feature_skill(column, (column - 150) ** 2, "regression").value > 0.99


def test_a_constant_input_has_no_skill() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert single_feature_skill(np.ones(300), VALUES, "regression").value < 0.01
        assert single_feature_skill(np.ones(300), CLASSES, "classification").value <= 0


def test_the_skill_for_a_quantity_is_repeatable() -> None:
    target = VALUES**2 + RNG.normal(size=300)
    assert single_feature_skill(VALUES, target, "regression") == single_feature_skill(
        VALUES, target, "regression"
    )


def test_no_row_is_predicted_by_a_model_that_was_fitted_on_it() -> None:
    noise = np.random.default_rng(0).normal(size=10_001)
    column = np.arange(10_001.0)
    column[0] = np.nan  # with a missing value, only the tree is used
    assert single_feature_skill(column, noise, "regression").value < -0.2


def test_a_class_of_three_rows_is_predicted() -> None:
    classes = np.repeat([0, 1], 3)
    assert single_feature_skill(classes * 1.0, classes, "classification").value == 1


def test_the_skill_for_classes_weighs_them_alike_and_has_a_standard_error() -> None:
    target = np.repeat([0, 1], [900, 100])
    column = target.copy()
    column[:9] = 1  # 1 % of the frequent class
    column[900:920] = 0  # 20 % of the rare one
    skill = single_feature_skill(column * 1.0, target, "classification")
    assert skill.value == pytest.approx(1 - 0.01 - 0.2)
    often, rare = 10 / 901, 21 / 101  # shares of errors with one more
    error = np.sqrt(often * (1 - often) / 901 + rare * (1 - rare) / 101)
    assert skill.error == pytest.approx(error)
    assert skill.certain == pytest.approx(skill.value - 3 * skill.error)


@pytest.mark.parametrize(("positives", "leak"), [(3, False), (40, False), (60, True)])
def test_few_rows_without_an_error_are_not_certain(positives: int, leak: bool) -> None:
    target = np.repeat([0, 1], [10_000 - positives, positives])
    skill = single_feature_skill(target * 1.0, target, "classification")
    assert skill.value == 1
    assert (skill.certain >= LIMITS["classification"]) is leak


def test_a_few_exceptions_are_not_learned_from_many_rows() -> None:
    rng = np.random.default_rng(0)
    target = (np.arange(10_000) < 200).astype(np.int64)
    paid = np.where(target, True, rng.random(10_000) < 0.001)
    fee = np.where(paid, rng.lognormal(3, 0.5, 10_000), 0.0)
    assert single_feature_skill(fee, target, "classification").value > 0.99


def test_a_class_too_rare_for_the_folds_is_left_out() -> None:
    classes = np.array([0, 1] * 20 + [2])
    assert single_feature_skill(classes.astype(float), classes, "classification").value == 1
    assert single_feature_skill(np.arange(3.0), np.array([0, 1, 2]), "classification").value == 0


def test_many_rows_are_sampled_repeatably() -> None:
    classes = np.arange(50_000) % 2
    column = classes + RNG.normal(0, 0.5, 50_000)
    first = single_feature_skill(column, classes, "classification")
    assert first == single_feature_skill(column, classes, "classification")
    assert 0.4 < first.value < 0.9


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("target", [[1, 0], [1, 1, 1, 1, 1, 1]])
def test_too_little_data_gives_no_skill(task: str, target: list[int]) -> None:
    assert single_feature_skill(np.arange(float(len(target))), np.array(target), task) == (0, 0)


def test_two_flags_that_differ_for_one_class_predict_it_together() -> None:
    rng = np.random.default_rng(0)
    target, flag = rng.integers(0, 2, (2, 2000))
    columns = [rng.normal(size=2000), flag * 1.0, rng.normal(size=2000), (flag ^ target) * 1.0]
    assert best_pairs(columns, target, "classification")[0] == (1, 3)
    assert pair_skill(columns[1], columns[3], target, "classification").value == 1
    assert single_feature_skill(columns[1], target, "classification").value < 0.2


@pytest.mark.parametrize("missing", [0, 50])
def test_a_date_after_another_one_is_found_by_their_difference(missing: int) -> None:
    start, end, other = np.random.default_rng(0).normal(size=(3, 2000))
    target = (end > start).astype(np.int64)
    start[:missing] = np.nan
    assert best_pairs([other, start, end], target, "classification")[0] == (1, 2)
    skill = pair_skill(start, end, target, "classification").value
    assert skill > 0.93 if missing else skill > 0.99


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_sum_of_two_inputs_is_predicted_by_a_linear_regression(noise: float) -> None:
    first, second, other, rest = np.random.default_rng(0).normal(size=(4, 500))
    target = 3 * first - second + 7 + noise * rest
    assert best_pairs([first, other, second], target, "regression")[0] == (0, 2)
    skill = pair_skill(first, second, target, "regression").value
    assert skill == pytest.approx(10 / (10 + noise**2), abs=0.01)


def test_copies_and_constants_are_no_pair() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for column in (VALUES, np.ones(300), np.full(300, np.nan)):
            assert pair_skill(column, column, RNG.normal(size=300), "regression").value < 0.1


def test_every_pair_is_ranked_and_too_little_data_has_none() -> None:
    columns = list(RNG.normal(size=(4, 300)))
    assert len(set(best_pairs(columns, CLASSES, "classification"))) == 6
    assert best_pairs(columns[:1], CLASSES, "classification") == []
    assert best_pairs(columns, np.zeros(300, np.int64), "classification") == []
