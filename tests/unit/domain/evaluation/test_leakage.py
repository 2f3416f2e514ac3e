"""Inputs that give the target away, and hold-out rows that are nearly in training."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from domain.contract import Category, Classes, ModelSpec, Number, Tensor, Text
from domain.evaluation import leakage
from domain.evaluation.leakage import LIMITS, near_duplicates, single_feature_skill
from domain.gates import no_target_leakage
from tests.kinds import KINDS

RNG = np.random.default_rng(0)
CLASSES = np.arange(300) % 3
VALUES = RNG.normal(size=300)


def test_an_input_equal_to_the_class_has_full_skill() -> None:
    assert single_feature_skill(CLASSES * 10.0, CLASSES, "classification") == 1


@pytest.mark.parametrize("copy", [VALUES, VALUES * 3 + 7, -VALUES, VALUES * 1e-3])
def test_an_input_that_is_the_target_in_another_unit_has_full_skill(copy: np.ndarray) -> None:
    assert single_feature_skill(copy, VALUES, "regression") >= LIMITS["regression"]


def test_noise_has_no_skill() -> None:
    assert single_feature_skill(RNG.normal(size=300), CLASSES, "classification") < 0.2
    assert single_feature_skill(RNG.normal(size=300), VALUES, "regression") < 0.2


def test_a_good_input_is_not_a_leak() -> None:
    good = CLASSES + RNG.normal(0, 0.3, 300)
    skill = single_feature_skill(good, CLASSES, "classification")
    assert 0.7 < skill < LIMITS["classification"]


def test_missing_values_can_leak_the_target() -> None:
    column = np.where(CLASSES == 0, np.nan, 1.0)
    assert single_feature_skill(column, (CLASSES == 0).astype(np.int64), "classification") == 1


def test_a_missing_value_differs_from_0() -> None:
    column = np.where(CLASSES == 0, np.nan, 0.0)
    assert single_feature_skill(column, (CLASSES == 0).astype(np.int64), "classification") == 1


def test_sorted_rows_are_divided_at_random() -> None:
    column = np.arange(300.0)
    assert single_feature_skill(column, np.arange(300) // 10 % 2, "classification") > 0.8
    assert single_feature_skill(column, (column - 150) ** 2, "regression") > 0.99


def test_a_constant_input_has_no_skill() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert single_feature_skill(np.ones(300), VALUES, "regression") < 0.01
        assert single_feature_skill(np.ones(300), CLASSES, "classification") <= 0


def test_the_skill_for_a_quantity_is_repeatable() -> None:
    target = VALUES**2 + RNG.normal(size=300)
    assert single_feature_skill(VALUES, target, "regression") == single_feature_skill(
        VALUES, target, "regression"
    )


def test_no_row_is_predicted_by_a_model_that_was_fitted_on_it() -> None:
    noise = np.random.default_rng(0).normal(size=10_001)
    column = np.arange(10_001.0)
    column[0] = np.nan  # with a missing value, only the tree is used
    assert single_feature_skill(column, noise, "regression") < -0.2


def test_a_class_of_three_rows_is_predicted() -> None:
    classes = np.repeat([0, 1], 3)
    assert single_feature_skill(classes * 1.0, classes, "classification") == 1


def test_an_input_at_the_limit_is_a_leak() -> None:
    target, column = np.arange(600) % 2, np.arange(600) % 2
    column[:3] = 1 - column[:3]  # 3 of 600 rows are wrong; of a constant prediction, 300
    spec = ModelSpec("table", (Number("copy", "", 0, 1),), Classes(("no", "yes")))
    skill = single_feature_skill(column * 1.0, target, "classification")
    assert skill == LIMITS["classification"]
    assert not no_target_leakage(spec, column[:, None] * 1.0, target).accepted


def test_a_class_too_rare_for_the_folds_is_left_out() -> None:
    classes = np.array([0, 1] * 20 + [2])
    assert single_feature_skill(classes.astype(float), classes, "classification") == 1
    assert single_feature_skill(np.arange(3.0), np.array([0, 1, 2]), "classification") == 0


def test_many_rows_are_sampled_repeatably() -> None:
    classes = np.arange(50_000) % 2
    column = classes + RNG.normal(0, 0.5, 50_000)
    first = single_feature_skill(column, classes, "classification")
    assert first == single_feature_skill(column, classes, "classification")
    assert 0.4 < first < 0.9


TABLE = ModelSpec(
    "table",
    (
        Number("area", "m²", -9, 9, nullable=True),
        Number("height", "m", -9, 9, nullable=True),
        Category("box", ("small", "large"), nullable=True),
    ),
    Classes(("no", "yes")),
)
ROWS = np.column_stack([RNG.normal(size=(200, 2)), RNG.integers(0, 2, 200)]).astype(np.float32)


def moved(column: int, change: float) -> int:
    """Near-duplicates when one value of a training row is changed."""
    row = ROWS[7:8].copy()
    row[0, column] += change
    return near_duplicates(TABLE, row, ROWS)


@pytest.mark.parametrize(
    ("column", "change", "expected"),
    [(0, 5e-4, 1), (1, -5e-4, 1), (0, 2e-3, 0), (0, 0.0, 0), (2, 1.0, 0), (0, np.nan, 0)],
)
def test_a_row_close_to_a_training_row_is_a_near_duplicate(
    column: int, change: float, expected: int
) -> None:
    assert moved(column, change) == expected


def test_equal_rows_are_not_near_duplicates_but_do_not_hide_them() -> None:
    assert near_duplicates(TABLE, ROWS, ROWS) == 0
    assert near_duplicates(TABLE, ROWS, ROWS[:0]) == near_duplicates(TABLE, ROWS[:0], ROWS) == 0
    close = ROWS + np.array([3e-4, 0, 0], np.float32)
    assert near_duplicates(TABLE, ROWS, np.concatenate([ROWS, close])) == 200


def test_near_duplicates_have_the_same_missing_values() -> None:
    holdout, training = ROWS[:1].copy(), ROWS.copy()
    holdout[0, 0] = training[0, 0] = np.nan
    holdout[0, 1] += 3e-4
    assert near_duplicates(TABLE, holdout, training) == 1
    training[0, 0] = 0  # what stands for a missing value
    assert near_duplicates(TABLE, holdout, training) == 0


def test_the_unit_of_a_number_does_not_matter() -> None:
    scale = np.array([1e6, 1e-6, 1], np.float32)
    assert (
        near_duplicates(
            TABLE, (ROWS[:9] + np.array([3e-4, 0, 0], np.float32)) * scale, ROWS * scale
        )
        == 9
    )


def test_every_column_may_differ_by_the_tolerance() -> None:
    close = ROWS + np.array([8e-4, 8e-4, 0], np.float32)
    assert near_duplicates(TABLE, close, ROWS) == 200
    scale = np.array([1e-6, 1e-6, 1], np.float32)
    far = ROWS + np.array([2e-2, 0, 0], np.float32)
    assert near_duplicates(TABLE, far * scale, ROWS * scale) < 10


def test_every_value_of_a_tensor_must_be_near() -> None:
    spec = ModelSpec("images", (Tensor("image", (3, 4), 0, 16),), Classes(("no", "yes")))
    images = RNG.uniform(0, 16, (50, 12)).astype(np.float32)
    near, far = images + np.float32(1e-3), images.copy()
    far[:, 5] += 0.5
    assert near_duplicates(spec, near, images) == 50
    assert near_duplicates(spec, far, images) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [("A  fine\tFilm ", 1), ("a fine film", 0), ("a fine films", 0), ("GROSS", 1)],
)
def test_texts_that_differ_in_case_and_spaces_are_near_duplicates(text: str, expected: int) -> None:
    spec = ModelSpec("reviews", (Text("review", 99),), Classes(("bad", "good")))
    training = np.array([["a fine film"], ["groß"]], object)
    assert near_duplicates(spec, np.array([[text]], object), training) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_any_kind_are_not_near_duplicates_of_themselves(kind: str) -> None:
    spec = KINDS[kind].SPEC
    rows = KINDS[kind].load().encoded(spec)
    assert near_duplicates(spec, rows[:40], rows[:40]) == 0


def test_near_duplicates_are_searched_in_a_sample_of_many_rows() -> None:
    rows = np.column_stack([RNG.normal(size=(20_000, 2)), np.zeros(20_000)]).astype(np.float32)
    close = rows + np.array([5e-4, 0, 0], np.float32)
    found = near_duplicates(TABLE, rows, close)
    assert found == near_duplicates(TABLE, rows, close)
    assert 9_000 < found <= 10_000


def test_no_row_of_the_sample_is_drawn_twice() -> None:
    rows = np.column_stack([RNG.normal(size=(10_001, 2)), np.zeros(10_001)]).astype(np.float32)
    close = rows[:10_000] + np.array([5e-4, 0, 0], np.float32)
    assert near_duplicates(TABLE, close, rows) >= 9_999


def test_fewer_rows_are_sampled_when_they_are_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leakage, "_VALUES", 100)
    close = ROWS + np.array([3e-4, 0, 0], np.float32)
    assert near_duplicates(TABLE, close, ROWS) == 33


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("target", [[1, 0], [1, 1, 1, 1, 1, 1]])
def test_too_little_data_gives_no_skill(task: str, target: list[int]) -> None:
    assert single_feature_skill(np.arange(float(len(target))), np.array(target), task) == 0
