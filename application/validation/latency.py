"""Measures the latency of several models side by side."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from application.ports.model import Model

_ROUNDS = 15
_SECONDS = 0.02  # per model and round; at least one pass over its rows
_MOST_SECONDS = 5.0  # after which no further round starts


def time_predictions(
    *cases: tuple[Model, np.ndarray], clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Seconds per row of each model. The models take turns, and their fastest round counts.

    Args:
        cases: models with rows of shape (n_rows, width), which are predicted one by one.
    """
    fastest, start = [float("inf")] * len(cases), clock()
    for _ in range(_ROUNDS):
        for number, (model, rows) in enumerate(cases):
            fastest[number] = min(fastest[number], _seconds_per_row(model, rows, clock))
        if clock() - start > _MOST_SECONDS:
            break
    return fastest


def _seconds_per_row(model: Model, rows: np.ndarray, clock: Callable[[], float]) -> float:
    predicted, start = 0, clock()
    while True:
        for row in rows:
            model(row[None])
        predicted += len(rows)
        seconds = clock() - start
        if seconds >= _SECONDS:
            return seconds / predicted
