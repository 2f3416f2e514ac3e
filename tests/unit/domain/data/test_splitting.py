"""Training and hold-out rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from domain.data.dataset import Dataset
from domain.data.splitting import hold_out
from domain.errors import DataError
from domain.models import iris

DATA = iris.load()
TWIN = DATA.row_hashes[101]
SEEDS = range(40)


@pytest.mark.parametrize("test_size", [0.1, 0.2, 0.3, 0.5])
def test_no_row_of_the_hold_out_has_its_inputs_in_training(test_size: float) -> None:
    for seed in SEEDS:
        training, holdout = hold_out(DATA, test_size, seed)
        assert not set(training.row_hashes) & set(holdout.row_hashes)


def test_the_iris_twins_stay_on_one_side_and_both_sides_get_them() -> None:
    sides = set()
    for seed in SEEDS:
        training, holdout = hold_out(DATA, 0.2, seed)
        twins = int((training.row_hashes == TWIN).sum()), int((holdout.row_hashes == TWIN).sum())
        sides.add(twins)
    assert sides == {(2, 0), (0, 2)}


def test_every_row_is_on_one_side() -> None:
    for seed in SEEDS:
        training, holdout = hold_out(DATA, 0.2, seed)
        rows = [*training.inputs.index, *holdout.inputs.index]
        assert sorted(rows) == list(range(150))


@pytest.mark.parametrize("test_size", [0.1, 0.2, 0.4])
def test_every_class_has_its_share_of_the_hold_out(test_size: float) -> None:
    for seed in SEEDS:
        _, holdout = hold_out(DATA, test_size, seed)
        shares = holdout.labels.value_counts() / (50 * test_size)
        assert len(shares) == 3
        # one row for rounding, one for the twins
        assert ((shares - 1).abs() <= 2 / (50 * test_size)).all()


def test_labels_stay_with_their_rows() -> None:
    for part in hold_out(DATA, 0.2, 42):
        assert part.labels.tolist() == DATA.labels.loc[part.inputs.index].tolist()


def test_the_same_seed_gives_the_same_split() -> None:
    first, second = hold_out(DATA, 0.2, 42), hold_out(iris.load(), 0.2, 42)
    assert [part.fingerprint for part in first] == [part.fingerprint for part in second]


def test_another_seed_gives_another_split() -> None:
    assert len({hold_out(DATA, 0.2, seed)[1].fingerprint for seed in SEEDS}) == len(SEEDS)


def test_many_rows_with_the_same_inputs_stay_together() -> None:
    rng = np.random.default_rng(3)
    values = rng.integers(0, 30, size=200)
    labels = pd.Series(np.where(values % 2, "odd", "even"))
    dataset = Dataset("repeated", "", pd.DataFrame({"x": values.astype(float)}), labels)
    for seed in SEEDS:
        training, holdout = hold_out(dataset, 0.3, seed)
        assert not set(training.inputs["x"]) & set(holdout.inputs["x"])
        assert len(training) + len(holdout) == 200


@pytest.mark.parametrize(
    ("dataset", "test_size", "reason"),
    [
        (DATA.take(np.arange(51)), 0.2, "versicolor"),
        (DATA, 0.001, "number of classes = 3"),
        (DATA, 0.999, "train set will be empty"),
    ],
    ids=["a class of one row", "a hold-out without every class", "nothing to learn from"],
)
def test_data_that_cannot_be_split_are_refused_by_name_with_the_reason(
    dataset: Dataset, test_size: float, reason: str
) -> None:
    with pytest.raises(DataError, match="iris cannot be split") as refused:
        hold_out(dataset, test_size, 42)
    assert reason in str(refused.value)
