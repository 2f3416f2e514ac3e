"""Quality of predictions that have no labels, estimated from their calibrated probabilities."""

from __future__ import annotations

import time
from collections.abc import Iterable

from application.monitoring.feedback import QUALITY_HOURS
from application.ports.metrics import QualityMetrics
from application.ports.prediction_log import PredictionStatistics
from domain.evaluation.estimation import Estimate, IsotonicCalibration, estimable, estimate
from domain.evaluation.measures import Measure

UNSEEN = "changed relations between inputs and classes (concept drift), rows unlike the hold-out"
"""What an estimate cannot see."""
ROWS = 100_000
LIVE_ROWS = 10_000  # of summaries and metrics


class QualityEstimator:
    """Estimates the quality of the latest predictions of one version.

    Args:
        measure: the chosen one, with the contract of the version.
        calibration: of the version.
        version: None for all predictions in the log.
    """

    def __init__(
        self,
        log: PredictionStatistics,
        measure: Measure,
        calibration: IsotonicCalibration,
        version: str | None = None,
    ) -> None:
        self.version = version
        self._log, self._measure, self._calibration = log, measure, calibration

    def estimates(
        self, since: float, until: float | None = None, rows: int = ROWS
    ) -> dict[str, Estimate]:
        """Estimates of a period by the name of the measure: accuracy, and of two classes also the
        area under the ROC curve. Of other models, why the chosen measure cannot be estimated."""
        spec = self._measure.spec
        return self._of(estimable(spec) or [self._measure], since, until, rows)

    def estimate(self, since: float, until: float | None = None, rows: int = ROWS) -> Estimate:
        """Estimate of the chosen measure for a period, or why it cannot be estimated."""
        return self._of([self._measure], since, until, rows)[self._measure.name]

    def update(self, metrics: QualityMetrics) -> None:
        """Set what can be estimated of the last 24 hours."""
        since = time.time() - QUALITY_HOURS * 3600
        for name, found in self.estimates(since, rows=LIVE_ROWS).items():
            if found.score is not None:
                metrics.set_estimated_score(name, found.score, found.interval)

    def _of(
        self, measures: Iterable[Measure], since: float, until: float | None, rows: int
    ) -> dict[str, Estimate]:
        spec, calibration = self._measure.spec, self._calibration
        made = self._log.confidences(since, rows if spec.classes else 0, until, self.version)
        counts = calibration.count(spec, made[:, 0], made[:, 1])
        return {each.name: estimate(calibration, each, counts) for each in measures}
