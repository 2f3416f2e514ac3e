"""How far recent inputs have moved from the training data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from application.ports import MetricsSink, PredictionLog
from domain.monitoring.drift import population_stability_index
from domain.monitoring.profile import InputProfile

WINDOW = 1_000
FEWEST = 200  # with fewer, rows drawn from the training data themselves score above 0.1


class DriftWatch:
    """Scores each input by its latest rows in the prediction log, of all workers."""

    def __init__(
        self, profiles: Mapping[str, Any], log: PredictionLog, metrics: MetricsSink
    ) -> None:
        self._profiles = {name: InputProfile.from_dict(data) for name, data in profiles.items()}
        self._log = log
        self._metrics = metrics

    def look(self) -> None:
        """Score the latest rows; fewer than `FEWEST` say nothing and leave the score as it is."""
        rows = self._log.recent_inputs(WINDOW)
        if len(rows) < FEWEST:
            return
        self._metrics.set_drift(
            {
                name: population_stability_index(profile, rows[:, column])
                for column, (name, profile) in enumerate(self._profiles.items())
            }
        )
