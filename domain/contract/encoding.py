"""Checks and conversions of single values, which the features and the contract share."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from domain.errors import InputError

LARGEST = 3e38  # just below the maximum of float32
PYTHON_NUMBERS = frozenset((float, int))
MISSING_WORDS = frozenset(  # in a field of a number or boolean
    "NA N/A n/a #N/A <NA> NULL null None none NaN nan -NaN -nan".split()
)
NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_BOOLEANS = ("true", "false")
_HALF = "is half of a surrogate pair: send valid Unicode"
_SYMBOL = "[A-Z]{0,3}[$€£¥]|[元%]"
_FORMATTED = {  # by decimal mark
    mark: re.compile(
        rf"(?:{_SYMBOL})?\s?(?P<sign>[+-]?)(?:{_SYMBOL})?\s?"
        rf"(?P<whole>[0-9]{{1,3}}(?P<gap>[{thousands}'’\s])[0-9]{{3}}((?P=gap)[0-9]{{3}})*|[0-9]+)"
        rf"(?:{re.escape(mark)}(?P<part>[0-9]+))?\s?(?:{_SYMBOL})?"
    )
    for mark, thousands in ((".", ","), (",", "."))
}
_CODE = r"[+-]?0[0-9]"  # leading zeros make a code
_ESCAPES = re.compile(  # in JSON; \\. so that an escaped backslash begins no other escape
    rb"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<half>\\u[dD][89a-fA-F]..)|\\.", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class RepeatedValues(Sequence[Any]):
    """Many values of which few are distinct, so that each of these is looked at once.

    Attributes:
        distinct: the distinct values.
        positions: for each value its position among them, integers of shape (n_values,).
    """

    distinct: Sequence[Any]
    positions: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> RepeatedValues:
        """The values of an array of numbers or booleans."""
        distinct, positions = np.unique(values, return_inverse=True)
        return cls(distinct.tolist(), positions)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: Any) -> Any:
        """A value; the values of a slice, or those at an array of positions."""
        chosen = self.positions[index]
        if isinstance(chosen, np.ndarray):
            return RepeatedValues(self.distinct, chosen)
        return self.distinct[chosen]


def as_word(value: Any) -> str:
    """A value as a category: ``true`` and ``false`` for booleans, digits for whole numbers."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def parse_number(field: str) -> float | str | None:
    """The number in a field of a CSV file; None if it means a missing value, else the text.

    >>> [parse_number(field) for field in (" 1.50", "1e3", "NA", "", "1,5")]
    [1.5, 1000.0, None, None, '1,5']
    """
    field = field.strip()
    if not field or field in MISSING_WORDS:
        return None
    return float(field) if re.fullmatch(NUMBER, field) else field


def parse_formatted(field: str, decimal: str) -> float | str | None:
    """The number in a field with a currency or percent sign, thousands separators, or parentheses
    for a negative number; None if it means a missing value, else the text. 12 % is 12.

    Args:
        decimal: the decimal mark, ``.`` or ``,``.

    >>> [parse_formatted(field, ".") for field in ("$1,234.50", "12 %", "(3)", "7e3", "1,5", "NA")]
    [1234.5, 12.0, -3.0, 7000.0, '1,5', None]
    >>> [parse_formatted(field, ",") for field in ("1.234,50 €", "1.234", "1.5")]
    [1234.5, 1234.0, '1.5']
    """
    plain = parse_number(field)
    if plain is None or (decimal == "." and not isinstance(plain, str)):
        return plain
    field = field.strip()
    negative = field.startswith("(") and field.endswith(")")
    found = _FORMATTED[decimal].fullmatch(field[1:-1] if negative else field)
    if found is None or (negative and found["sign"]):
        return field
    digits = re.sub("[^0-9]", "", found["whole"])
    return float(f"{'-' if negative else found['sign']}{digits}.{found['part'] or 0}")


def symbol_of(field: str) -> str:
    """The currency or percent sign in a formatted number, such as ``€``; empty without one."""
    found = re.search(_SYMBOL, field)
    return found[0] if found else ""


def parse_word(field: str, words: Collection[str]) -> str | None:
    """The word in a field of a CSV file, as one of `words` if it can be read as such: ``3.0`` as
    ``3`` and ``True`` as ``true``. None if the field is empty, or ``NA`` and the like.

    >>> [parse_word(field, {"3", "true", "Tech"}) for field in (" Tech ", "3.0", "True", "NA")]
    ['Tech', '3', 'true', None]
    """
    field = field.strip()
    if field in words:
        return field
    if not field or field in MISSING_WORDS:
        return None
    same = field.lower() if field.lower() in _BOOLEANS else field
    if re.fullmatch(NUMBER, field) and not re.match(_CODE, field):
        same = as_word(float(field))
    return same if same in words else field


def format_shape(shape: Sequence[int]) -> str:
    """The lengths of all axes, as in ``8 × 8``."""
    return " × ".join(map(str, shape))


