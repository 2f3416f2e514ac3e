"""Tables with leaks, and their sound twins: the same kinds of columns, honestly made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from domain import gates
from domain.contract import Category, Classes, ModelSpec, Number, Quantity
from domain.data.dataset import Dataset
from domain.data.splitting import hold_out
from domain.evaluation.near_duplicates import copied_share

RUNS = 50
ROWS = 4000


def customers(rng: np.random.Generator, positives: float = 0.25, rows: int = ROWS) -> pd.DataFrame:
    """An honest table, from which `left` can be predicted with a ROC AUC of about 0.8."""
    table = pd.DataFrame(
        {
            "region": rng.choice(["east", "north", "south", "west"], rows),
            "plan": rng.choice(["basic", "premium", "standard"], rows, p=[0.5, 0.2, 0.3]),
            "age": rng.normal(45, 14, rows).clip(18, 90).round(),
            "months": rng.exponential(30, rows).clip(1, 120).round(),
            "charge": rng.lognormal(3.7, 0.4, rows).round(2),
            "calls": rng.poisson(1.2, rows),
        }
    )
    score = 1.8 * (table["plan"] == "premium") + table["calls"] - 0.05 * table["months"]
    score += rng.logistic(size=rows)
    return table.assign(left=np.where(score > np.quantile(score, 1 - positives), "yes", "no"))


def rare_customers(rng: np.random.Generator) -> pd.DataFrame:
    """An honest table with 6 % positives."""
    return customers(rng, 0.06)


def _left(table: pd.DataFrame) -> np.ndarray:
    return (table["left"] == "yes").to_numpy()


def _with(table: pd.DataFrame, **columns: object) -> pd.DataFrame:
    """The table with more inputs before its target."""
    return table.drop(columns="left").assign(**columns, left=table["left"])


def one_input(rng: np.random.Generator, errors: float = 0.012) -> pd.DataFrame:
    """A word that is the target in all but 1.2 % of the rows."""
    table = customers(rng)
    survey = np.where(_left(table) ^ (rng.random(len(table)) < errors), "sent", "unsent")
    return _with(table, survey=survey)


def strong_input(rng: np.random.Generator) -> pd.DataFrame:
    """An honest input that is right in 95 % of the rows of either class."""
    return one_input(rng, errors=0.05)


def rare_class(rng: np.random.Generator, missed: float = 0.005) -> pd.DataFrame:
    """A fee that gives away 99.5 % of 2 % positives, with some false alarms."""
    table = customers(rng, 0.02, rows=10_000)
    paid = np.where(_left(table), rng.random(10_000) >= missed, rng.random(10_000) < 0.001)
    return _with(table, fee=np.where(paid, rng.lognormal(3, 0.5, 10_000), 0.0))


def strong_input_of_a_rare_class(rng: np.random.Generator) -> pd.DataFrame:
    """An honest input that finds 85 % of 2 % positives, with some false alarms."""
    return rare_class(rng, missed=0.15)


def petals(rng: np.random.Generator) -> pd.DataFrame:
    """Three kinds of 50 flowers each; the width alone is right in 96 %, as of iris."""
    kind = np.repeat([0, 1, 2], 50)
    size, other = rng.normal(size=(2, 150))
    width = np.array([0.25, 1.33, 2.03])[kind] + 0.23 * size
    length = np.array([1.5, 4.3, 5.5])[kind] + 0.4 * size + 0.3 * other
    names = np.array(["setosa", "versicolor", "virginica"])[kind]
    return pd.DataFrame({"width": width.round(1), "length": length.round(1), "kind": names})


def pair(rng: np.random.Generator, errors: float = 0.0) -> pd.DataFrame:
    """Two flags, of which neither knows the target, and which differ if it is yes."""
    table, bit = customers(rng), rng.random(ROWS) < 0.5
    other = bit ^ _left(table) ^ (rng.random(ROWS) < errors)
    return _with(table, flag_a=bit.astype(int), flag_b=other.astype(int))


def interaction(rng: np.random.Generator) -> pd.DataFrame:
    """Two flags that honestly matter together: they are right in 85 % of the rows."""
    return pair(rng, errors=0.15)


def total(rng: np.random.Generator, noise: float = 0.0) -> pd.DataFrame:
    """A quantity that is the sum of two of its inputs."""
    table = customers(rng).drop(columns="left")
    tax = rng.lognormal(2, 1, ROWS)
    return table.assign(tax=tax, total=table["charge"] + tax + noise * rng.normal(size=ROWS))


def noisy_total(rng: np.random.Generator) -> pd.DataFrame:
    """A quantity that is the sum of two of its inputs, and of much else."""
    return total(rng, noise=5.0)


def numbers_by_outcome(rng: np.random.Generator) -> pd.DataFrame:
    """Account numbers from two ranges, one for each class, with 6 % of exceptions."""
    table = customers(rng)
    late = _left(table) ^ (rng.random(ROWS) < 0.06)
    return _with(table, account=np.where(late, 700_000, 100_000) + rng.permutation(ROWS) * 7)


def last_digits_by_outcome(rng: np.random.Generator) -> pd.DataFrame:
    """Account numbers that are even for one class, with 6 % of exceptions."""
    table = customers(rng)
    odd = _left(table) ^ (rng.random(ROWS) < 0.06)
    return _with(table, account=100_000 + 2 * rng.permutation(ROWS) + odd)


def numbers_at_random(rng: np.random.Generator) -> pd.DataFrame:
    """Account numbers that were given at random."""
    return _with(customers(rng), account=100_000 + rng.permutation(ROWS) * 7)


def whole_quantity(rng: np.random.Generator) -> pd.DataFrame:
    """An income in whole numbers, nearly all different, that honestly predicts the target."""
    table = customers(rng)
    income = 60_000 - 25_000 * _left(table) + 8_000 * rng.normal(size=ROWS)
    return _with(table, income=income.round())


def group_rates(
    target: np.ndarray, rng: np.random.Generator, rows_of_group: float, folds: int
) -> np.ndarray:
    """The mean target of random groups: of all rows with one fold, or of the other folds."""
    count, known = len(target), pd.Series(target.astype(float))
    group, fold = rng.integers(0, round(count / rows_of_group), count), rng.integers(
        0, folds, count
    )
    rate = np.empty(count)
    for number in range(folds):
        used = (fold != number) | (folds == 1)
        means = known[used].groupby(group[used]).mean()
        rate[fold == number] = means.reindex(group[fold == number]).fillna(known[used].mean())
    return rate.round(4)


def encoding(rng: np.random.Generator, rows_of_group: float = 3, folds: int = 1) -> pd.DataFrame:
    """The mean target of groups of three rows that do not matter, each row's own included."""
    table = customers(rng)
    return _with(table, segment_rate=group_rates(_left(table), rng, rows_of_group, folds))


