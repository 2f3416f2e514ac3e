"""Live quality of each version, and labels that do not represent the others."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from application.monitoring.quality import (
    Difference,
    VersionQuality,
    quality_of,
    recent_quality_of,
)
from application.ports.prediction_log import LabelledPrediction, LoggedPrediction
from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.evaluation.intervals import score_interval, wilson_interval
from domain.evaluation.measures import Measure, default_measure
from tests.fakes import FakePredictionLog, batch_of

AGE = (Number("age", "", 0, 120),)
CHURN = ModelSpec("churn", AGE, Classes(("no", "yes"), "churned"))
RENT = ModelSpec("rent", AGE, Quantity("rent", "EUR"))


def log_of(
    predicted: list[float], actual: list[float | None], confidence: float | None = 0.75
) -> FakePredictionLog:
    """Version 1 made predictions at 0, 1, 2, … seconds, labelled where `actual` is given."""
    log = FakePredictionLog()
    for at, (value, label) in enumerate(zip(predicted, actual, strict=True)):
        entry = LoggedPrediction(f"r{at}", 0, at, 1, [0.0], value, confidence, 0.5, "1")
        log.add(batch_of(entry))
        if label is not None:
            labelled = LabelledPrediction(f"r{at}", 0, value, label, confidence, "1", at)
            log.label(labelled, at=1000.0)
    return log


def quality(
    log: FakePredictionLog, measure: Measure, since: float = 0, until: float | None = None
) -> VersionQuality:
    """Quality of the only version."""
    (traffic,) = log.versions(since, until)
    return quality_of(log, measure, traffic, since, until)


def test_the_score_is_of_the_labelled_predictions_with_its_interval() -> None:
    log = log_of([0, 1] * 50, [0, 1] * 20 + [1, 1] * 5 + [None] * 50)
    found = quality(log, default_measure(CHURN))
    assert found == VersionQuality("1", 100, 50, 50, 0.9, wilson_interval(45, 50))
    assert found.coverage == 0.5


def test_a_quick_score_is_of_the_latest_labelled_predictions_without_differences() -> None:
    log = log_of([0] * 2100 + [1] * 100, [1.0] * 100 + [0.0] * 2000 + [None] * 100)
    measure = default_measure(CHURN)
    (traffic,) = log.versions(0)
    assert quality(log, measure).differences
    found = recent_quality_of(log, measure, traffic, 0)
    assert found == VersionQuality("1", 2200, 2100, 2000, 1.0, wilson_interval(2000, 2000))
    log, measure = log_of([0, 1] * 50, [0, 1, 1, 1] * 25), Measure(CHURN, "f1_macro")
    (traffic,) = log.versions(0)
    quick, full = recent_quality_of(log, measure, traffic, 0), quality(log, measure)
    assert (quick.score, quick.scored) == (full.score, full.scored)
    assert quick.interval == pytest.approx(full.interval, abs=0.05)


@pytest.mark.parametrize("labels", [0, 29])
def test_a_quick_score_needs_as_many_labels(labels: int) -> None:
    log = log_of([0] * 40, [0.0] * labels + [None] * (40 - labels))
    (traffic,) = log.versions(0)
    found = recent_quality_of(log, default_measure(CHURN), traffic, 0)
    assert found == quality(log, default_measure(CHURN))
    assert found.score is None and "too few" in found.reason


def test_the_period_is_that_of_the_predictions() -> None:
    log = log_of([0] * 100, [0] * 40 + [1] * 60)
    found = quality(log, default_measure(CHURN), since=20, until=60)
    assert (found.predictions, found.labelled, found.score) == (40, 40, 0.5)


def test_a_measure_of_probabilities_uses_the_confidence() -> None:
    log = log_of([0, 1] * 50, [0, 1, 1, 1] * 25)
    measure = Measure(CHURN, "neg_brier_score")
    found = quality(log, measure)
    assert found.score == pytest.approx(-(0.75 * 0.25**2 + 0.25 * 0.75**2))
    probabilities = np.array([[0.75, 0.25], [0.25, 0.75]] * 50)
    expected = score_interval(measure, np.array([0, 1, 1, 1] * 25)[::-1], probabilities[::-1])
    assert found.interval == pytest.approx(expected)


def test_a_regression_has_its_own_measure() -> None:
    log = log_of([float(n) for n in range(60)], [n + 1.0 for n in range(60)], confidence=None)
    found = quality(log, Measure(RENT, "neg_mean_absolute_error"))
    assert found.score == -1
    assert found.interval == (-1, -1)


@pytest.mark.parametrize(("labels", "has_score"), [(29, False), (30, True)])
def test_few_labels_are_too_few_to_say(labels: int, has_score: bool) -> None:
    found = quality(log_of([0] * 40, [0] * labels + [None] * (40 - labels)), default_measure(CHURN))
    assert (found.score is not None) == has_score
    assert found.reason == ("" if has_score else "too few to say: 29 labels, 30 are needed")
    assert found.labelled == labels


def test_a_score_that_is_not_defined_says_so() -> None:
    found = quality(log_of([0, 1] * 20, [1] * 40), Measure(CHURN, "roc_auc"))
    assert found.score is None
    assert found.reason == "roc_auc is not defined for these labels"


def test_predictions_without_a_version_have_no_score() -> None:
    log = log_of([0] * 40, [0] * 40)
    (traffic,) = log.versions(0)
    found = quality_of(log, default_measure(CHURN), replace(traffic, version=None), 0)
    assert found.reason == "these predictions were logged without a version"


def test_classes_of_a_lost_contract_have_no_score() -> None:
    found = quality(log_of([2] * 40, [0] * 40), default_measure(CHURN))
    assert found.reason == "its classes are unknown: the package of the version is gone"


def test_labels_of_chosen_classes_are_reported() -> None:
    predicted = [1.0] * 40 + [0.0] * 60 + [1.0] * 110 + [0.0] * 790
    found = quality(log_of(predicted, [0] * 100 + [None] * 900), default_measure(CHURN))
    error = math.sqrt(0.15 * 0.85 / 100 * 900 / 999)
    p_value = 2 * math.erfc(0.25 / error / math.sqrt(2))
    assert {each.what: each for each in found.differences} == {
        "share predicted as 'no'": Difference(
            "share predicted as 'no'", 0.6, pytest.approx(790 / 900), pytest.approx(p_value)
        ),
        "share predicted as 'yes'": Difference(
            "share predicted as 'yes'", 0.4, pytest.approx(110 / 900), pytest.approx(p_value)
        ),
    }


def test_labels_of_high_values_are_reported() -> None:
    predicted = [float(n) for n in range(200)]
    actual = [float(n) if n >= 150 else None for n in range(200)]
    (found,) = quality(log_of(predicted, actual, None), default_measure(RENT)).differences
    assert (found.what, found.labelled, found.others) == ("mean prediction", 174.5, 74.5)
    assert found.p_value < 1e-9


def test_random_labels_differ_in_at_most_about_one_of_a_hundred_logs() -> None:
    rng = np.random.default_rng(0)
    measure, alarms = default_measure(CHURN), 0
    for _ in range(200):
        predicted = (rng.random(300) < 0.3).astype(float).tolist()
        chosen = rng.permutation(300) < 100
        log = log_of(predicted, [0 if each else None for each in chosen])
        alarms += bool(quality(log, measure).differences)
    assert alarms <= 6


def test_if_all_predictions_are_labelled_none_differ() -> None:
    assert not quality(log_of([0, 1] * 30, [0, 1] * 30), default_measure(CHURN)).differences
