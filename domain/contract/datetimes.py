"""Dates and times as an input: how they are read, and the numbers that a model sees of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time, timezone, tzinfo
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args
from zoneinfo import ZoneInfo

import numpy as np

from domain.contract.encoding import MISSING_WORDS, RepeatedValues, is_blank, short_repr
from domain.errors import InputError

DatePart = Literal["days_since", "year", "month", "day", "day_of_year", "weekday", "hour"]
DATE_PARTS: tuple[DatePart, ...] = get_args(DatePart)
FORWARD_PARTS: tuple[DatePart, ...] = ("days_since", "year")
"""What only ever grows, so that later rows always differ from those of training."""

_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?"
ISO_8601 = f"{_DATE}({_TIME}(Z|[+-][0-9]{{2}}:?[0-9]{{2}})?)?"
_WITHOUT_OFFSET = re.compile(f"{_DATE}({_TIME})?")
_IN_UTC = re.compile(f"{_DATE}({_TIME}Z?)?")
_WITH_OFFSET = re.compile(ISO_8601)
_MOMENT = "datetime64[us]"
_ORIGIN = np.datetime64("2000-01-01", "D")
_HOUR = np.timedelta64(3600, "s")
_MONDAY = np.datetime64("1970-01-05", "D")
_ENDS: dict[DatePart, tuple[float, float]] = {
    "month": (1, 12),
    "day": (1, 31),
    "day_of_year": (1, 366),
    "weekday": (0, 6),
    "hour": (0, 24),
}


@dataclass(frozen=True)
class Datetime:
    """A date, or a date and a time, in ISO 8601; the model sees parts of it as numbers.

    Its values are texts such as ``2024-01-31``, ``2024-01-31 13:45`` or
    ``2024-01-31T13:45:00+01:00``, or dates and times of Python, NumPy, pandas or Arrow. A date is
    the midnight at its start. **Time zone**: a value with an offset, or ``Z``, is converted to
    `zone`; one without is taken to be in `zone` already. All parts are those of `zone`.

    Every part is exact in float32:

    - ``days_since``: whole days since 2000-01-01, negative before.
    - ``year``; ``month``, 1 to 12; ``day`` of the month; ``day_of_year``, 1 to 366.
    - ``weekday``, 0 for Monday to 6 for Sunday.
    - ``hour`` of the day with its fraction, from 0 to below 24; to a few milliseconds.

    Attributes:
        name: its name in data and requests.
        parts: what the model sees, in this order.
        earliest: first possible day, such as ``2020-01-01``; an earlier one is an error. Empty for
            no limit.
        latest: last possible day; empty for no limit.
        zone: name of a time zone in the IANA database, such as ``Europe/Berlin``.
        description: what it means, for people.
        nullable: whether it may be missing; the model then sees NaN for every part.
        logged: whether the prediction log has its recurring parts.
    """

    kind: ClassVar[str] = "datetime"

    name: str
    parts: tuple[DatePart, ...] = ("days_since", "day_of_year", "weekday", "hour")
    earliest: str = ""
    latest: str = ""
    zone: str = "UTC"
    description: str = ""
    nullable: bool = False
    logged: bool = True

    @property
    def width(self) -> int:
        """Number of parts."""
        return len(self.parts)

    @property
    def fault(self) -> str:
        """What is wrong with this input itself; empty if nothing is."""
        unknown = [part for part in self.parts if part not in DATE_PARTS]
        twice = [part for part, times in Counter(self.parts).items() if times > 1]
        if unknown or twice or not self.parts:
            return f"the parts must be different ones of {', '.join(DATE_PARTS)}"
        try:
            low, high = self.limits
        except ValueError:
            return "earliest and latest must be days such as 2024-01-31"
        if low > high:
            return f"earliest, {self.earliest}, is after latest, {self.latest}"
        try:
            self._zone  # pylint: disable=pointless-statement
        except (ValueError, OSError, KeyError):  # the database's errors for odd and unknown names
            return f"unknown time zone {self.zone!r}: use an IANA name, or install tzdata"
        return ""

    @property
    def part_ranges(self) -> tuple[tuple[float, float], ...]:
        """Smallest and largest value of each part, shape (width, 2)."""
        low, high = self.limits
        ends = np.array([low, high], _MOMENT)
        return tuple(
            _ENDS.get(part) or (float(first), float(last))
            for part, (first, last) in ((part, _part(part, ends)) for part in self.parts)
        )

    def describe(self) -> str:
        """What values it may have, in a few words."""
        limits = (("from", self.earliest), ("to", self.latest))
        words = " ".join(f"{word} {day}" for word, day in limits if day)
        return f"ISO 8601 date or time {words}".rstrip() + f", in {self.zone} if without an offset"

    def parse(self, field: str) -> str | None:
        """The value in a field of a CSV file, as `encode` takes it."""
        field = field.strip()
        return None if not field or field in MISSING_WORDS else field

    def encode(self, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        """float32 of shape (n_rows, width) from dates and times.

        None, NaN, NaT and a blank text are missing.

        Raises:
            InputError: a value is not a date or time, outside the range, or missing but required.
        """
        moments = self.moments(values)
        missing = np.isnat(moments)
        known = np.where(missing, _ORIGIN, moments)
        encoded = np.empty((len(moments), self.width), dtype=np.float32)
        for column, part in enumerate(self.parts):
            encoded[:, column] = _part(part, known)
        encoded[missing] = np.nan
        return encoded

    def moments(self, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        """The values as times in `zone`, datetime64[us] of shape (n_rows,), NaT if missing.

        Raises:
            InputError: as `encode`.
        """
        moments = self._read(values)
        days, (low, high) = moments.astype("datetime64[D]"), map(np.datetime64, self.limits)
        bad = (days < low) | (days > high)  # NaT compares false
        if not self.nullable:
            bad |= np.isnat(days)
        for row in np.flatnonzero(bad)[:1].tolist():
            place, day = f"row {row}, {self.name}", days[row]
            if np.isnat(day):
                raise InputError(f"{place}: a value is missing")
            limit = f"before {low}" if day < low else f"after {high}"
            raise InputError(f"{place}: {day} is {limit}")
        return moments

    def _read(self, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        if isinstance(values, np.ndarray) and values.dtype.kind == "M":
            return values.astype(_MOMENT)
        if isinstance(values, RepeatedValues):
            with suppress(InputError):  # the code below finds the row
                return self._read(values.distinct)[values.positions]
        if {str, type(None)}.issuperset(map(type, values)):
            texts = (value for value in values if value is not None)
            plain = _IN_UTC if self.zone == "UTC" else _WITHOUT_OFFSET
            if all(map(plain.fullmatch, texts)):
                with suppress(ValueError):  # the code below finds the row
                    return np.array([text and text.removesuffix("Z") for text in values], _MOMENT)
        return np.array([self._moment(*item) for item in enumerate(values)], _MOMENT)

    def _moment(self, row: int, value: Any) -> datetime | None:
        """A single value as a time in `zone`; None if it is missing."""
        found = value.astype(_MOMENT).item() if isinstance(value, np.datetime64) else value
        if is_blank(found):
            return None
        place = f"row {row}, {self.name}: {short_repr(value)}"
        if isinstance(found, str) and _WITH_OFFSET.fullmatch(found):
            try:
                found = datetime.fromisoformat(found)
            except ValueError as error:  # such as 30 February
                raise InputError(f"{place}: there is no such day or time") from error
        with suppress(ValueError, OverflowError):  # a year beyond 9999
            if isinstance(found, datetime):
                if found.tzinfo is None:
                    return found
                return found.astimezone(self._zone).replace(tzinfo=None)
            if isinstance(found, date):
                return datetime.combine(found, time.min)
        raise InputError(
            f"{place} is not a date or time in ISO 8601: write it as 2024-01-31 or "
            "2024-01-31T13:45:00+01:00"
        )

    @cached_property
    def limits(self) -> tuple[date, date]:
        """First and last possible day; of the years 1 to 9999 without a limit."""
        ends = ((self.earliest, date.min), (self.latest, date.max))
        low, high = (date.fromisoformat(day) if day else end for day, end in ends)
        return low, high

    @cached_property
    def _zone(self) -> tzinfo:
        return timezone.utc if self.zone == "UTC" else ZoneInfo(self.zone)


def _part(part: DatePart, moments: np.ndarray) -> np.ndarray:
    """A part of times, none of which is missing; numbers of shape (n_rows,)."""
    days = moments.astype("datetime64[D]")
    months, years = days.astype("datetime64[M]"), days.astype("datetime64[Y]")
    match part:
        case "days_since":
            found = days - _ORIGIN
        case "year":
            return years.astype(np.int64) + 1970
        case "month":
            found = months - years.astype(months.dtype) + 1
        case "day":
            found = days - months.astype(days.dtype) + 1
        case "day_of_year":
            found = days - years.astype(days.dtype) + 1
        case "weekday":
            found = (days - _MONDAY) % np.timedelta64(7, "D")
        case "hour":
            return (moments - days) / _HOUR
    return found.astype(np.int64)
