"""Permutation importance: how much the score falls when the values of an input are shuffled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from domain.contract import Category, Number
from domain.evaluation.measures import Measure

_ROWS = 1_000
_CALLS = 500


def permutation_importances(
    model: Callable[[np.ndarray], np.ndarray],
    encoded: np.ndarray,
    actual: np.ndarray,
    measure: Measure,
    repeats: int = 5,
    random_state: int = 0,
) -> dict[str, float]:
    """Decrease of the score when one input is shuffled, by input; about 0 if it is not needed.

    All columns of an input are shuffled together. At most 1,000 rows are drawn, and the model is
    called at most 501 times: wide contracts get fewer repeats, and of more than 500 inputs 500 are
    drawn. Two inputs with the same information both have a low importance.

    Args:
        model: a function from encoded rows to predictions of shape (n_rows, n_columns).
        encoded: rows, shape (n_rows, width).
        actual: class numbers or values, shape (n_rows,).

    Returns:
        The importance of each input; empty if a text or a tensor is the only one.

    References:
        L. Breiman, "Random forests", 2001, section 10.
    """
    spec = measure.spec
    if len(spec.inputs) == 1 and not isinstance(spec.inputs[0], Number | Category):
        return {}
    rng = np.random.default_rng(random_state)
    if len(encoded) > _ROWS:
        drawn = rng.choice(len(encoded), _ROWS, replace=False)
        encoded, actual = encoded[drawn], actual[drawn]
    measured = np.arange(len(spec.inputs))
    if len(measured) > _CALLS:
        measured = np.sort(rng.choice(measured, _CALLS, replace=False))
    times = max(1, min(repeats, _CALLS // len(measured)))
    ends = np.cumsum([item.width for item in spec.inputs])

    def score(rows: np.ndarray) -> float:
        return measure.score(actual, model(rows))

    whole, fallen = score(encoded), {}
    for position in measured:
        item = spec.inputs[position]
        columns = slice(ends[position] - item.width, ends[position])
        after = []
        for _ in range(times):
            shuffled = encoded.copy()
            shuffled[:, columns] = rng.permutation(encoded[:, columns])
            after.append(score(shuffled))
        fallen[item.name] = whole - float(np.mean(after))
    return fallen
