"""Checks and conversions of single values, which the features and the contract share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

import numpy as np

from domain.errors import InputError

PYTHON_NUMBERS = frozenset((float, int))


def as_word(value: Any) -> str:
    """A value as a category: ``true`` and ``false`` for booleans, digits for whole numbers."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def check_numbers(values: np.ndarray, inputs: Sequence[Any]) -> np.ndarray:
    """float32 of the same shape, (n_rows, len(inputs)), where every value keeps its contract.

    Args:
        inputs: the `Number` of each column.

    Raises:
        InputError: a value is not finite, out of range, or missing and must not be.
    """
    # a float32 is compared with the range as float32 has it
    kind = np.float32 if values.dtype == np.float32 else np.float64
    low = np.array([item.minimum for item in inputs], kind)
    high = np.array([item.maximum for item in inputs], kind)
    bad = ~((values >= low) & (values <= high))  # NaN compares false, so it is bad too
    if bad.any():
        nullable = np.array([item.nullable for item in inputs])
        bad &= ~(np.isnan(values) & nullable)
        for row, column in np.argwhere(bad)[:1]:
            item, value = inputs[column], values[row, column]
            place = f"row {row}, {item.name}"
            if np.isnan(value):
                raise InputError(f"{place}: a value is missing")
            if np.isinf(value):
                raise InputError(f"{place}: {value} is not a finite number")
            raise InputError(
                f"{place}: {value:g} is out of range [{item.minimum:g}, {item.maximum:g}] "
                f"{item.unit}".rstrip()
            )
    return np.ascontiguousarray(values, dtype=np.float32)


def to_floats(name: str, values: Sequence[Any] | np.ndarray) -> np.ndarray:
    """float64, or float32 where they are that, of shape (n_rows,).

    None is NaN, and what float64 cannot hold is infinite.

    Args:
        name: of the input, for messages.

    Raises:
        InputError: a value is no number.
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
    """Whether they are Python's own numbers, or None: no words or booleans that NumPy converts."""
    return set(map(type, values)) <= {*PYTHON_NUMBERS, type(None)}


def is_missing(value: Any) -> bool:
    """Whether it is None, NaN, or pandas' NA or NaT."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # pandas' own, unimported
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def contains_boolean(value: Any, depth: int) -> bool:
    """Whether lists of this depth hold one: among numbers NumPy makes a number of it."""
    if not isinstance(value, list | tuple):
        return False
    flat: Iterable[Any] = value
    for _ in range(depth - 1):
        flat = chain.from_iterable(flat)
    return not {bool, np.bool_}.isdisjoint(map(type, flat))


def short_repr(value: Any) -> str:
    """A value in a message: at most 60 characters of its `repr`."""
    try:
        return repr(value.item() if isinstance(value, np.generic) else value)[:60]
    except ValueError:
        return "a whole number of too many digits"


def join_names(names: Sequence[str]) -> str:
    """Names in a message, with commas; the first 20 of many."""
    return ", ".join(names[:20]) + (" …" if len(names) > 20 else "")