def out_of_fold_encoding(rng: np.random.Generator) -> pd.DataFrame:
    """The mean target of groups, of the rows in the other four folds."""
    return encoding(rng, folds=5)


def encoding_of_large_groups(rng: np.random.Generator) -> pd.DataFrame:
    """The mean target of ten groups, to which the own row adds next to nothing."""
    return encoding(rng, rows_of_group=ROWS / 10)


def encoding_of_a_quantity(rng: np.random.Generator) -> pd.DataFrame:
    """The mean of a quantity in groups of six rows that do not matter."""
    table = customers(rng).drop(columns="left")
    price = 10 * table["calls"] + rng.normal(0, 20, ROWS)
    group = rng.integers(0, ROWS // 6, ROWS)
    return table.assign(shop_price=price.groupby(group).transform("mean").round(2), price=price)


def snapshots(rng: np.random.Generator) -> pd.DataFrame:
    """Three rows of each customer, whose target is the toss of a coin."""
    table = customers(rng, rows=1300)
    table["left"] = rng.choice(["yes", "no"], 1300)
    table = table.loc[table.index.repeat(3)].reset_index(drop=True)
    return table.assign(charge=(table["charge"] * rng.normal(1, 0.01, 3900)).round(2))


def many_snapshots(rng: np.random.Generator, rows_each: int = 24) -> pd.DataFrame:
    """Twenty-four rows of each customer, whose target is the toss of a coin."""
    count = 4800 // rows_each
    rows = np.repeat(rng.normal(size=(count, 6)), rows_each, axis=0)
    left = np.repeat(rng.choice(["yes", "no"], count), rows_each)
    changed = (rows + rng.normal(size=rows.shape) * 0.02).round(3)
    return pd.DataFrame(changed, columns=list("abcdef")).assign(left=left)


def stores(rng: np.random.Generator) -> pd.DataFrame:
    """Sixty days of 40 stores: only the weather and the customers differ between days."""
    place = pd.DataFrame({"area": rng.uniform(100, 9000, 40), "staff": rng.integers(3, 60, 40)})
    days = place.loc[place.index.repeat(60)].reset_index(drop=True)
    days = days.assign(
        temperature=rng.normal(15, 8, 2400).round(1), customers=rng.poisson(400, 2400)
    )
    return days.assign(left=rng.choice(["yes", "no"], 2400))


def jittered(rng: np.random.Generator) -> pd.DataFrame:
    """Rows of numbers, each with a copy with noise of 2 % of a standard deviation."""
    rows = rng.normal(size=(1000, 4))
    rows = np.vstack([rows, rows + rng.normal(size=(1000, 4)) * 0.02])
    left = np.tile(rng.choice(["yes", "no"], 1000), 2)
    return pd.DataFrame(rows, columns=list("abcd")).assign(left=left)


def few_inputs(rng: np.random.Generator) -> pd.DataFrame:
    """Two words and a number: many rows are near others by chance."""
    return customers(rng)[["plan", "calls", "charge", "left"]]


def dependent_numbers(rng: np.random.Generator) -> pd.DataFrame:
    """Numbers that follow from one another: all rows lie on a curve."""
    size = rng.lognormal(0, 0.5, ROWS)
    columns = {"length": size, "area": size**2, "volume": size**3}
    return pd.DataFrame(columns).assign(
        left=np.where(size + rng.normal(size=ROWS) > 1, "yes", "no")
    )


@dataclass(frozen=True)
class Case:
    """A kind of table, and what the gate must say of it.

    Attributes:
        make: a table whose last column is the target.
        kind: kind of leak.
        refused: whether the gate refuses it; a sound twin is accepted.
        inputs: names that the reason must have.
    """

    make: Callable[[np.random.Generator], pd.DataFrame]
    kind: str
    refused: bool = True
    inputs: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """What it is, in words."""
        return str(self.make.__doc__).rstrip(".")

    def verdict(self, seed: int) -> gates.Verdict:
        """The verdict of the gate that looks for this kind of leak."""
        dataset, spec = dataset_of(self.make(np.random.default_rng(seed)))
        if self.kind != "copies":
            rows, target = dataset.encoded(spec), dataset.encoded_target(spec)
            return gates.no_target_leakage(spec, rows, target)
        training, holdout = hold_out(dataset, spec, 0.2, seed)
        copied = copied_share(spec, holdout.encoded(spec), training.encoded(spec))
        return gates.holdout_is_unseen(holdout.row_hashes, training.row_hashes, 0, copied)


CASES = (
    Case(one_input, "one input", inputs=("survey",)),
    Case(rare_class, "one input", inputs=("fee",)),
    Case(customers, "one input", refused=False),
    Case(rare_customers, "one input", refused=False),
    Case(strong_input, "one input", refused=False, inputs=("survey",)),
    Case(strong_input_of_a_rare_class, "one input", refused=False),
    Case(petals, "one input", refused=False),
    Case(pair, "pair", inputs=("flag_a", "flag_b")),
    Case(total, "pair", inputs=("charge", "tax")),
    Case(interaction, "pair", refused=False),
    Case(noisy_total, "pair", refused=False),
    Case(numbers_by_outcome, "identifier", inputs=("account",)),
    Case(last_digits_by_outcome, "identifier", inputs=("account",)),
    Case(numbers_at_random, "identifier", refused=False),
    Case(whole_quantity, "identifier", refused=False),
    Case(encoding, "encoding", inputs=("segment_rate",)),
    Case(encoding_of_a_quantity, "encoding", inputs=("shop_price",)),
    Case(out_of_fold_encoding, "encoding", refused=False),
    Case(encoding_of_large_groups, "encoding", refused=False),
    Case(snapshots, "copies"),
    Case(many_snapshots, "copies"),
    Case(jittered, "copies"),
    Case(customers, "copies", refused=False),
    Case(few_inputs, "copies", refused=False),
    Case(dependent_numbers, "copies", refused=False),
    Case(stores, "copies", refused=False),
)


def dataset_of(table: pd.DataFrame) -> tuple[Dataset, ModelSpec]:
    """The table as data and a contract; its last column is the target."""
    *names, target = (str(name) for name in table.columns)
    inputs = tuple(
        (
            Number(name, "", float(table[name].min()), float(table[name].max()))
            if pd.api.types.is_numeric_dtype(table[name])
            else Category(name, tuple(sorted(table[name].unique())))
        )
        for name in names
    )
    numeric = pd.api.types.is_numeric_dtype(table[target])
    output = Quantity(target) if numeric else Classes(tuple(sorted(table[target].unique())), target)
    dataset = Dataset("made", "made here", table[names], table[target])
    return dataset, ModelSpec("made", inputs, output)


def refusals(case: Case, runs: int = RUNS) -> float:
    """Share of the seeds at which the gate refuses a case."""
    return float(np.mean([not case.verdict(seed).accepted for seed in range(runs)]))
