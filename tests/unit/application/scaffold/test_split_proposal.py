"""Splits that a table suggests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression

from application.scaffold.split_proposal import claimed_scores, inspect_with_split, propose_split
from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.data.dataset import Dataset
from domain.data.splitting import with_keys
from domain.evaluation.measures import Measure

ROWS = 300
DAYS = pd.date_range("2024-01-01", periods=ROWS, freq="D")
SHUFFLED = np.random.default_rng(0).permutation(ROWS)
THRICE = np.arange(ROWS) // 3


def table(**columns: Any) -> pd.DataFrame:
    """A table with these columns besides an input and the target."""
    return pd.DataFrame({"x": np.arange(ROWS) / 7, **columns, "churned": ["no", "yes"] * 150})


@pytest.mark.parametrize(
    "dates",
    [
        DAYS,
        DAYS[SHUFFLED],
        DAYS.strftime("%Y-%m-%d"),
        DAYS.strftime("%Y-%m-%dT%H:%M:%S"),
        DAYS[THRICE],
        DAYS[::-1][THRICE],
    ],
    ids=["times", "nearly unique", "dates as words", "times as words", "in order", "latest first"],
)
def test_a_split_by_time_is_proposed_where_dates_span_the_rows(dates: Any) -> None:
    proposal = propose_split(table(day=dates), "churned")
    assert proposal is not None
    assert (proposal.split, proposal.group) == ({"time": "day"}, None)


@pytest.mark.parametrize(
    "columns",
    [
        {"day": DAYS[THRICE][SHUFFLED]},
        {"birth_date": DAYS},
        {"dateOfBirth": DAYS},
        {"day": [*DAYS[:-1], pd.NaT]},
        {"day": np.repeat(DAYS[:3], 100)},
        {"day": [*DAYS.strftime("%Y-%m-%d")[:-1], "2024-99-99"]},
        {"day": [*DAYS.strftime("%Y-%m-%d")[:-1], "soon"]},
        {"n": np.arange(ROWS)},
        {},
    ],
)
def test_no_split_by_time_is_proposed_for_other_columns(columns: dict[str, Any]) -> None:
    assert propose_split(table(**columns), "churned") is None


@pytest.mark.parametrize("step", [1, -1])
def test_a_split_by_time_is_proposed_where_dates_are_in_order_for_each_store(step: int) -> None:
    proposal = propose_split(
        table(store=np.repeat(["A", "B", "C"], 100), day=np.tile(DAYS[:100][::step], 3)), "churned"
    )
    assert proposal is not None
    assert proposal.split == {"time": "day"}
    assert proposal.reason == "day has dates that are in order for each store"


def test_a_repeated_identifier_is_named_beside_a_split_by_time() -> None:
    proposal = propose_split(table(day=DAYS, customer=THRICE), "churned")
    assert proposal is not None
    assert proposal.split == {"time": "day"}
    assert proposal.reason == (
        "day has dates that are in order; each customer has 3.0 rows on average: add "
        '"group": "customer" if the model will predict for new ones'
    )


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("customer", [f"C{number:05d}" for number in THRICE]),
        ("patient_id", THRICE),
        ("userKey", THRICE.astype(float)),
    ],
)
def test_a_split_by_group_is_proposed_where_an_identifier_repeats(name: str, values: Any) -> None:
    proposal = propose_split(table(**{name: values}), "churned")
    assert proposal is not None
    assert (proposal.split, proposal.group) == ({"group": name}, name)
    assert proposal.reason == f"each {name} has 3.0 rows on average"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("customer", np.arange(ROWS)),
        ("customer", THRICE % 10),
        ("customer", THRICE + 0.5),
        ("customer", [None, *THRICE[1:]]),
        ("size", THRICE),
    ],
    ids=["one row each", "few values", "no whole numbers", "a gap", "no such name"],
)
def test_no_split_by_group_is_proposed_for_other_columns(name: str, values: Any) -> None:
    assert propose_split(table(**{name: values}), "churned") is None


def test_the_column_of_groups_is_left_out_with_the_reason() -> None:
    frame = table(customer=[f"C{number:05d}" for number in THRICE])
    inspection, proposal = inspect_with_split(frame, "churned", "churn")
    assert proposal is not None and proposal.group == "customer"
    assert "customer" not in inspection.spec.input_names
    assert inspection.findings[-1].reason == "it tells groups apart, which the split follows"
    assert inspect_with_split(table(), "churned", "churn")[1] is None


def test_time_goes_before_group_and_the_target_is_neither() -> None:
    both = propose_split(table(customer=THRICE, day=DAYS), "churned")
    assert both is not None and both.split == {"time": "day"}
    assert propose_split(table(customer=THRICE), "customer") is None


def test_a_random_split_claims_what_customers_on_both_sides_give_away() -> None:
    rng = np.random.default_rng(0)
    spec = ModelSpec("visits", (Number("x", "", -9, 9),), Classes(("no", "yes"), "churned"))
    inputs = pd.DataFrame({"x": np.repeat(rng.normal(size=300), 3) + rng.normal(0, 1e-4, 900)})
    coins = pd.Series(np.repeat(rng.choice(["no", "yes"], 300), 3))
    others = pd.DataFrame({"customer": np.arange(900) // 3})
    data = with_keys(Dataset("visits", "", inputs, coins, (), others), group="customer")
    forest = RandomForestClassifier(20, random_state=0)
    for name in ("accuracy", "roc_auc"):
        random, followed = claimed_scores(forest, data, Measure(spec, name), 0.2, 0)
        assert random > 0.85
        assert 0.3 < followed < 0.7
    assert not hasattr(forest, "estimators_")


def test_the_scores_of_a_quantity_are_by_its_measure() -> None:
    rng = np.random.default_rng(0)
    spec = ModelSpec("rents", (Number("x", "", -9, 9),), Quantity("rent", "EUR"))
    x = rng.normal(size=400)
    others = pd.DataFrame({"customer": np.arange(400) // 2})
    dataset = Dataset("rents", "", pd.DataFrame({"x": x}), pd.Series(10 * x), (), others)
    data = with_keys(dataset, group="customer")
    measure = Measure(spec, "neg_mean_absolute_error")
    scores = claimed_scores(LinearRegression(), data, measure, 0.2, 0)
    assert scores == pytest.approx((0, 0), abs=1e-3)
