"""Drift of the latest rows in the prediction log."""

from __future__ import annotations

import json

import numpy as np

from application.monitoring.drift_watch import FEWEST, WINDOW, DriftWatch
from domain.models import iris
from domain.monitoring.profile import profile_inputs
from tests.fakes import FakeMetrics, FakePredictionLog, logged_prediction

NAMES = iris.SPEC.feature_names
FLOWERS = iris.load().inputs.to_numpy("float32").astype(float)  # the precision of the log
PROFILES = json.loads(json.dumps(profile_inputs(NAMES, FLOWERS)))


def flowers(rows: int, seed: int = 0) -> np.ndarray:
    """Flowers drawn from the training data."""
    return FLOWERS[np.random.default_rng(seed).integers(len(FLOWERS), size=rows)]


def scores(*batches: np.ndarray) -> dict[str, float]:
    """Scores after these batches of inputs were answered."""
    log, metrics = FakePredictionLog(), FakeMetrics()
    for batch in batches:
        log.add([logged_prediction("a", row) for row in batch.tolist()])
    DriftWatch(PROFILES, log, metrics).look()
    return metrics.drift


def test_flowers_like_those_of_training_are_stable_in_every_input() -> None:
    found = scores(flowers(WINDOW))
    assert tuple(found) == NAMES
    assert max(found.values()) < 0.1


def test_an_input_that_moves_is_the_one_that_scores() -> None:
    moved = flowers(WINDOW)
    moved[:, 2] += 2
    found = scores(moved)
    assert found["petal_length"] > 0.25
    assert max(score for name, score in found.items() if name != "petal_length") < 0.1


def test_an_empty_log_says_nothing() -> None:
    assert not scores()


def test_few_rows_say_nothing_and_one_more_does() -> None:
    assert not scores(flowers(FEWEST - 1))
    assert tuple(scores(flowers(FEWEST))) == NAMES


def test_few_rows_leave_the_score_as_it_is() -> None:
    metrics = FakeMetrics(drift={"petal_length": 0.3})
    DriftWatch(PROFILES, FakePredictionLog(), metrics).look()
    assert metrics.drift == {"petal_length": 0.3}


def test_only_the_latest_rows_count() -> None:
    moved = flowers(WINDOW) + 3
    assert max(scores(moved, flowers(WINDOW)).values()) < 0.1
    assert min(scores(flowers(WINDOW), moved).values()) > 0.25


def test_the_fewest_rows_that_are_scored_are_enough_not_to_raise_a_false_alarm() -> None:
    alarms = [max(scores(flowers(FEWEST, seed)).values()) > 0.25 for seed in range(100)]
    assert np.mean(alarms) <= 0.05
