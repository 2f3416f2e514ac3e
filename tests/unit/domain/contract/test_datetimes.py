"""Dates and times as an input: how they are read, and what a model sees of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest

from domain.contract import DATE_PARTS, Category, Datetime, ModelSpec, Quantity, RepeatedValues
from domain.errors import ContractError, InputError
from tests.contracts import input_refusal

AT = Datetime("at", DATE_PARTS)
BERLIN = replace(AT, zone="Europe/Berlin")
BOUNDED = Datetime("day", ("day",), "2024-01-10", "2024-01-20")
FORM = "is not a date or time in ISO 8601: write it as 2024-01-31 or 2024-01-31T13:45:00+01:00"


def spec_of(*items: Datetime) -> ModelSpec:
    """A contract with these dates."""
    return ModelSpec("m", items, Quantity("visits"))


def test_every_part_of_a_time_has_its_own_number() -> None:
    expected = [8825, 2024, 2, 29, 60, 3, 13.75]  # a Thursday
    assert AT.encode(["2024-02-29T13:45:00"]).tolist() == [expected]
    assert AT.encode(["1999-12-31"]).tolist() == [[-1, 1999, 12, 31, 365, 4, 0]]
    assert AT.encode(["2024-12-31"])[0, 4] == 366


def test_parts_agree_with_pandas_over_four_centuries() -> None:
    times = pd.date_range("1800-01-01", "2199-12-31", periods=5000).floor("s")
    encoded = AT.encode(times.to_numpy())
    expected = [
        *((times.normalize() - pd.Timestamp("2000-01-01")).days, times.year, times.month),
        *(times.day, times.day_of_year, times.day_of_week),
    ]
    assert (encoded[:, :-1] == np.stack(expected, axis=1)).all()
    hours = times.hour + times.minute / 60 + times.second / 3600
    assert encoded[:, -1] == pytest.approx(hours, abs=2e-6)


def test_the_model_sees_the_parts_in_their_order() -> None:
    some = Datetime("at", ("weekday", "year"))
    assert some.width == 2
    assert some.encode(["2024-02-29"]).tolist() == [[3, 2024]]
    assert spec_of(some, replace(AT, name="b")).columns_of(Datetime) == list(range(9))


@pytest.mark.parametrize(
    "value",
    [
        "2024-06-01 22:30",
        "2024-06-01T22:30:00",
        "2024-06-01T22:30:00.000000000",
        "2024-06-01T22:30Z",
        "2024-06-02T00:30:00+02:00",
        "2024-06-01 17:00-0530",
        datetime(2024, 6, 1, 22, 30),
        datetime(2024, 6, 2, 0, 30, tzinfo=timezone(timedelta(hours=2))),
        pd.Timestamp("2024-06-02T00:30", tz="Europe/Berlin"),
        np.datetime64("2024-06-01T22:30", "ns"),
    ],
)
def test_every_form_of_a_time_means_the_same(value: Any) -> None:
    expected = AT.encode(["2024-06-01T22:30"])
    assert (AT.encode([value]) == expected).all()
    assert (AT.encode(["2024-06-01T22:30", value])[1] == expected).all()
    assert (spec_of(AT).encode_rows([[value]]) == expected).all()


def test_values_with_an_offset_are_converted_to_the_zone_and_others_are_in_it() -> None:
    local = BERLIN.encode(["2024-07-02T00:30", "2024-01-01T01:00"])
    assert (BERLIN.encode(["2024-07-01T22:30Z", "2024-01-01T00:00Z"]) == local).all()
    assert (BERLIN.encode([date(2024, 7, 1)]) == AT.encode([date(2024, 7, 1)])).all()
    assert (BERLIN.encode(["2024-07-01T22:30Z"])[0] != AT.encode(["2024-07-01T22:30Z"])[0]).any()


@pytest.mark.parametrize("missing", [None, np.nan, pd.NaT, pd.NA, np.datetime64("NaT"), "", " "])
def test_a_missing_time_is_nan_in_every_part_or_refused(missing: Any) -> None:
    encoded = replace(AT, nullable=True).encode(["2024-01-01", missing])
    assert np.isnan(encoded).tolist() == [[False] * 7, [True] * 7]
    assert input_refusal(AT, "2024-01-01", missing) == "row 1, at: a value is missing"


@pytest.mark.parametrize(
    "value",
    [
        *("5-Jan-24", "12:30", "2024年1月5日", "20240115", "2024-01", "now", " 2024-01-01"),
        *("2024-01-01T12", "2024-01-01Z", "9999-12-31T23:59-12:00", 20240115, 1.7e9, [1]),
        "٢٠٢٤-٠١-٠١",
    ],
)
def test_any_other_value_is_refused_with_its_row(value: Any) -> None:
    assert input_refusal(AT, "2024-01-01", value) == f"row 1, at: {value!r} {FORM}"


@pytest.mark.parametrize(
    "value", ["2024-02-30", "2024-13-01", "2024-01-01T24:00", "2024-01-01T12:00:60"]
)
def test_a_day_or_time_that_does_not_exist_is_refused_as_such(value: str) -> None:
    message = input_refusal(AT, "2024-01-01", value)
    assert message == f"row 1, at: {value!r}: there is no such day or time"


def test_a_day_outside_the_range_is_refused_and_its_ends_are_inside() -> None:
    assert BOUNDED.encode(["2024-01-10", "2024-01-20T23:59:59"]).tolist() == [[10], [20]]
    early = input_refusal(BOUNDED, "2024-01-10", "2024-01-09T23:59")
    assert early == "row 1, day: 2024-01-09 is before 2024-01-10"
    assert input_refusal(BOUNDED, "2024-01-21") == "row 0, day: 2024-01-21 is after 2024-01-20"
    assert input_refusal(AT, "0000-12-31") == "row 0, at: 0000-12-31 is before 0001-01-01"


def test_repeated_values_are_read_once_and_a_bad_one_is_found_in_its_row() -> None:
    positions = np.array([1, 0, 1, 2])
    values = RepeatedValues(["2024-01-01", "2024-01-02", None], positions)
    days = Datetime("day", ("day",), nullable=True)
    assert days.encode(values)[:3].tolist() == [[2], [1], [2]]
    with pytest.raises(InputError, match="^row 3, day: 'x' is not"):
        days.encode(RepeatedValues(["2024-01-01", "2024-01-02", "x"], positions))


@pytest.mark.parametrize(
    ("field", "value"), [(" 2024-01-05 ", "2024-01-05"), ("", None), ("NA", None), ("x", "x")]
)
def test_a_field_of_csv_is_the_text_or_missing(field: str, value: str | None) -> None:
    assert AT.parse(field) == value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parts": ()}, "the parts must be different ones of days_since, year, month, "),
        ({"parts": ("day", "day")}, "the parts must be different ones of"),
        ({"parts": ("second",)}, "the parts must be different ones of"),
        ({"earliest": "2024"}, "earliest and latest must be days such as 2024-01-31"),
        (
            {"earliest": "2024-02-01", "latest": "2024-01-31"},
            "earliest, 2024-02-01, is after latest, 2024-01-31",
        ),
        ({"zone": "Mars/Base"}, "unknown time zone 'Mars/Base': use an IANA name"),
        ({"zone": ""}, "unknown time zone ''"),
    ],
)
def test_a_date_that_contradicts_itself_is_refused(changes: Any, message: str) -> None:
    with pytest.raises(ContractError, match=f"^m: at: {message}"):
        spec_of(replace(AT, **changes))


def test_the_ranges_of_the_parts_follow_the_limits() -> None:
    item = Datetime("day", ("days_since", "year", "weekday"), "2000-01-02", "2001-12-31")
    assert item.part_ranges == ((1, 730), (2000, 2001), (0, 6))


def test_it_is_described_with_its_range_and_zone() -> None:
    assert AT.describe() == "ISO 8601 date or time, in UTC if without an offset"
    assert replace(BOUNDED, zone="Asia/Taipei").describe() == (
        "ISO 8601 date or time from 2024-01-10 to 2024-01-20, in Asia/Taipei if without an offset"
    )


def test_a_contract_with_a_date_survives_being_written_as_plain_data() -> None:
    spec = spec_of(BERLIN, BOUNDED)
    assert ModelSpec.from_dict(spec.to_dict()) == spec


def test_only_parts_that_recur_are_monitored() -> None:
    spec = ModelSpec("m", (AT, Category("open", ("no", "yes"))), Quantity("visits"))
    names = ("at_month", "at_day", "at_day_of_year", "at_weekday", "at_hour", "open")
    assert spec.monitored_names == names
    assert len(spec.monitored_inputs) == len(names)
    encoded = spec.encode_rows([["2024-02-29T06:00", "yes"]])
    assert spec.monitored(encoded).tolist() == [[2, 29, 60, 3, 6, 1]]
    assert not spec_of(Datetime("at", ("days_since",))).monitored_names


def test_every_bad_row_of_a_batch_is_found() -> None:
    column = ["2024-01-10", "x", None, "2024-01-31"]
    assert spec_of(BOUNDED).reasons({"day": column}) == {
        1: f"day: 'x' {FORM}",
        2: "day: a value is missing",
        3: "day: 2024-01-31 is after 2024-01-20",
    }
