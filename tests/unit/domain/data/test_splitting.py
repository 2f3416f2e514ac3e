"""Training and hold-out rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from domain.contract import Category, Classes, ModelSpec, Number, Quantity
from domain.data.dataset import Dataset
from domain.data.splitting import hold_out
from domain.errors import DataError
from tests import petals

DATA = petals.load()
DUPLICATE = DATA.row_hashes[101]
SEEDS = range(40)
PARITY = ModelSpec("parity", (Number("x", "", 0, 99),), Classes(("odd", "even")))
AMOUNT = ModelSpec("amount", (Number("x", "", 0, 1e4),), Quantity("amount"))


@pytest.mark.parametrize("test_size", [0.1, 0.2, 0.3, 0.5])
def test_no_hold_out_row_has_the_inputs_of_a_training_row(test_size: float) -> None:
    for seed in SEEDS:
        training, holdout = hold_out(DATA, petals.SPEC, test_size, seed)
        assert not set(training.row_hashes) & set(holdout.row_hashes)


def test_the_iris_duplicates_stay_together_and_both_sides_get_some() -> None:
    sides = set()
    for seed in SEEDS:
        training, holdout = hold_out(DATA, petals.SPEC, 0.2, seed)
        counts = [int((side.row_hashes == DUPLICATE).sum()) for side in (training, holdout)]
        sides.add(tuple(counts))
    assert sides == {(2, 0), (0, 2)}


def test_every_row_is_on_one_side() -> None:
    for seed in SEEDS:
        training, holdout = hold_out(DATA, petals.SPEC, 0.2, seed)
        rows = [*training.inputs.index, *holdout.inputs.index]
        assert sorted(rows) == list(range(150))


@pytest.mark.parametrize("test_size", [0.1, 0.2, 0.4])
def test_every_class_has_its_share_of_the_hold_out(test_size: float) -> None:
    for seed in SEEDS:
        _, holdout = hold_out(DATA, petals.SPEC, test_size, seed)
        shares = holdout.target.value_counts() / (50 * test_size)
        assert len(shares) == 3
        # one row for rounding, one for the duplicates
        assert ((shares - 1).abs() <= 2 / (50 * test_size)).all()


def test_labels_stay_with_their_rows() -> None:
    for part in hold_out(DATA, petals.SPEC, 0.2, 42):
        assert part.target.tolist() == DATA.target.loc[part.inputs.index].tolist()


def test_the_same_seed_gives_the_same_split() -> None:
    first, second = hold_out(DATA, petals.SPEC, 0.2, 42), hold_out(
        petals.load(), petals.SPEC, 0.2, 42
    )
    assert [part.fingerprint for part in first] == [part.fingerprint for part in second]


def test_another_seed_gives_another_split() -> None:
    assert len({hold_out(DATA, petals.SPEC, 0.2, seed)[1].fingerprint for seed in SEEDS}) == len(
        SEEDS
    )


def test_many_rows_with_the_same_inputs_stay_together() -> None:
    rng = np.random.default_rng(3)
    values = rng.integers(0, 30, size=200)
    labels = pd.Series(np.where(values % 2, "odd", "even"))
    dataset = Dataset("repeated", "", pd.DataFrame({"x": values.astype(float)}), labels)
    for seed in SEEDS:
        training, holdout = hold_out(dataset, PARITY, 0.3, seed)
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
    with pytest.raises(DataError, match="petals cannot be split") as refused:
        hold_out(dataset, petals.SPEC, test_size, 42)
    assert reason in str(refused.value)


def amounts(target: Any, inputs: Any = None) -> Dataset:
    """A regression; by default all rows are distinct."""
    inputs = np.arange(len(target), dtype=float) if inputs is None else inputs
    return Dataset("amounts", "", pd.DataFrame({"x": inputs}), pd.Series(target, dtype=float))


@pytest.mark.parametrize("test_size", [0.1, 0.25, 0.5, 0.8])
def test_every_fifth_of_a_quantity_has_its_share_of_the_hold_out(test_size: float) -> None:
    dataset = amounts(np.random.default_rng(0).lognormal(size=500))
    edges = dataset.target.quantile([0.2, 0.4, 0.6, 0.8])
    for seed in SEEDS:
        training, holdout = hold_out(dataset, AMOUNT, test_size, seed)
        assert len(training) + len(holdout) == 500
        held = np.bincount(np.searchsorted(edges, holdout.target), minlength=5)
        assert held.tolist() == [100 * test_size] * 5


def test_rows_of_a_quantity_with_the_same_inputs_stay_together() -> None:
    rng = np.random.default_rng(3)
    dataset = amounts(rng.normal(size=300), rng.integers(0, 60, size=300).astype(float))
    for seed in SEEDS:
        training, holdout = hold_out(dataset, AMOUNT, 0.3, seed)
        assert not set(training.inputs["x"]) & set(holdout.inputs["x"])
        assert len(training) + len(holdout) == 300


def test_the_same_seed_gives_the_same_split_of_a_quantity() -> None:
    dataset = amounts(np.random.default_rng(0).normal(size=100))
    splits = [hold_out(dataset, AMOUNT, 0.3, seed)[1].fingerprint for seed in (1, 1, 2)]
    assert splits[0] == splits[1] != splits[2]


@pytest.mark.parametrize(
    "target",
    [
        [0.0] * 39 + [*range(1, 12)],
        [0.0] * 49 + [1.0],
        [5.0] * 50,
        [1.0, 2.0] * 25,
        [*range(12)],
        [*range(4)],
    ],
    ids=["many zeros", "one that is not zero", "one value", "two values", "few rows", "four rows"],
)
def test_a_quantity_with_equal_values_or_few_rows_can_be_split(target: list[float]) -> None:
    for seed in SEEDS:
        training, holdout = hold_out(amounts(target), AMOUNT, 0.3, seed)
        assert len(training) + len(holdout) == len(target)
        assert len(holdout) == pytest.approx(0.3 * len(target), abs=1)


def test_one_row_of_a_quantity_cannot_be_split() -> None:
    with pytest.raises(DataError, match="amounts cannot be split: .*train set will be empty"):
        hold_out(amounts([1.0]), AMOUNT, 0.3, 42)


def test_many_equal_rows_are_split_by_row_count_and_stay_together() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"colour": rng.choice(["red", "blue"], 500), "size": rng.integers(9, size=500)}
    )
    spec = ModelSpec(
        "balls",
        (Category("colour", ("red", "blue")), Number("size", "", 0, 9)),
        Classes(("heavy", "light"), "weight"),
    )
    target = pd.Series(np.where(rng.random(500) < 0.5, "heavy", "light"))
    dataset = Dataset("balls", "made here", table, target)
    training, holdout = hold_out(dataset, spec, 0.2, 0)
    assert not set(training.row_hashes) & set(holdout.row_hashes)
    assert len(training) + len(holdout) == 500
    assert 0.1 < len(holdout) / 500 < 0.3


def test_too_few_distinct_rows_are_refused_with_the_reason() -> None:
    table = pd.DataFrame({"size": [1, 2] * 30})
    spec = ModelSpec("balls", (Number("size", "", 0, 9),), Classes(("heavy", "light")))
    target = pd.Series(["heavy", "light"] * 30)
    with pytest.raises(DataError, match="cannot be split: "):
        hold_out(Dataset("balls", "made here", table, target), spec, 0.2, 0)
