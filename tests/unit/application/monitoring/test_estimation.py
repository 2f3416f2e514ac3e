"""Quality of logged predictions that have no labels."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import cycle

import numpy as np
import pytest

from application.monitoring.estimation import QualityEstimator
from application.ports.prediction_log import LoggedPrediction
from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.evaluation.estimation import IsotonicCalibration, estimate
from domain.evaluation.measures import Measure, default_measure
from tests.fakes import FakeMetrics, FakePredictionLog, batch_of

AGE = (Number("age", "", 0, 120),)
CHURN = ModelSpec("churn", AGE, Classes(("no", "yes"), "churned"))
RENT = ModelSpec("rent", AGE, Quantity("rent", "EUR"))
HALVES = IsotonicCalibration("", np.array([0.5]), np.array([100, 300]), np.array([20, 270]))
NOW = time.time()


def log_of(
    rows: int, confidence: Sequence[float | None] = (0.9,), version: str = "1"
) -> FakePredictionLog:
    """A version predicted the first class at 100, 101, … seconds, as confidently as given."""
    log = FakePredictionLog()
    for at, sure in zip(range(100, 100 + rows), cycle(confidence)):
        log.add(batch_of(LoggedPrediction("r", 0, at, 1, [0.0], 0, sure, 0.5, version)))
    return log


def estimator(log: FakePredictionLog, measure: str = "roc_auc") -> QualityEstimator:
    """For version 1."""
    return QualityEstimator(log, Measure(CHURN, measure), HALVES, "1")


def test_the_estimates_are_of_the_predictions_of_a_version_and_period() -> None:
    log = log_of(50, [0.9, 0.9, 0.9, 0.3])
    for other in log_of(20, [0.3], "2").added:
        log.add(other)
    found = estimator(log).estimates(110, 150)
    expected = np.array([[30, 10], [0, 0]])
    assert found["accuracy"] == estimate(HALVES, Measure(CHURN, "accuracy"), expected)
    assert found["accuracy"].score == pytest.approx(0.75 * 0.8 + 0.25 * 0.1)
    assert found["roc_auc"] == estimate(HALVES, Measure(CHURN, "roc_auc"), expected)
    assert list(found) == ["accuracy", "roc_auc"]


def test_only_the_latest_rows_count() -> None:
    log = log_of(40, [0.3])
    for other in log_of(40).added:
        log.add(other)
    assert estimator(log).estimates(0, rows=40)["accuracy"].score == pytest.approx(0.8)


def test_the_chosen_measure_has_an_estimate_or_a_reason() -> None:
    found = estimator(log_of(50, [0.9, 0.3])).estimate(0)
    assert found.score and 0.5 < found.score < 1
    found = estimator(log_of(50), "f1").estimate(0)
    assert (found.score, found.reason) == (None, "f1 cannot be estimated without labels")


def test_few_predictions_are_too_few_to_say() -> None:
    found = estimator(log_of(20)).estimates(0)
    assert found["accuracy"].reason == "too few to say: 20 predictions, 30 are needed"


def test_a_regression_has_no_estimate() -> None:
    log = log_of(50, [None])
    found = QualityEstimator(log, default_measure(RENT), IsotonicCalibration.from_dict(None), "1")
    assert found.estimates(0)["r2"].reason == "r2 cannot be estimated without labels"


def test_the_metrics_have_what_can_be_estimated_of_the_last_day() -> None:
    log = log_of(50, [0.9, 0.3])  # long ago
    metrics = FakeMetrics()
    estimator(log).update(metrics)
    assert not metrics.estimated
    log.add(batch_of(*[LoggedPrediction("n", n, NOW, 1, [0.0], 0, 0.9, 0, "1") for n in range(50)]))
    estimator(log).update(metrics)
    assert metrics.estimated == {"accuracy": pytest.approx(0.8)}  # their ranks are equal
    interval = estimator(log).estimates(NOW - 1)["accuracy"].interval
    assert interval and metrics.intervals == {"accuracy": interval}
