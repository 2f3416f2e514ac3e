"""Latency of models, measured side by side."""

from __future__ import annotations

import numpy as np
import pytest

from application.ports.model import Model
from application.validation.latency import time_predictions


class Clock:
    """A clock that only models advance."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def model(self, *seconds: float) -> Model:
        """A model whose calls take these seconds, in turn."""
        durations = iter(seconds * 100_000)

        def predict(rows: np.ndarray) -> np.ndarray:
            assert rows.shape == (1, 4)
            self.now += next(durations)
            return rows

        return predict


ROWS = np.zeros((3, 4))


def test_each_model_is_timed_by_its_own_calls_only() -> None:
    clock = Clock()
    timed = time_predictions((clock.model(0.001), ROWS), (clock.model(0.01), ROWS), clock=clock)
    assert timed == pytest.approx([0.001, 0.01])


def test_disturbed_rounds_do_not_count() -> None:
    clock = Clock()
    disturbed = clock.model(*[0.002] * 60, *[0.001] * 200)
    assert time_predictions((disturbed, ROWS), clock=clock) == pytest.approx([0.001])


def test_a_very_slow_model_is_not_timed_in_every_round() -> None:
    clock = Clock()
    time_predictions((clock.model(4.0), ROWS), clock=clock)
    assert clock.now == 4.0 * len(ROWS)


def test_a_model_that_is_slower_than_a_round_predicts_every_row_once() -> None:
    clock = Clock()
    assert time_predictions((clock.model(1.0), ROWS), clock=clock) == pytest.approx([1.0])
