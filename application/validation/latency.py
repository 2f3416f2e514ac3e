"""How long models take for an answer, measured side by side."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from application.ports.model import Model

_ROUNDS = 15
_SECONDS = 0.02  # of one model in one round, at least one pass over its rows
_PATIENCE = 5.0  # seconds, after which no further round begins


def time_predictions(
    *asked: tuple[Model, np.ndarray], clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Seconds for a single row of each model, all in turn, the least disturbed round counting.

    Args:
        asked: models with the rows that they are asked one by one, shape (n_rows, width).
    """
    least, begun = [float("inf")] * len(asked), clock()
    for _ in range(_ROUNDS):
        for number, (model, rows) in enumerate(asked):
            least[number] = min(least[number], _seconds_per_row(model, rows, clock))
        if clock() - begun > _PATIENCE:
            break
    return least


def _seconds_per_row(model: Model, rows: np.ndarray, clock: Callable[[], float]) -> float:
    answered, begun = 0, clock()
    while True:
        for row in rows:
            model(row[None])
        answered += len(rows)
        seconds = clock() - begun
        if seconds >= _SECONDS:
            return seconds / answered