def check_numbers(values: np.ndarray, inputs: Sequence[Any]) -> np.ndarray:
    """Check every value against its contract, and clip those that it says to clip; float32 of
    shape (n_rows, len(inputs)).

    Args:
        values: floats of shape (n_rows, len(inputs)), NaN where a value is missing.
        inputs: the `Number` of each column.

    Raises:
        InputError: a value is infinite or exceeds float32, is outside a range that refuses it, or
            missing but required.
    """
    # float32 values are compared with the range rounded to float32
    kind = np.float32 if values.dtype == np.float32 else np.float64
    low = np.array([item.minimum for item in inputs], kind)
    high = np.array([item.maximum for item in inputs], kind)
    bad = ~((values >= low) & (values <= high))  # NaN compares false, so it is bad too
    if bad.any():
        nullable = np.array([item.nullable for item in inputs])
        bad &= ~(np.isnan(values) & nullable)
        outside = np.array([item.outside for item in inputs])
        bad &= (outside == "refuse") | ~(np.abs(values) <= LARGEST)
        for row, column in np.argwhere(bad)[:1]:
            item, value = inputs[column], values[row, column]
            place = f"row {row}, {item.name}"
            if np.isnan(value):
                raise InputError(f"{place}: a value is missing")
            if item.outside != "refuse" and np.isfinite(value):
                raise InputError(f"{place}: {value:g} exceeds float32")
            raise InputError(f"{place}: {outside_range(value, item)}")
        clipped = outside == "clip"
        low, high = np.where(clipped, low, -np.inf), np.where(clipped, high, np.inf)
        values = np.clip(values, low, high)
    return np.ascontiguousarray(values, dtype=np.float32)


def outside_range(value: float, item: Any) -> str:
    """The message for a value outside the range of a `Number` or a `Tensor`."""
    if np.isinf(value):
        return "the number is infinite, or too large"
    quantity = f"{value:g} {item.unit}".rstrip()
    return f"{quantity} is outside [{item.minimum:g}, {item.maximum:g}]"


def to_floats(name: str, values: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Numbers as float64, or unchanged if they are float32; shape (n_rows,).

    None becomes NaN, and a number that exceeds the range of float64 becomes infinite.

    Args:
        name: of the input, for messages.

    Raises:
        InputError: a value is not a number.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        return values if values.dtype == np.float32 else values.astype(np.float64)
    with suppress(OverflowError):
        if are_python_numbers(values):
            return np.asarray(values, dtype=np.float64)
    numbers = np.full(len(values), np.nan)
    for row, value in enumerate(values):
        if is_missing(value):
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            raise InputError(f"row {row}, {name}: {short_repr(value)} is not a number")
        try:
            numbers[row] = value
        except OverflowError:
            numbers[row] = np.inf if value > 0 else -np.inf
    return numbers


def are_python_numbers(values: Iterable[Any]) -> bool:
    """Whether all are int, float or None: NumPy would convert strings and booleans to numbers."""
    return set(map(type, values)) <= {*PYTHON_NUMBERS, type(None)}


def is_missing(value: Any) -> bool:
    """Whether it is None, NaN, or pandas' NA or NaT."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # without importing pandas
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def is_blank(value: Any) -> bool:
    """Whether it is missing, or a text of nothing but blanks: in CSV both are the same."""
    return is_missing(value) or (isinstance(value, str) and not value.strip())


def contains_boolean(value: Any, depth: int) -> bool:
    """Whether lists of this depth hold a boolean, which NumPy would convert to a number."""
    if not isinstance(value, list | tuple):
        return False
    flat: Iterable[Any] = value
    for _ in range(depth - 1):
        flat = chain.from_iterable(flat)
    return not {bool, np.bool_}.isdisjoint(map(type, flat))


def unicode_fault(text: str) -> str | None:
    """What is wrong with a text that UTF-8 cannot encode; None if it can.

    >>> unicode_fault("a\\ud800")
    "character 2, '\\\\ud800', is half of a surrogate pair: send valid Unicode"
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        position = error.start
        return f"character {position + 1}, {text[position]!r}, {_HALF}"
    return None


def json_unicode_fault(document: bytes) -> str | None:
    """The same for JSON, whose parser may call half of a surrogate pair truncated data.

    >>> json_unicode_fault(rb'["\\ud83d\\ude00", "\\ud800"]')
    '\\\\ud800 is half of a surrogate pair: send valid Unicode'
    """
    for escape in _ESCAPES.finditer(document):
        if half := escape["half"]:
            return f"{half.decode(errors='replace')} {_HALF}"
    return None


def short_repr(value: Any) -> str:
    """A value for a message, as JSON has it but for the quotes of a text; at most 60 characters.

    >>> [short_repr(value) for value in ("a", True, None, {"a": [1.5, "b"]})]
    ["'a'", 'true', 'null', '{"a": [1.5, "b"]}']
    """
    value = value.item() if isinstance(value, np.generic) else value
    try:
        if value is None or isinstance(value, bool | list | dict):
            shown = json.dumps(value, ensure_ascii=False, default=repr)[:60]
            return shown.encode(errors="backslashreplace").decode()
        return repr(value)[:60]
    except ValueError:  # Python limits the digits of an integer that it prints
        return "an integer with too many digits"


def format_names(names: Iterable[str]) -> str:
    """Names of columns for a message, joined by commas; in quotes if blanks or commas are in them.

    >>> format_names(["age", "Total Charges"])
    "age, 'Total Charges'"
    """
    return ", ".join(name if re.fullmatch(r"[^\s,]+", name) else repr(name) for name in names)


def count_values(number: int) -> str:
    """So many values, in words of a message.

    >>> count_values(1), count_values(0)
    ('1 value', '0 values')
    """
    return f"{number} value{'' if number == 1 else 's'}"


def join_names(names: Sequence[str]) -> str:
    """Names for a message, joined by commas; the first 20 of a longer list."""
    return ", ".join(names[:20]) + (" …" if len(names) > 20 else "")
