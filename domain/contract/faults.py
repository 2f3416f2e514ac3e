"""What is wrong with rows, as messages say it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any

import numpy as np

from domain.contract.encoding import count_values, join_names, short_repr
from domain.contract.features import Input
from domain.contract.row_ids import ID, RowIds
from domain.errors import InputError

SHOWN_ROWS = 10  # of those that are refused, in a message
SHOWN_FAULTS = 20  # of a row, in a message
_BLOCK = 256  # rows; after a refused row, the rest of its block is encoded again
_SIMILAR = 0.75  # from 0 to 1
_COMPARED = 100  # inputs that an unknown name is compared with, which takes time
_LIKE_ID = re.compile(r"(?:^|[\W_])id$|I[Dd]$")


class WholeRow(str):
    """A fault of a row as a whole: a verb and what follows it."""


Faults = dict[int, list[str]]
"""By the row's position from 0, what is wrong: a `WholeRow`, or inputs and reasons."""


def describe_faults(faults: Mapping[int, Sequence[str]]) -> str:
    """What is wrong with the first ten of these rows.

    >>> describe_faults({7: ["width: 99 is outside [0, 9]"], 2: [WholeRow("is a number")]})
    'row 2 is a number; row 7, width: 99 is outside [0, 9]'
    """
    shown = sorted(faults)[:SHOWN_ROWS]
    more = "; and further rows" if len(faults) > SHOWN_ROWS else ""
    return "; ".join(_describe(row, faults[row]) for row in shown) + more


def _describe(row: int, reasons: Sequence[str]) -> str:
    separator = " " if isinstance(reasons[0], WholeRow) else ", "
    return f"row {row}{separator}{join_faults(reasons)}"


def join_faults(reasons: Sequence[str]) -> str:
    """What is wrong with one row, up to twenty faults."""
    more = "; and further faults" if len(reasons) > SHOWN_FAULTS else ""
    return "; ".join(reasons[:SHOWN_FAULTS]) + more


def length_fault(length: int, names: Sequence[str]) -> WholeRow:
    """A row has so many values instead of one for each name."""
    return WholeRow(f"has {count_values(length)}, expected {len(names)}: {join_names(names)}")


def unknown_faults(
    unknown: Iterable[str], names: Sequence[str], takes_ids: bool = False, what: str = "input"
) -> list[str]:
    """Names are unknown: which ones may be meant, or what the known ones are.

    Args:
        names: the known ones.
        takes_ids: whether a row may have an ``id``.
        what: what the names are names of.

    >>> unknown_faults(["customer_id", "petal_widht"], ["petal_width"], takes_ids=True)
    ["unknown input 'customer_id': a row's own key is called 'id'", \
"unknown input 'petal_widht': did you mean 'petal_width'?"]
    >>> unknown_faults(["colour", "scent"], ["petal_width", "petal_length"])
    ["unknown inputs 'colour', 'scent', expected petal_width, petal_length"]
    """
    faults, others = [], []
    by_lower = {name.lower(): name for name in names[:_COMPARED]}
    for name in islice(unknown, SHOWN_FAULTS + 1):
        close = get_close_matches(name[:_COMPARED].lower(), by_lower, 1, _SIMILAR)
        fault = f"unknown {what} {short_repr(name)}"
        if close:
            faults.append(f"{fault}: did you mean {by_lower[close[0]]!r}?")
        elif takes_ids and _LIKE_ID.search(name):
            faults.append(f"{fault}: a row's own key is called {ID!r}")
        else:
            others.append(short_repr(name))
    if others:
        plural = "s" if len(others) > 1 else ""
        faults.append(f"unknown {what}{plural} {join_names(others)}, expected {join_names(names)}")
    return faults


def refusals(item: Input | RowIds, values: Sequence[Any] | np.ndarray) -> Iterator[tuple[int, str]]:
    """Every row that an input refuses, with the reason, nearly in order."""
    for start in range(0, len(values), _BLOCK):
        yield from _refusals_between(item, values, start, min(start + _BLOCK, len(values)))


def _refusals_between(
    item: Input | RowIds, values: Sequence[Any] | np.ndarray, start: int, end: int
) -> Iterator[tuple[int, str]]:
    while start < end:
        try:
            item.encode(values[start:end])
            return
        except InputError as error:  # its message begins with the row
            place, _, reason = str(error).removeprefix("row ").partition(", ")
            row = start + int(place)
            # types are checked before ranges, so an earlier row may be out of range
            yield from _refusals_between(item, values, start, row)
            yield row, reason
            start = row + 1
