"""Training and hold-out rows."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import KNeighborsClassifier

from domain.contract import Category, Classes, ModelSpec, Number, Quantity
from domain.data.dataset import Dataset
from domain.data.splitting import hold_out, with_equal_shares, with_keys
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


def test_a_class_of_one_row_is_refused_by_name_with_the_reason() -> None:
    with pytest.raises(DataError, match="petals cannot be split: .* class 'virginica'"):
        hold_out(DATA.take(np.arange(101)), petals.SPEC, 0.2, 42)


@pytest.mark.parametrize("test_size", [0.001, 0.05, 0.2, 0.5, 0.8, 0.999])
def test_every_class_of_two_rows_or_more_is_on_both_sides(test_size: float) -> None:
    for seed in SEEDS:
        for rows in (DATA.take(np.r_[0:16, 50:52, 100:102]), DATA):  # 20 rows, 2 of a class
            for side in hold_out(rows, petals.SPEC, test_size, seed):
                assert set(side.target) == set(petals.SPEC.classes)


def customers(rows: int, positives: float, seed: int) -> Dataset:
    """So many customers, of whom this share churns."""
    rng = np.random.default_rng(seed)
    inputs = pd.DataFrame({"x": rng.normal(size=rows).round(6)})
    churned = pd.Series(np.where(rng.random(rows) < positives, "yes", "no"))
    return Dataset("customers", "made here", inputs, churned)


CUSTOMERS = ModelSpec("customers", (Number("x", "", -9, 9),), Classes(("no", "yes"), "churned"))


@pytest.mark.parametrize("rows", [2000, 3000, 5000, 7000, 10000])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_appended_rows_move_no_earlier_row_and_leave_the_class_shares_as_they_are(
    rows: int, seed: int
) -> None:
    grown = customers(round(1.2 * rows), 0.08, seed)
    training, holdout = hold_out(grown.take(np.arange(rows)), CUSTOMERS, 0.2, seed)
    later, grown_holdout = hold_out(grown, CUSTOMERS, 0.2, seed)
    assert not set(training.row_hashes) & set(grown_holdout.row_hashes)
    assert not set(holdout.row_hashes) & set(later.row_hashes)
    unseen = ~np.isin(grown_holdout.row_hashes, training.row_hashes)
    shares = [(side.target == "yes").mean() for side in (grown_holdout, grown_holdout.take(unseen))]
    assert abs(shares[0] - shares[1]) <= 0.015


def test_rows_appended_one_by_one_move_no_earlier_row() -> None:
    for seed in range(5):
        held = [
            hold_out(DATA.take(np.arange(rows)), petals.SPEC, 0.2, seed)[1].inputs.index.tolist()
            for rows in range(102, 151)
        ]
        for before, after in pairwise(held):
            assert before in (after, after[:-1])


def test_rows_of_a_quantity_that_are_appended_move_no_earlier_row() -> None:
    grown = amounts(np.random.default_rng(0).lognormal(size=300))
    for rows in (10, 49, 50, 51, 200):
        _, holdout = hold_out(grown.take(np.arange(rows)), AMOUNT, 0.2, 7)
        _, later = hold_out(grown, AMOUNT, 0.2, 7)
        assert [row for row in later.inputs.index if row < rows] == [*holdout.inputs.index]


@pytest.mark.parametrize("rows", [30, 50, 100, 1000, 10_000])
def test_the_share_of_a_class_is_off_by_one_row_or_five_percent_at_most(rows: int) -> None:
    for seed in range(5):
        dataset = customers(2 * rows, 0.5, seed)
        _, holdout = hold_out(dataset, CUSTOMERS, 0.2, seed)
        for word, count in dataset.target.value_counts().items():
            held = int((holdout.target == word).sum())
            assert abs(held - 0.2 * count) <= max(1, 0.05 * 0.2 * count)


def test_most_rows_of_a_large_table_keep_their_side_in_another_order() -> None:
    dataset = customers(10_000, 0.5, 3)
    order = np.random.default_rng(0).permutation(10_000)
    _, holdout = hold_out(dataset, CUSTOMERS, 0.2, 0)
    _, reordered = hold_out(dataset.take(order), CUSTOMERS, 0.2, 0)
    assert np.isin(holdout.row_hashes, reordered.row_hashes).mean() > 0.9


def test_chosen_rows_get_the_class_shares_of_all_rows() -> None:
    classes = np.repeat([0, 1], [920, 80])
    chosen = np.r_[np.arange(920) % 10 < 8, np.arange(80) % 4 == 0]  # 736 and 20
    kept = with_equal_shares(chosen, classes)
    assert (kept <= chosen).all()
    assert np.bincount(classes[kept]).tolist() == [230, 20]
    assert np.flatnonzero(kept)[[0, 229]].tolist() == [0, 917]


def test_chosen_rows_with_nearly_the_class_shares_of_all_rows_all_stay() -> None:
    classes = np.repeat([0, 1, 3], [450, 450, 100])
    chosen = np.arange(1000) % 3 > 0
    assert (with_equal_shares(chosen, classes) == chosen).all()


def test_without_any_row_of_a_class_no_chosen_row_is_left() -> None:
    classes = np.repeat([0, 1], [50, 50])
    assert not with_equal_shares(classes == 0, classes).any()
    assert not with_equal_shares(np.zeros(100, bool), classes).any()


def amounts(target: Any, inputs: Any = None) -> Dataset:
    """A regression; by default all rows are distinct."""
    inputs = np.arange(len(target), dtype=float) if inputs is None else inputs
    return Dataset("amounts", "", pd.DataFrame({"x": inputs}), pd.Series(target, dtype=float))


@pytest.mark.parametrize("test_size", [0.1, 0.25, 0.5, 0.8])
def test_every_fifth_of_a_quantity_has_its_share_of_the_hold_out(test_size: float) -> None:
    dataset = amounts(np.random.default_rng(0).lognormal(size=500))
    edges = dataset.target[:50].quantile([0.2, 0.4, 0.6, 0.8])
    fifths = np.bincount(np.searchsorted(edges, dataset.target[50:]))
    for seed in SEEDS:
        training, holdout = hold_out(dataset, AMOUNT, test_size, seed)
        assert len(training) + len(holdout) == 500
        late = holdout.target[holdout.inputs.index >= 50]
        held = np.bincount(np.searchsorted(edges, late), minlength=5)
        assert (abs(held - test_size * fifths) <= np.maximum(1, 0.05 * test_size * fifths)).all()


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
    with pytest.raises(DataError, match="amounts cannot be split: .*would have no row"):
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


def visits(rows: int = 200) -> Dataset:
    """Visits of customers, of whom each comes several times."""
    rng = np.random.default_rng(1)
    inputs = pd.DataFrame({"x": rng.normal(size=rows).round(6)})
    days = pd.date_range("2026-01-01", periods=rows, freq="D")
    others = pd.DataFrame(
        {
            "date": days.strftime("%Y-%m-%d"),
            "stamp": days,
            "customer": rng.integers(0, rows // 4, rows),
            "holes": np.where(np.arange(rows) == 3, np.nan, 1.0),
            "word": "soon",
        }
    )
    churned = pd.Series(np.where(rng.random(rows) < 0.4, "yes", "no"))
    return Dataset("visits", "made here", inputs, churned, (), others)


@pytest.mark.parametrize("column", ["date", "stamp"])
@pytest.mark.parametrize(
    ("options", "training", "held"),
    [
        ({}, 160, 160),
        ({"gap": 7.0}, 153, 160),
        ({"start": "2026-07-01"}, 181, 181),
        ({"start": "2026-07-01", "gap": 0.5}, 181, 181),
    ],
)
def test_the_last_days_are_held_out(
    column: str, options: dict[str, Any], training: int, held: int
) -> None:
    sides = hold_out(with_keys(visits(), column, **options), CUSTOMERS, 0.2, 0)
    rows = [side.inputs.index.tolist() for side in sides]
    assert rows == [list(range(training)), list(range(held, 200))]


def test_no_customer_is_on_both_sides_and_appended_rows_move_none() -> None:
    dataset = with_keys(visits(), group="customer")
    for seed in SEEDS:
        sides = hold_out(dataset, CUSTOMERS, 0.2, seed)
        words = [set(side.others["customer"]) for side in sides if side.others is not None]
        assert not words[0] & words[1]
        _, fewer = hold_out(dataset.take(np.arange(150)), CUSTOMERS, 0.2, seed)
        assert [row for row in sides[1].inputs.index if row < 150] == [*fewer.inputs.index]


def test_a_row_with_the_inputs_of_an_earlier_row_on_the_other_side_is_on_neither() -> None:
    data = visits()
    inputs = data.inputs.copy()
    inputs.loc[100:149, "x"] = inputs.loc[0:49, "x"].to_numpy()  # of other customers
    twice = with_keys(replace(data, inputs=inputs), group="customer")
    training, holdout = hold_out(twice, CUSTOMERS, 0.2, 0)
    assert not set(training.row_hashes) & set(holdout.row_hashes)
    left = set(range(200)) - set(training.inputs.index) - set(holdout.inputs.index)
    assert left and left <= set(range(100, 150))


def test_rows_of_different_times_may_have_the_same_inputs() -> None:
    data = replace(visits(), inputs=visits().inputs.assign(x=1.0))
    training, holdout = hold_out(with_keys(data, "date"), CUSTOMERS, 0.2, 0)
    assert (len(training), len(holdout)) == (160, 40)
    assert not set(training.row_hashes) & set(holdout.row_hashes)


def test_an_input_may_be_the_time() -> None:
    _, holdout = hold_out(with_keys(amounts(range(50)), "x", start=40), AMOUNT, 0.5, 0)
    assert holdout.target.tolist() == [*range(40, 50)]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"time": "day"}, "has no column 'day', .* it has date, stamp, customer, holes, word, x"),
        ({"group": "holes"}, "1 of 200 rows has no holes, which data.split needs"),
        ({"time": "word"}, "word must have dates such as 2026-01-31, or numbers"),
        ({"time": "date", "start": "soon"}, "data.split.start must have dates"),
        ({"time": "date", "start": 5.0}, "data.split.start is 5.0, and date has values such as"),
        ({"time": "customer", "start": "2026-01-01"}, "write it in the same way"),
    ],
)
def test_a_column_that_cannot_split_is_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        with_keys(visits(), **options)


def test_a_hold_out_in_time_without_every_class_is_refused() -> None:
    data = visits()
    early = replace(data, target=data.target.where(data.target.index < 150, "no"))
    with pytest.raises(DataError, match="the hold-out would have no row of the class 'yes'"):
        hold_out(with_keys(early, "date"), CUSTOMERS, 0.2, 0)


def test_labels_of_chance_are_learned_only_if_a_customer_is_on_both_sides() -> None:
    rng = np.random.default_rng(0)
    customers_of_three = np.repeat(np.arange(300), 3)
    inputs = pd.DataFrame({"x": np.repeat(rng.normal(size=300), 3) + rng.normal(0, 1e-4, 900)})
    coin = pd.Series(np.repeat(rng.choice(["no", "yes"], 300), 3))
    others = pd.DataFrame({"customer": customers_of_three})
    data = Dataset("visits", "made here", inputs, coin, (), others)
    scores = []
    for each in (data, with_keys(data, group="customer")):
        training, holdout = hold_out(each, CUSTOMERS, 0.2, 0)
        model = KNeighborsClassifier(1).fit(training.inputs, training.target)
        scores.append(model.score(holdout.inputs, holdout.target))
    assert scores[0] > 0.85
    assert 0.3 < scores[1] < 0.7  # 60 customers
