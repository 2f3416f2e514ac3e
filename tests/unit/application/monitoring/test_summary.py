"""The summary of the last hours of a service."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from application.monitoring.estimation import QualityEstimator
from application.monitoring.summary import summarise
from application.ports.prediction_log import LabelledPrediction
from domain.contract import ModelSpec, Number, Quantity
from domain.evaluation.estimation import IsotonicCalibration
from domain.evaluation.intervals import wilson_interval
from domain.evaluation.measures import default_measure
from tests import petals
from tests.fakes import (
    SETOSA,
    VERSICOLOR,
    VIRGINICA,
    FakePredictionLog,
    batch_of,
    logged_prediction,
)


def busy_log() -> FakePredictionLog:
    """Three predictions of the last minute, one of two hours ago."""
    log, now = FakePredictionLog(), time.time()
    log.add(
        batch_of(
            replace(logged_prediction("a", SETOSA, at=now), confidence=0.9, latency=0.001),
            replace(logged_prediction("b", SETOSA, at=now), confidence=0.6, latency=0.002),
            replace(logged_prediction("c", VIRGINICA, at=now), confidence=0.6, latency=0.006),
            logged_prediction("old", VERSICOLOR, at=now - 7200),
        )
    )
    return log


def of_version(version: str | None, predictions: int, labelled: int) -> dict[str, object]:
    """What the summary shows of a version with few labels."""
    reason = f"too few to say: {labelled} labels, 30 are needed"
    return {
        "version": version,
        "total_predictions": predictions,
        "labeled_predictions": labelled,
        "label_coverage": labelled / predictions,
        "reason": reason if version else "these predictions were logged without a version",
    }


def test_totals_and_averages_cover_the_last_hours() -> None:
    assert summarise(busy_log(), default_measure(petals.SPEC), 1) == {
        "time_period_hours": 1,
        "total_predictions": 3,
        "average_confidence": pytest.approx(0.7),
        "average_latency_seconds": pytest.approx(0.003),
        "class_distribution": {"setosa": 2, "versicolor": 0, "virginica": 1},
        "predictions_per_hour": 3,
        "by_version": [of_version(None, 3, 0)],
    }


def test_more_hours_include_older_predictions() -> None:
    summary = summarise(busy_log(), default_measure(petals.SPEC), 4)
    assert summary["total_predictions"] == 4
    assert summary["class_distribution"]["versicolor"] == 1
    assert summary["predictions_per_hour"] == 1


def test_half_an_hour_is_a_valid_period() -> None:
    assert summarise(busy_log(), default_measure(petals.SPEC), 0.5)["predictions_per_hour"] == 6


def test_without_predictions_totals_are_zero_and_averages_none() -> None:
    assert summarise(FakePredictionLog(), default_measure(petals.SPEC), 1) == {
        "time_period_hours": 1,
        "total_predictions": 0,
        "average_confidence": None,
        "average_latency_seconds": None,
        "class_distribution": {"setosa": 0, "versicolor": 0, "virginica": 0},
        "predictions_per_hour": 0,
        "by_version": [],
    }


def test_with_labels_the_summary_has_the_quality_and_the_number_of_labels() -> None:
    log = busy_log()
    log.label(LabelledPrediction("a", 0, 0, 0), at=time.time())
    log.label(LabelledPrediction("c", 0, 2, 0), at=time.time())
    summary = summarise(log, default_measure(petals.SPEC), 1)
    assert summary["labeled_predictions"] == 2
    assert summary["accuracy"] == 0.5
    assert summary["precision"] == 0.5
    assert summary["recall"] == 0.25
    assert summary["f1_score"] == pytest.approx(1 / 3)
    assert summary["total_predictions"] == 3


def test_each_version_has_its_predictions_and_label_coverage() -> None:
    log, now = FakePredictionLog(), time.time()
    for number, version in enumerate(("1", "1", "2", "2", "2")):
        entry = replace(logged_prediction(f"r{number}", SETOSA, at=now), version=version)
        log.add(batch_of(entry))
    log.label(LabelledPrediction("r1", 0, 0, 0, version="1", made=now), at=now)
    log.label(LabelledPrediction("r9", 0, 0, 0), at=now)  # of a prediction that was not found
    summary = summarise(log, default_measure(petals.SPEC), 1)
    assert summary["by_version"] == [of_version("1", 2, 1), of_version("2", 3, 0)]
    assert summary["labeled_predictions"] == 2


def test_the_estimated_quality_is_of_the_version_that_answers() -> None:
    log, now = FakePredictionLog(), time.time()
    measure = default_measure(petals.SPEC)
    for version, rows in (("1", 40), ("2", 20)):
        entry = replace(logged_prediction("a", SETOSA, at=now), confidence=0.9, version=version)
        log.add(batch_of(*[replace(entry, row=row) for row in range(rows)]))
    sure = IsotonicCalibration("", np.array([0.5]), np.array([100, 300]), np.array([20, 270]))
    summary = summarise(log, measure, 1, QualityEstimator(log, measure, sure, "1"))
    found = summary["estimated"]
    assert found["version"] == "1"
    assert "concept drift" in found["cannot_see"]
    assert set(found["measures"]) == {"accuracy"}
    accuracy = found["measures"]["accuracy"]
    assert (accuracy["score"], accuracy["rows"]) == (0.9, 40)
    assert accuracy["interval"][0] < 0.9 < accuracy["interval"][1]
    summary = summarise(log, measure, 1, QualityEstimator(log, measure, sure, "2"))
    assert summary["estimated"]["measures"] == {
        "accuracy": {"reason": "too few to say: 20 predictions, 30 are needed", "rows": 20}
    }


def test_each_version_has_its_score_with_the_interval() -> None:
    log, now = FakePredictionLog(), time.time()
    for number in range(80):
        version = "12"[number % 2]
        entry = replace(logged_prediction(f"r{number}", SETOSA, at=now), version=version)
        log.add(batch_of(entry))
        if number < 79:
            actual = float(number % 2 and number < 20)  # 10 of version 2 are wrong
            label = LabelledPrediction(f"r{number}", 0, 0, actual, 0.9, version, now)
            log.label(label, at=now)
    first, second = summarise(log, default_measure(petals.SPEC), 1)["by_version"]
    assert "reason" not in first | second
    assert (first["measure"], first["score"], first["scored_predictions"]) == ("accuracy", 1, 40)
    assert (second["score"], second["scored_predictions"]) == (29 / 39, 39)
    assert second["score_interval"] == wilson_interval(29, 39)


def test_labels_older_than_the_hours_are_left_out() -> None:
    log = busy_log()
    log.label(LabelledPrediction("old", 0, 1, 1), at=time.time() - 7200)
    assert "accuracy" not in summarise(log, default_measure(petals.SPEC), 1)
    assert summarise(log, default_measure(petals.SPEC), 3)["labeled_predictions"] == 1


def test_a_regression_has_mean_and_extremes_and_with_labels_errors() -> None:
    spec = ModelSpec("rent", (Number("area", "m²", 0, 500),), Quantity("rent", "EUR"))
    log, now = FakePredictionLog(), time.time()
    entry = replace(logged_prediction("a", SETOSA, at=now), confidence=None)
    values = (100.0, 200.0, 600.0)
    log.add(batch_of(*[replace(entry, row=i, predicted=v) for i, v in enumerate(values)]))
    figures = {
        "time_period_hours": 1,
        "total_predictions": 3,
        "average_latency_seconds": pytest.approx(0.002),
        "average_prediction": 300,
        "smallest_prediction": 100,
        "largest_prediction": 600,
        "predictions_per_hour": 3,
        "by_version": [of_version(None, 3, 0)],
    }
    assert summarise(log, default_measure(spec), 1) == figures
    log.label(LabelledPrediction("a", 0, 100, 130), at=now)
    log.label(LabelledPrediction("a", 1, 200, 190), at=now)
    assert summarise(log, default_measure(spec), 1) == {
        **figures,
        "labeled_predictions": 2,
        "mean_absolute_error": 20,
        "root_mean_squared_error": pytest.approx(500**0.5),
        "measure": "r2",
        "score": pytest.approx(1 - 1000 / 1800),
    }


def test_a_regression_without_predictions_has_no_means() -> None:
    spec = ModelSpec("rent", (Number("area", "m²", 0, 500),), Quantity("rent", "EUR"))
    summary = summarise(FakePredictionLog(), default_measure(spec), 1)
    assert summary["total_predictions"] == 0
    assert summary["average_prediction"] is None
    assert summary["smallest_prediction"] is summary["largest_prediction"] is None
