"""Columns of dates, and what a model may take from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from application.scaffold.dates import (
    describe_dates,
    describe_merged_numbers,
    describe_numeric_dates,
    propose_datetime,
)
from domain.contract import Datetime


def proposed(values: Any) -> Datetime | None:
    """The input that a column becomes."""
    return propose_datetime(pd.Series(values, name="x"))


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (pd.date_range("2024-01-01", periods=10), ("days_since",)),
        (pd.date_range("2024-01-01", periods=30), ("days_since", "weekday")),
        (pd.date_range("2024-01-01", periods=500), ("days_since", "day_of_year", "weekday")),
        (pd.date_range("2024-01-01", periods=9, freq="h"), ("hour",)),
        (["2024-01-01 12:30", "2024-01-02 07:00"], ("days_since", "hour")),
    ],
)
def test_a_date_has_the_parts_that_its_rows_can_show(values: Any, parts: tuple[str, ...]) -> None:
    item = proposed(values)
    assert item and item.parts == parts


def test_its_range_reaches_half_the_span_back_and_stays_open_for_later_days() -> None:
    item = proposed(["2000-06-01", "2010-06-01"])
    assert item and (item.earliest, item.latest) == ("1995-01-01", "2099-12-31")
    far = proposed(["2000-06-01", "2110-06-01"])
    assert far and far.latest == ""
    early = proposed(["0001-01-02", "2010-06-01"])
    assert early and early.earliest == "0001-01-01"


def test_a_zone_of_the_data_is_that_of_the_contract() -> None:
    days = pd.date_range("2024-07-01", periods=3, tz="Europe/Berlin")
    item = proposed(days)
    assert item and (item.zone, item.parts) == ("Europe/Berlin", ("days_since",))
    fixed = proposed(["2024-07-01T00:00+02:00", "2024-07-02T00:00+02:00"])
    assert fixed and (fixed.zone, fixed.parts) == ("UTC", ("days_since", "hour"))


@pytest.mark.parametrize(
    "values", [["2024-01-31", "soon"], ["2024-02-30", "2024-01-01"], ["a", "b"], [1, 2], [None]]
)
def test_other_columns_are_no_dates(values: Any) -> None:
    assert proposed(values) is None


@pytest.mark.parametrize(
    "word",
    [
        *("5-Jan-24", "05 January 2024", "Jan 5, 2024", "5.1.2024", "5/1/24", "2024/01/05"),
        *("2024年1月5日", "2024년 1월 5일", "5-Jan-24 12:30"),
    ],
)
def test_dates_in_other_forms_are_recognised(word: str) -> None:
    assert describe_dates(pd.Index([word])) == (
        f"dates such as {word!r}: write them as 2024-01-31 or 2024-01-31T13:45 to make it a "
        "Datetime"
    )


@pytest.mark.parametrize("word", ["12:30", "07:05:59", "7:05 pm"])
def test_times_of_day_are_hours(word: str) -> None:
    assert describe_dates(pd.Index([word])) == (
        f"times of day such as {word!r}: write them as hours, such as 13.75, to make it a Number"
    )


@pytest.mark.parametrize("odd", ["1.2.2024", "2024-02-30", "unknown"])
def test_the_words_that_are_no_dates_among_dates_are_named(odd: str) -> None:
    days = pd.date_range("2024-01-01", periods=20).strftime("%Y-%m-%d").tolist()
    expected = f"dates, except for {odd!r}: fix these to make it a Datetime"
    assert describe_dates(pd.Index([*days, odd])) == expected


@pytest.mark.parametrize("word", ["1.2", "3:2", "May", "10-20", "192.168.0.1", "12345678", "A-1-2"])
def test_other_words_are_no_dates(word: str) -> None:
    assert describe_dates(pd.Index([word])) == ""


@pytest.mark.parametrize(("scale", "unit"), [(1000, "milliseconds"), (10**9, "nanoseconds")])
def test_times_since_1970_are_recognised_by_their_size(scale: int, unit: str) -> None:
    numbers = (1764001548 + 7 * np.arange(400)) * scale
    assert describe_numeric_dates(numbers).startswith(f"{unit} since 1970 such as 1764001548")
    assert "write them as 2025-11-24T16:25:48Z" in describe_numeric_dates(numbers)


def test_numbers_that_float32_holds_are_not_taken_for_times() -> None:
    assert describe_numeric_dates(np.array([1e9, 2e9, 3e9])) == ""
    assert describe_numeric_dates(np.array([20240101, 20240199])) == ""
    assert describe_numeric_dates(np.array([20240101.5, 20240102])) == ""


def test_numbers_that_float32_merges_are_counted() -> None:
    message = describe_merged_numbers(2.0**24 + np.arange(10))
    assert message == "float32, which the model sees, holds only 5 of 10 different values"
    assert describe_merged_numbers(np.linspace(0, 1, 100)) == ""
    tenths = np.arange(100) / 10
    noise = np.random.default_rng(0).normal(0, 1e-13, (5, 100))  # of differences, in float64
    assert describe_merged_numbers((tenths + noise).ravel()) == ""
