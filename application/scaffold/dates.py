"""Which columns of a table have dates, and what a model may take from them."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from domain.contract import DatePart, Datetime, short_repr
from domain.errors import InputError

_ISO = "2024-01-31"
ISO_DAY = r"\d{4}-\d\d-\d\d"
_NEARLY_ALL, _MOST = 0.99, 0.9
_ROUNDING = 1e-4  # of a standard deviation: a smaller error by float32 does not matter
_FEWEST_DAYS = {"weekday": 14, "day_of_year": 366}  # that show a week or a year more than once
_LATEST = "2099-12-31"
_MONTH = "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_TIME = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[ap]m)?", re.IGNORECASE)
_DATES = re.compile(
    r"(\d{4}([-/.])\d{1,2}\2\d{1,2}"  # 2024/1/5
    r"|\d{1,2}([-/.])\d{1,2}\3(\d{4}|\d\d)"  # 5.1.24
    rf"|\d{{1,2}}[- ./]?{_MONTH}[-., /]+\d{{2,4}}|{_MONTH}[-. ]\d{{1,2}},? \d{{4}}"  # 5-Jan-24
    r"|\d{2,4}\s?[年년]\s?\d{1,2}\s?[月월]\s?\d{1,2}\s?[日일]?"  # 2024年1月5日
    rf")([ T]+{_TIME.pattern}.*)?",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")  # 20240105
_UNITS = {1: "s", 1_000: "ms", 1_000_000: "us", 1_000_000_000: "ns"}
_UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_EPOCH = (631_152_000, 4_102_444_800)  # seconds from 1970 to 1990 and to 2100


def propose_datetime(column: pd.Series) -> Datetime | None:
    """The input for a column of dates or times in ISO 8601; None if it is not one,
    or constant.

    It has the parts that the rows can show, and the zone of times that have one. An earlier day
    than half the span before the first is an error; the last is open until 2100, since dates grow.
    """
    zone = str(getattr(column.dtype, "tz", None) or "UTC")
    item = Datetime(str(column.name), zone=zone, nullable=bool(column.hasnans))
    if item.fault:  # a fixed offset
        item = Datetime(item.name, nullable=item.nullable)
    if not pd.api.types.is_datetime64_any_dtype(column) and not _may_be_iso(column):
        return None
    try:
        moments = item.moments(column.to_numpy())
    except InputError:
        return None
    moments = moments[~np.isnat(moments)]
    if (moments == moments[0]).all():
        return None
    days = moments.astype("datetime64[D]")
    first, last = days.min(), days.max()
    span = int((last - first).astype(int))
    parts: list[DatePart] = ["days_since"] if span else []
    parts += [part for part in ("day_of_year", "weekday") if span >= _FEWEST_DAYS[part]]
    if (moments != days).any():
        parts.append("hour")
    year = max(1, (first - max(span // 2, 365)).astype("datetime64[Y]").astype(int) + 1970)
    latest = _LATEST if str(last) <= _LATEST else ""
    return Datetime(
        item.name, tuple(parts), f"{year:04d}-01-01", latest, item.zone, "", item.nullable
    )


def describe_dates(words: pd.Index) -> str:
    """A remark if nearly all of these different words are dates or times of day; else empty."""
    iso = words[words.str.match(ISO_DAY)]
    if len(iso) > _MOST * len(words):
        dates = pd.to_datetime(iso, format="ISO8601", utc=True, errors="coerce")
        odd = words.difference(iso[dates.notna()], sort=False)
        if len(odd):
            examples = ", ".join(map(short_repr, odd[:3]))
            return f"dates, except for {examples}: fix these to make it a Datetime"
    for pattern, what, form in (
        (_DATES, "dates", f"write them as {_ISO} or {_ISO}T13:45 to make it a Datetime"),
        (_TIME, "times of day", "write them as hours, such as 13.75, to make it a Number"),
    ):
        if words.str.fullmatch(pattern).mean() > _NEARLY_ALL:
            return f"{what} such as {short_repr(_example(words))}: {form}"
    return ""


def describe_numeric_dates(numbers: np.ndarray) -> str:
    """A remark if whole numbers are dates, such as 20240131, or times since 1970; else empty.

    Args:
        numbers: the values that are not missing, shape (n,).
    """
    distinct = np.unique(numbers)
    if (distinct % 1 != 0).any() or len(distinct) < 2:
        return ""
    first = int(distinct[0])
    if all(_DIGITS.fullmatch(str(int(value))) for value in distinct):
        day = f"{str(first)[:4]}-{str(first)[4:6]}-{str(first)[6:]}"
        return f"dates such as {first}: write them as {day} to make it a Datetime"
    for scale, unit in _UNITS.items():
        low, high = _EPOCH[0] * scale, _EPOCH[1] * scale
        if low <= distinct[0] and distinct[-1] <= high and _float32_merges(distinct):
            moment = np.array(first, f"datetime64[{unit}]").astype("datetime64[s]")
            return (
                f"{_UNIT_NAMES[unit]} since 1970 such as {first}: float32 holds only "
                f"{_float32_count(distinct)} of {len(distinct)} different values; write them as "
                f"{moment}Z to make it a Datetime"
            )
    return ""


def describe_merged_numbers(numbers: np.ndarray) -> str:
    """A remark if many different numbers are the same in float32; else empty.

    Args:
        numbers: the values that are not missing, shape (n,).
    """
    distinct = np.unique(numbers[np.abs(numbers) < 1e38])  # what float32 holds at all
    if not _float32_merges(distinct):
        return ""
    return (
        f"float32, which the model sees, holds only {_float32_count(distinct)} of "
        f"{len(distinct)} different values"
    )


def _may_be_iso(column: pd.Series) -> bool:
    """Whether the first value is a text that begins like a date, before all are looked at."""
    known = column.dropna()
    return len(known) > 0 and bool(re.match(ISO_DAY, str(known.iloc[0])))


def _example(words: pd.Index) -> str:
    """A word that is not in ISO 8601 if there is one."""
    odd = words[~words.str.fullmatch(rf"{ISO_DAY}([ T].*)?")]
    return str((odd if len(odd) else words)[0])


def _float32_count(distinct: np.ndarray) -> int:
    return len(np.unique(distinct.astype(np.float32)))


def _float32_merges(distinct: np.ndarray) -> bool:
    """Whether float32 merges many values that differ by more than rounding errors."""
    rounded = np.abs(distinct - distinct.astype(np.float32)).max(initial=0)
    noticed = rounded > _ROUNDING * np.std(distinct)
    return bool(noticed) and _float32_count(distinct) < 0.9 * len(distinct)
