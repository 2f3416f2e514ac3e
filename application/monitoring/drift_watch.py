"""How far recent inputs and answers have moved from those of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from application.ports.metrics import DriftMetrics
from application.ports.prediction_log import RecentPredictions
from domain.contract import ModelSpec
from domain.monitoring.drift import population_stability_index, watched_profiles

WINDOW = 1_000
FEWEST = 200  # with fewer, rows drawn from the training data themselves score above 0.1
ROWS_A_BIN = 20  # as many as FEWEST gives each of ten bins; many categories need more rows


class DriftWatch:
    """Scores inputs and answers by the latest rows in the prediction log, of all workers.

    Args:
        profiles: reference profiles as plain data, by the contract's `monitored_names`, and that of
            the answers as ``prediction``; what has none is not watched.
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

    def look(self) -> None:
        """Score the latest rows; too few say nothing and leave the score as it is."""
        inputs, answers = self._log.recent(WINDOW)
        if len(inputs) < FEWEST:
            return
        columns = np.column_stack([inputs, answers])
        self._metrics.set_drift(
            {
                name: population_stability_index(profile, columns[:, column])
                for name, (column, profile) in self._profiles.items()
                if len(columns) >= min(WINDOW, ROWS_A_BIN * len(profile.shares))
            }
        )
