"""Parity: whether the exported model predicts the same as the native one, also at split points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from domain.contract import Category, Classes, Datetime, ModelSpec, Number, Tensor, Text

Predict = Callable[[np.ndarray], np.ndarray]
_BITS = 32  # bisections that make any two float32 neighbours
_TEXTS = 16
_ODD = ("é", "É", "ß", "A", "_", "-", "'", "\u00a0", "\u3000", "\u2028", "\v", "\x85", "\n")
_TIE = 2.0**-20  # eight times the rounding of a float32 near 1


@dataclass(frozen=True)
class Parity:
    """Difference between two sets of predictions for the same rows.

    Attributes:
        rows: number of rows compared.
        largest_difference: largest absolute difference of a probability; for a quantity, relative
            to the row's prediction, or to the median prediction if that is larger.
        different_classes: rows whose predicted class differs; None for a quantity.
    """

    rows: int
    largest_difference: float
    different_classes: int | None

    @classmethod
    def of(cls, native: np.ndarray, exported: np.ndarray, spec: ModelSpec) -> Parity:
        """Compare predictions of shape (n_rows, n_columns).

        Classes that are equally probable, or that a threshold decides, up to float32 rounding count
        as the same class.
        """
        difference, output = np.abs(native - exported), spec.output
        if not isinstance(output, Classes):
            size = np.abs(native).max(axis=1, keepdims=True)
            scale = np.maximum(np.maximum(size, np.median(size)), 1e-30)
            return cls(len(native), float((difference / scale).max()), None)
        best, other = output.decide(native), output.decide(exported)
        each = np.arange(len(native))
        distance = native[each, best] - native[each, other]
        if output.threshold is not None:
            distance = np.abs(native[:, output.positive_code] - output.threshold)
        different = (best != other) & (distance > _TIE)
        return cls(len(native), float(difference.max()), int(different.sum()))


def edge_rows(
    model: Predict, rows: np.ndarray, spec: ModelSpec, random_state: int, limit: int = 256
) -> np.ndarray:
    """Rows on which models that agree on the data may differ.

    They have values on both sides of a jump of the prediction, adjacent in float32 (in trees, the
    split points), ends of the ranges, every word of every category, missing values, and texts with
    letters and whitespace that libraries treat differently.

    Jumps are found by bisection, with the model as a black box: one value of a row moves towards
    that of another row, always into the half in which the prediction changes more.

    Args:
        model: the native model.
        rows: encoded rows of shape (n_rows, width).
        limit: number of jumps to search for.

    Returns:
        Encoded rows, shape (n_edges, width).
    """
    if isinstance(spec.inputs[0], Text):
        return _texts(rows, spec.inputs[0].max_length)
    words = _words(rows, spec)
    numeric = spec.columns_of(Number, Datetime, Tensor)
    if not numeric:
        return words
    rng = np.random.default_rng(random_state)
    columns = rng.choice(numeric, size=limit)
    base, other = rows[rng.integers(len(rows), size=(2, limit))]
    each = np.arange(limit)
    first, last = base[each, columns], other[each, columns]
    known = ~(np.isnan(first) | np.isnan(last))
    if not known.any():
        return words
    base, columns, each = base[known], columns[known], each[: known.sum()]
    low, high = _ordinal(first[known]), _ordinal(last[known])

    def moved(ordinals: np.ndarray) -> np.ndarray:
        changed = base.copy()
        changed[each, columns] = _float(ordinals)
        return changed

    low, high = _jumps(lambda ordinals: model(moved(ordinals)), low, high)
    ends = [base.copy(), base.copy()]
    for end, limits in zip(ends, _ranges(spec), strict=True):
        end[each, columns] = limits[columns]
    missing = base.copy()
    missing[each, columns] = np.nan
    nullable = np.repeat([i.nullable for i in spec.inputs], [i.width for i in spec.inputs])
    missing = missing[nullable[columns]]
    return np.concatenate([moved(low), moved(high), *ends, missing, words])


def _jumps(model: Predict, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Adjacent or equal ordinals between `low` and `high` at jumps of the prediction, each (n,)."""
    at_low, at_high = model(low), model(high)
    for _ in range(_BITS):
        middle = (low + high) // 2
        at_middle = model(middle)
        left = np.abs(at_middle - at_low).sum(axis=1) >= np.abs(at_high - at_middle).sum(axis=1)
        left &= np.abs(high - low) > 1
        right = ~left & (np.abs(high - low) > 1)
        high, at_high = np.where(left, middle, high), np.where(left[:, None], at_middle, at_high)
        low, at_low = np.where(right, middle, low), np.where(right[:, None], at_middle, at_low)
    return low, high


def _words(rows: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """Rows with every word of every category, and with a missing one if the contract allows it."""
    made = [rows[:0]]
    items = [item for item in spec.inputs if isinstance(item, Category)]
    for item, column in zip(items, spec.columns_of(Category), strict=True):
        codes = [float(code) for code in range(len(item.categories))]
        if item.nullable or item.unseen == "missing":
            codes.append(np.nan)
        part = rows[np.arange(len(codes)) % len(rows)]
        part[:, column] = codes
        made.append(part)
    return np.concatenate(made)


def _texts(rows: np.ndarray, max_length: int) -> np.ndarray:
    """Texts in which one space is replaced by another character, and an empty text."""
    some = rows[:_TEXTS, 0]
    made = [text.replace(" ", odd, 1)[:max_length] for text in some for odd in _ODD]
    return np.array([[text] for text in ["", *made]], dtype=object)


def _ranges(spec: ModelSpec) -> np.ndarray:
    """float32 of shape (2, width): ends of each column's range; 0 for categories."""
    ends: list[tuple[float, float]] = []
    for item in spec.inputs:
        if isinstance(item, Datetime):
            ends += item.part_ranges
        elif isinstance(item, Number | Tensor):
            ends += [(item.minimum, item.maximum)] * item.width
        else:
            ends += [(0.0, 0.0)] * item.width
    return np.array(ends, np.float32).T


def _ordinal(values: np.ndarray) -> np.ndarray:
    """Consecutive int64 in the order of the float32 `values`."""
    bits = values.astype(np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _float(ordinals: np.ndarray) -> np.ndarray:
    """The inverse of `_ordinal`."""
    bits = np.where(ordinals < 0, -ordinals | 0x80000000, ordinals)
    return bits.astype(np.uint32).view(np.float32)
