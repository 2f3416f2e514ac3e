"""Robustness: whether predictions stay the same when the inputs change slightly."""

from __future__ import annotations

import numpy as np

from domain.contract import Category, Datetime, HashedText, ModelSpec, Number, Tensor, Text


def spreads(spec: ModelSpec, encoded: np.ndarray) -> np.ndarray:
    """Standard deviation of each column over the rows, float64 of shape (width,).

    A tensor has one, over all of its values; that of a category, a date or a hashed text is 0.
    Missing values are ignored.

    Args:
        encoded: encoded rows of numbers, shape (n_rows, width).
    """
    found: list[float] = []
    for item in spec.inputs:
        part = encoded[:, len(found) : len(found) + item.width].astype(np.float64)
        known = part[~np.isnan(part)]
        moves = len(known) > 0 and not isinstance(item, Category | Datetime | HashedText)
        found += [float(known.std()) if moves else 0.0] * item.width
    return np.array(found)


def perturbed(spec: ModelSpec, encoded: np.ndarray, noise: float, random_state: int) -> np.ndarray:
    """Copies of the rows with small changes, as if measured or typed again.

    Numbers and tensors get normal noise, even if they are counts, since the contract does not
    require integers; they stay within their range unless it accepts others. Categories, dates,
    counts of words and missing values stay. In a text one space is doubled and one is appended, as
    far as the maximum length allows.

    Args:
        encoded: encoded rows, shape (n_rows, width).
        noise: standard deviation of the noise, relative to that of each input.
        random_state: seed of the noise.

    Returns:
        Array of the same shape and type.
    """
    rng = np.random.default_rng(random_state)
    item = spec.inputs[0]
    if isinstance(item, Text):
        texts = [_with_spaces(text, item.max_length, rng) for text in encoded[:, 0]]
        return np.array(texts, dtype=object)[:, None]
    moved = encoded + rng.normal(size=encoded.shape) * noise * spreads(spec, encoded)
    columns, (low, high) = spec.columns_of(Number, Tensor), _ranges(spec)
    moved[:, columns] = np.clip(moved[:, columns], low, high)
    return moved.astype(encoded.dtype)


def instability(spec: ModelSpec, before: np.ndarray, after: np.ndarray) -> float:
    """How much the predictions for the same rows have changed.

    The share of rows whose predicted class differs; for a quantity the mean absolute change, in
    standard deviations of the predictions before. NaN if a prediction is not finite; infinite if
    predictions that were all equal have changed.

    Args:
        before, after: predictions of shape (n_rows, n_columns).
    """
    if not (len(before) and np.isfinite(before).all() and np.isfinite(after).all()):
        return float("nan")
    if spec.classes:
        return float((spec.decide(before) != spec.decide(after)).mean())
    change, spread = float(np.abs(after - before)[:, 0].mean()), float(before[:, 0].std())
    if change == 0:
        return 0.0
    return change / spread if spread else float("inf")


def _ranges(spec: ModelSpec) -> np.ndarray:
    """Ends of the ranges of the columns that hold numbers, shape (2, n_columns)."""
    items = [item for item in spec.inputs if isinstance(item, Number | Tensor)]
    ends = [_range(item) for item in items for _ in range(item.width)]
    return np.array(ends).reshape(-1, 2).T


def _range(item: Number | Tensor) -> tuple[float, float]:
    if isinstance(item, Number) and item.outside == "accept":
        return -np.inf, np.inf
    return item.minimum, item.maximum


def _with_spaces(text: str, max_length: int, rng: np.random.Generator) -> str:
    if len(text) < max_length:
        text += " "
    spaces = [place for place, letter in enumerate(text[:-1]) if letter == " "]
    if spaces and len(text) < max_length:
        place = int(rng.choice(spaces))
        text = text[:place] + " " + text[place:]
    return text
