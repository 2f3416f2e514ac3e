"""Splits, folds and early stopping by time and group."""

from __future__ import annotations

import numpy as np
import pytest

from domain.data.split_keys import SplitKeys, stable_sides
from domain.errors import DataError

RNG = np.random.default_rng(0)
TIME = RNG.permutation(np.repeat(np.arange(100.0), 3))
GROUP = np.array([f"C{number}" for number in RNG.integers(0, 60, 300)], object)
CLASSES = RNG.integers(0, 2, 300)
BY_TIME, BY_GROUP = SplitKeys(time=TIME), SplitKeys(group=GROUP)
BY_BOTH = SplitKeys(TIME, GROUP, gap=5.0)
STRATA = CLASSES.tolist()


def test_the_last_share_of_the_rows_is_held_out_and_no_time_is_on_both_sides() -> None:
    learned, held = BY_TIME.sides(STRATA, 0.2, 0)
    assert (TIME[held].min(), TIME[learned].max(), held.sum()) == (80, 79, 60)
    assert (learned ^ held).all()


def test_rows_are_held_out_from_a_stated_time() -> None:
    learned, held = BY_TIME.sides(STRATA, 0.2, 0, start=95.5)
    assert (TIME[held].min(), TIME[learned].max()) == (96, 95)


def test_rows_in_the_gap_before_the_hold_out_are_on_neither_side() -> None:
    learned, held = SplitKeys(TIME, gap=7.0).sides(STRATA, 0.2, 0)
    assert (TIME[held].min(), TIME[learned].max()) == (80, 72)
    assert set(TIME[~(learned | held)]) == set(range(73, 80))


def test_no_group_is_on_both_sides() -> None:
    for seed in range(10):
        learned, held = BY_GROUP.sides(STRATA, 0.2, seed)
        assert not set(GROUP[learned]) & set(GROUP[held])
        assert (learned ^ held).all()
        assert 0.1 < held.mean() < 0.3
        assert abs(len(set(GROUP[held])) - 12) <= 2


def test_many_groups_are_split_in_the_order_in_which_they_first_occur() -> None:
    groups = np.array([f"g{number}" for number in range(30_000)], object)
    rows = np.random.default_rng(0).integers(30_000, size=100_000)
    group = np.concatenate([groups[::-1], groups[rows]])
    learned, held = SplitKeys(group=group).sides([0] * len(group), 0.2, 3)
    first = stable_sides(groups[::-1].tolist(), [0] * 30_000, 0.2, 3)
    assert (held[:30_000] == first).all() and (learned ^ held).all()
    assert (held[30_000:] == first[::-1][rows]).all()


def test_rows_that_are_appended_move_no_group() -> None:
    few = np.arange(200)
    for seed in range(10):
        _, held = BY_GROUP.take(few).sides(STRATA[:200], 0.2, seed)
        _, later = BY_GROUP.sides(STRATA, 0.2, seed)
        assert (held == later[:200]).all()


def test_by_both_the_later_rows_of_groups_that_are_not_learned_from_are_held_out() -> None:
    learned, held = BY_BOTH.sides(STRATA, 0.2, 0)
    assert not set(GROUP[learned]) & set(GROUP[held])
    assert (TIME[held].min() >= 80, TIME[learned].max()) == (True, 74)
    late = (TIME >= 80) & ~np.isin(GROUP, GROUP[learned])
    assert (held == late).all() and held.any()


def test_a_group_that_appears_after_the_training_is_held_out_whatever_its_hash() -> None:
    group = GROUP.copy()
    group[TIME >= 98] = "new"
    for seed in range(10):
        _, held = SplitKeys(TIME, group).sides(STRATA, 0.2, seed)
        assert held[TIME >= 98].all()


@pytest.mark.parametrize("keys", [BY_TIME, SplitKeys(TIME, gap=3.0), BY_GROUP, BY_BOTH])
@pytest.mark.parametrize("classes", [None, CLASSES])
def test_every_fold_follows_the_split(keys: SplitKeys, classes: np.ndarray | None) -> None:
    folds = keys.folds(5, 1, classes)
    assert len(folds) == 5
    for fit, test in folds:
        if keys.time is not None:
            assert TIME[fit].max() < TIME[test].min() - keys.gap
        if keys.group is not None:
            assert not set(GROUP[fit]) & set(GROUP[test])
    tested = np.concatenate([test for _, test in folds])
    assert len(tested) == len(set(tested.tolist()))


def test_folds_without_an_early_row_of_every_class_are_left_out() -> None:
    late = np.where(TIME < 40, 0, CLASSES)
    folds = BY_TIME.folds(5, 0, late)
    assert 2 <= len(folds) < 5
    assert all(len(np.unique(late[fit])) == 2 for fit, _ in folds)
    with pytest.raises(ValueError, match="fewer than 2 folds"):
        BY_TIME.folds(5, 0, (TIME >= 95).astype(int))


def test_too_few_groups_or_times_for_the_folds_are_refused() -> None:
    with pytest.raises(ValueError, match="number of groups"):
        SplitKeys(group=np.array(["a", "b"] * 10, object)).folds(5, 0)
    with pytest.raises(ValueError, match="number of folds"):
        SplitKeys(time=np.repeat([1.0, 2.0], 10)).folds(5, 0)


def test_early_stopping_is_told_by_later_rows_and_by_other_groups() -> None:
    fit, valid = SplitKeys(TIME, gap=2.0).early_stopping(STRATA, 0.1, 0)
    assert (TIME[valid].min(), TIME[fit].max()) == (90, 87)
    fit, valid = BY_GROUP.early_stopping(STRATA, 0.1, 0)
    assert not set(GROUP[fit]) & set(GROUP[valid])


def test_early_stopping_without_any_row_is_refused() -> None:
    with pytest.raises(DataError, match="leave no rows for early stopping"):
        SplitKeys(group=np.full(20, "one", object)).early_stopping([None] * 20, 0.1, 0)


def test_keys_are_taken_with_their_rows() -> None:
    rows = np.array([5, 3])
    taken = BY_BOTH.take(rows)
    assert taken.time is not None and taken.group is not None
    assert taken.time.tolist() == TIME[rows].tolist()
    assert taken.group.tolist() == GROUP[rows].tolist()
    assert (taken.gap, BY_TIME.take(rows).group) == (5.0, None)
