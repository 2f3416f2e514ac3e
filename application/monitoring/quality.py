"""Live quality of each version by its labels, and whether those represent all predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from application.monitoring.feedback import FEWEST_LABELS, has_unknown_classes, scorable
from application.ports.prediction_log import PredictionStatistics, VersionTraffic
from domain.evaluation.intervals import score_interval
from domain.evaluation.measures import Measure

LEVEL = 0.01  # of the tests of all differences of a version together
_COMPARED_ROWS = 1_000_000
_SCORED_ROWS = 100_000
_RECENT_ROWS, _RECENT_RESAMPLES = 2_000, 200
_FEWEST_EXPECTED = 5  # rows of a class, for a normal approximation of their number
_NONE = np.empty((0, 3))
_Period = tuple[float, float | None, str | None]  # since, until, version


@dataclass(frozen=True)
class Difference:
    """How predictions with a label differ from those without one.

    Attributes:
        what: share of a predicted class, mean confidence or mean prediction.
        labelled, others: its value for predictions with and without a label.
        p_value: probability of a larger difference if labels were missing at random, times the
            number of differences that were tested.
    """

    what: str
    labelled: float
    others: float
    p_value: float


@dataclass(frozen=True)
class VersionQuality:
    """Quality of a version in a period.

    Attributes:
        predictions: number of rows that it predicted.
        labelled: how many of them have a label.
        scored: how many of those the score is of, the latest ones.
        score, interval: by the model's measure, with its 95 % interval; None without a score.
        reason: why the score is missing; empty if it is not.
        differences: certain ones, the most certain first.
    """

    version: str | None
    predictions: int
    labelled: int
    scored: int = 0
    score: float | None = None
    interval: tuple[float, float] | None = None
    reason: str = ""
    differences: tuple[Difference, ...] = ()

    @property
    def coverage(self) -> float:
        """Share of the predictions that have a label."""
        return self.labelled / self.predictions


def quality_of(
    log: PredictionStatistics,
    measure: Measure,
    traffic: VersionTraffic,
    since: float,
    until: float | None = None,
) -> VersionQuality:
    """Quality of one version on its predictions of a period that have a label by now.

    The score is that of the latest 100,000, the differences those of the latest 1,000,000.

    Args:
        measure: with the contract of this version.
        traffic: of the version in this period.
    """
    period = (since, until, traffic.version)
    found, labelled = _readable(log, measure, traffic, period, _COMPARED_ROWS)
    if found.reason:
        return found
    scored = _scored(found, measure, labelled[:_SCORED_ROWS])
    return replace(scored, differences=_differences(log, measure, labelled, period))


def recent_quality_of(
    log: PredictionStatistics, measure: Measure, traffic: VersionTraffic, since: float
) -> VersionQuality:
    """As `quality_of`, but in milliseconds: the score is that of the latest 2,000 predictions that
    have a label, and differences are not computed."""
    period = (since, None, traffic.version)
    found, labelled = _readable(log, measure, traffic, period, _RECENT_ROWS)
    return found if found.reason else _scored(found, measure, labelled, _RECENT_RESAMPLES)


def _readable(
    log: PredictionStatistics,
    measure: Measure,
    traffic: VersionTraffic,
    period: _Period,
    rows: int,
) -> tuple[VersionQuality, np.ndarray]:
    """The numbers of predictions and labels, with the reason if these cannot have a score; and the
    latest labelled rows if they can."""
    found = VersionQuality(traffic.version, traffic.predictions, traffic.labelled)
    if traffic.version is None:
        return replace(found, reason="these predictions were logged without a version"), _NONE
    if traffic.labelled < FEWEST_LABELS:
        reason = f"too few to say: {traffic.labelled} labels, {FEWEST_LABELS} are needed"
        return replace(found, reason=reason), _NONE
    since, until, version = period
    labelled = log.labelled(since, rows, until, version, by_prediction=True)
    if has_unknown_classes(measure.spec, labelled):
        reason = "its classes are unknown: the package of the version is gone"
        return replace(found, reason=reason), _NONE
    return found, labelled


def _scored(
    found: VersionQuality, measure: Measure, labelled: np.ndarray, *resamples: int
) -> VersionQuality:
    """With the score of labelled rows and its interval, or the reason why it is missing."""
    rows = scorable(measure, labelled)
    score = measure.score(*rows) if rows else np.nan
    if rows is None or np.isnan(score):
        return replace(found, reason=f"{measure.title} is not defined for these labels")
    low, high = score_interval(measure, *rows, *resamples)
    interval = None if np.isnan(low) else (low, high)
    return replace(found, scored=len(rows[0]), score=score, interval=interval)


def _differences(
    log: PredictionStatistics,
    measure: Measure,
    labelled: np.ndarray,
    period: _Period,
) -> tuple[Difference, ...]:
    """Certain differences between the labelled predictions and the others.

    Labelled rows are compared with what a simple random sample of all rows would show, by a normal
    approximation with the correction for a finite population.

    References:
        W. G. Cochran, "Sampling techniques", 3rd edition, 1977, chapters 2 and 3.
    """
    traffic = log.traffic(*period)
    total, rows = traffic.predictions, len(labelled)
    if rows >= total:
        return ()
    predicted, _, confidence = labelled.T
    tested: list[tuple[str, float, float, float]] = []  # labelled, all, variance of a row
    if measure.spec.classes:
        counts = log.by_class(*period)
        for code, name in enumerate(measure.spec.classes):
            share = counts.get(code, 0) / total
            if rows * min(share, 1 - share) >= _FEWEST_EXPECTED:
                found = float((predicted == code).mean())
                variance = share * (1 - share) * total / (total - 1)
                tested.append((f"share predicted as {name!r}", found, share, variance))
        if traffic.mean_confidence is not None and np.isfinite(confidence).all():
            mean, variance = float(confidence.mean()), float(confidence.var(ddof=1))
            tested.append(("mean confidence", mean, traffic.mean_confidence, variance))
    elif traffic.mean_predicted is not None:
        mean, variance = float(predicted.mean()), float(predicted.var(ddof=1))
        tested.append(("mean prediction", mean, traffic.mean_predicted, variance))
    differences = []
    for what, mean, overall, variance in tested:
        error = math.sqrt(variance / rows * (1 - rows / total))
        if error:
            p_value = math.erfc(abs(mean - overall) / error / math.sqrt(2)) * len(tested)
            others = (overall * total - mean * rows) / (total - rows)
            differences.append(Difference(what, mean, others, p_value))
    certain = [each for each in differences if each.p_value <= LEVEL]
    return tuple(sorted(certain, key=lambda each: each.p_value))
