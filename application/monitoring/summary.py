"""A summary of the last hours of a service."""

from __future__ import annotations

import time
from typing import Any

from application.monitoring.estimation import LIVE_ROWS, UNSEEN, QualityEstimator
from application.monitoring.feedback import live_quality, live_score
from application.monitoring.quality import VersionQuality, recent_quality_of
from application.ports.prediction_log import PredictionStatistics
from domain.evaluation.measures import Measure
from domain.evaluation.metrics import ClassificationReport


def summarise(
    log: PredictionStatistics,
    measure: Measure,
    hours: float,
    estimator: QualityEstimator | None = None,
) -> dict[str, Any]:
    """Totals over all workers from the prediction log, with the quality if there are labels.

    Averages and extremes are None without predictions. Precision, recall and F1 are macro averages.
    Labels count when they arrive; those of a version, if their prediction is of these hours. What
    is estimated without labels is about the estimator's version.
    """
    spec, since = measure.spec, time.time() - hours * 3600
    traffic = log.traffic(since)
    summary: dict[str, Any] = {
        "time_period_hours": hours,
        "total_predictions": traffic.predictions,
        "average_latency_seconds": traffic.mean_latency,
        "predictions_per_hour": traffic.predictions / hours,
        "by_version": [
            _of_version(measure, recent_quality_of(log, measure, each, since))
            for each in log.versions(since)
        ],
    }
    if estimator:
        summary["estimated"] = _estimated(estimator, since)
    if spec.classes:
        counts = log.by_class(since)
        summary["average_confidence"] = traffic.mean_confidence
        summary["class_distribution"] = {
            name: counts.get(code, 0) for code, name in enumerate(spec.classes)
        }
        report = live_quality(log, spec, since)
        if report:
            summary |= quality_of_classes(report)
        return summary | _score(log, measure, since)
    summary["average_prediction"] = traffic.mean_predicted
    summary["smallest_prediction"] = traffic.smallest_predicted
    summary["largest_prediction"] = traffic.largest_predicted
    errors = log.errors(since)
    if errors:
        summary["mean_absolute_error"] = errors.mean_absolute_error
        summary["root_mean_squared_error"] = errors.root_mean_squared_error
        summary["labeled_predictions"] = errors.labelled
    return summary | _score(log, measure, since)


def _of_version(measure: Measure, found: VersionQuality) -> dict[str, Any]:
    """What one version predicted, and its score, or the reason why it is missing."""
    score: dict[str, Any] = {"reason": found.reason}
    if found.score is not None:
        score = {
            "measure": measure.name,
            "score": found.score,
            "score_interval": found.interval,
            "scored_predictions": found.scored,
        }
    return {
        "version": found.version,
        "total_predictions": found.predictions,
        "labeled_predictions": found.labelled,
        "label_coverage": found.coverage,
        **score,
    }


def quality_of_classes(report: ClassificationReport) -> dict[str, float]:
    """The quality of a classifier as summaries show it."""
    return {
        "accuracy": report.accuracy,
        "precision": report.macro("precision"),
        "recall": report.macro("recall"),
        "f1_score": report.macro("f1"),
        "labeled_predictions": report.rows,
    }


def _estimated(estimator: QualityEstimator, since: float) -> dict[str, Any]:
    """The quality that the latest predictions of the estimator's version probably have."""
    found = {
        name: (
            {"reason": each.reason, "rows": each.rows}
            if each.score is None
            else {"score": each.score, "interval": each.interval, "rows": each.rows}
        )
        for name, each in estimator.estimates(since, rows=LIVE_ROWS).items()
    }
    return {"version": estimator.version, "measures": found, "cannot_see": UNSEEN}


def _score(log: PredictionStatistics, measure: Measure, since: float) -> dict[str, str | float]:
    """The score of the chosen measure, if there are enough labels."""
    score = live_score(log, measure, since)
    return {} if score is None else {"measure": measure.name, "score": score}
