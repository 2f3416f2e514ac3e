"""Numbers that a table holds as text, such as ``$1,234.50`` or ``12 %``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from domain.contract import parse_formatted, symbol_of
from domain.data.tables import parse_text
from domain.errors import DataError

Decimal = Literal[".", ","]
_ENOUGH = 1000  # words to tell how numbers are written


@dataclass(frozen=True)
class Format:
    """How the numbers of a column are written.

    Attributes:
        decimal: the decimal mark.
        unit: the most frequent currency or percent sign; empty for none.
        example: one of them and the number that it is read as, for people.
    """

    decimal: Decimal
    unit: str
    example: str


def read_as_numbers(column: pd.Series) -> tuple[pd.Series, Format]:
    """The numbers in a column of text, float64 and NaN where missing, and how they are written.

    Raises:
        DataError: the column is not text, or some of its words are not numbers.
    """
    place = f"READ_AS_NUMBERS (--read-as-numbers): {column.name!r}"
    words = [value for value in column.dropna().unique().tolist() if isinstance(value, str)]
    if not words:
        raise DataError(f"{place} is not text: remove it from this list")
    decimal = decimal_mark(words)
    numbers = parse_text(column, lambda word: parse_formatted(word, decimal))
    odd = numbers[numbers.map(lambda value: isinstance(value, str))]
    if len(odd):
        raise DataError(
            f"{place} has {', '.join(map(repr, odd.unique()[:3]))}, in {len(odd)} of "
            f"{len(column)} rows: write a number, or leave the field empty"
        )
    symbol, _ = Counter(map(symbol_of, words)).most_common(1)[0]
    longest = max(words, key=len)
    example = f"{longest!r} is read as {parse_formatted(longest, decimal):.15g}"
    return numbers.astype(np.float64), Format(decimal, symbol, example)


def decimal_mark(words: Sequence[str]) -> Decimal:
    """The mark with which most of these words are numbers; of both, that with the fewest fractions,
    since ``1,234`` is rather a number with thousands than one with three decimals."""

    def fit(mark: Decimal) -> tuple[int, int]:
        parsed = [parse_formatted(word, mark) for word in words[:_ENOUGH]]
        numbers = [number for number in parsed if isinstance(number, float)]
        return -len(numbers), sum(not number.is_integer() for number in numbers)

    marks: tuple[Decimal, Decimal] = (".", ",")
    return min(marks, key=fit)
