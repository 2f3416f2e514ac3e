"""What a service did in the last hours."""

from __future__ import annotations

import time
from typing import Any

from application.monitoring.feedback import live_quality
from application.ports import PredictionLog
from domain.models.contract import ModelSpec


def summarise(log: PredictionLog, spec: ModelSpec, hours: float) -> dict[str, Any]:
    """Totals of all workers, by the prediction log; quality too where there are labels.

    Averages are None where nothing was predicted.
    """
    since = time.time() - hours * 3600
    traffic = log.traffic(since)
    summary: dict[str, Any] = {
        "time_period_hours": hours,
        "total_predictions": traffic.predictions,
        "average_confidence": traffic.mean_confidence,
        "average_latency_seconds": traffic.mean_latency,
        "class_distribution": {
            name: traffic.by_class.get(code, 0) for code, name in enumerate(spec.classes)
        },
        "predictions_per_hour": traffic.predictions / hours,
    }
    report = live_quality(log, spec, since)
    if report:
        summary |= {**report.to_dict(), "labeled_predictions": report.rows}
    return summary
