"""Gates on the uncertainty of a model."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest

from domain import gates
from domain.evaluation.calibration import Calibration, calibration_of
from domain.evaluation.metrics import RegressionReport, Score


def intervals_of(actual: np.ndarray, predictions: np.ndarray) -> RegressionReport:
    """The report of a quantity whose intervals should contain nine of ten values."""
    return RegressionReport(actual, predictions, 0.9, Score("r2", 0.5, (0.4, 0.6)))


def calibration_with(error: float, p: float) -> Calibration:
    """A calibration measured in two bins."""
    two = np.array([0.6, 0.9])
    return Calibration(error, p, two, two, np.array([20, 20]))


@pytest.mark.parametrize(
    ("error", "p", "accepted"),
    [
        (0.1, 0.0005, True),  # significant, not large
        (0.101, 0.0005, False),
        (0.101, 0.0099, False),
        (0.101, 0.01, True),  # large, not significant
        (0.0, 1.0, True),
        (nan, nan, False),
        (inf, nan, False),
    ],
)
def test_calibration_is_refused_if_its_error_is_large_and_significant(
    error: float, p: float, accepted: bool
) -> None:
    assert gates.calibration(calibration_with(error, p), 0.1).accepted is accepted


def test_calibration_shows_its_figures() -> None:
    verdict = gates.calibration(calibration_with(0.2, 0.001), 0.1)
    assert verdict.gate == "calibration"
    assert verdict.reason == (
        "expected calibration error 0.200 (tolerance 0.100), 40 rows in 2 bins; "
        "a calibrated model reaches it with p = 0.001"
    )
    assert verdict.figures == {"error": 0.2, "tolerance": 0.1, "p": 0.001}


def test_an_overconfident_classifier_is_refused() -> None:
    predictions, actual = np.tile([0.99, 0.01], (60, 1)), np.repeat([0, 1], [45, 15])
    assert not gates.calibration(calibration_of(predictions, actual), 0.1).accepted
    predictions = np.tile([0.75, 0.25], (60, 1))
    assert gates.calibration(calibration_of(predictions, actual), 0.1).accepted


@pytest.mark.parametrize(
    ("covered", "rows", "accepted"),
    [
        *((90, 100, True), (82, 100, True), (81, 100, False)),
        *((96, 100, True), (97, 100, False), (100, 100, False), (30, 30, True)),
        *((850, 1000, True), (849, 1000, False), (950, 1000, True), (951, 1000, False)),
    ],
)
def test_intervals_that_cover_significantly_too_few_or_too_many_values_are_refused(
    covered: int, rows: int, accepted: bool
) -> None:
    actual = np.array([0.0] * covered + [9.0] * (rows - covered))
    report = intervals_of(actual, np.tile([0.0, -1.0, 1.0], (rows, 1)))
    verdict = gates.interval_coverage(report, 0.05)
    assert verdict.accepted is accepted
    assert f"{covered} of {rows} true values in their interval" in verdict.reason
    assert "target 0.900 ± 0.050" in verdict.reason


def test_narrow_intervals_may_cover_every_value() -> None:
    actual = np.linspace(0, 1, 200)
    for width, accepted in ((0.01, True), (0.5, False)):
        limits = np.stack([actual, actual - width, actual + width], axis=1)
        report = intervals_of(actual, limits)
        assert gates.interval_coverage(report, 0.05).accepted is accepted


def test_coverage_shows_its_figures() -> None:
    report = intervals_of(np.arange(9.0), np.stack([np.arange(9.0)] * 3, axis=1))
    verdict = gates.interval_coverage(report, 0.05)
    assert verdict.gate == "interval_coverage"
    assert isinstance(verdict.accepted, bool)
    assert verdict.figures == {
        "covered": 1.0,
        "wanted": 0.9,
        "tolerance": 0.05,
        "p": pytest.approx(0.9**9),
    }
