"""How far recent inputs and predictions have drifted from those in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from application.ports.metrics import DriftMetrics
from application.ports.prediction_log import RecentPredictions
from domain.contract import ModelSpec
from domain.monitoring.drift import population_stability_index, watched_profiles

WINDOW = 1_000
FEWEST = 200  # with fewer, even rows drawn from the training data score above 0.1
ROWS_PER_BIN = 20  # as many as FEWEST gives each of ten bins; many categories need more rows


class DriftWatch:
    """Scores the drift of the latest rows in the prediction log, which all workers share.

    Args:
        profiles: reference profiles as plain data, by the contract's `monitored_names`, and that of
            the predictions as ``prediction``. Inputs without a profile are not monitored.
    """

    def __init__(
        self,
        spec: ModelSpec,
        profiles: Mapping[str, Any],
        log: RecentPredictions,
        metrics: DriftMetrics,
    ) -> None:
        self._profiles = watched_profiles(spec, profiles)
        self._log = log
        self._metrics = metrics

    def check(self) -> None:
        """Score the latest rows; if there are too few, the scores stay as they are."""
        inputs, predictions = self._log.recent(WINDOW)
        if len(inputs) < FEWEST:
            return
        columns = np.column_stack([inputs, predictions])
        self._metrics.set_drift(
            {
                name: population_stability_index(profile, columns[:, column])
                for name, (column, profile) in self._profiles.items()
                if len(columns) >= min(WINDOW, ROWS_PER_BIN * len(profile.shares))
            }
        )
