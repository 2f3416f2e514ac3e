"""How far recent inputs and predictions have drifted from those in training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from application.ports.metrics import DriftMetrics
from application.ports.prediction_log import RecentPredictions
from domain.contract import ModelSpec
from domain.monitoring.drift import population_stability_index, watched_profiles
from domain.monitoring.evidence import LEVEL, DriftEvidence, alarms, p_value

WINDOW = 1_000
FEWEST = 200  # with fewer, even rows drawn from the training data score above 0.1
ROWS_PER_BIN = 20  # as many as FEWEST gives each of ten bins; many categories need more rows
_BATCHES = 256  # that one check adds to the evidence


class DriftWatch:
    """Scores the drift of the latest rows in the prediction log, which all workers share, and
    collects evidence of drift from all rows of this version.

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
        self._width = len(spec.monitored_names)
        self._log = log
        self._metrics = metrics

    def check(self) -> None:
        """Score the latest rows, and add what is new to the evidence.

        If there are too few rows, the scores stay as they are.
        """
        self._score()
        self._add_evidence()

    def _score(self) -> None:
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

    def _add_evidence(self) -> None:
        previous, state = self._log.drift_state()
        evidence = DriftEvidence(self._profiles)
        if state is not None:
            evidence.restored(json.loads(state))
        number, batches = self._log.batches_after(previous, _BATCHES)
        for batch in batches:
            if batch.inputs.shape[1] == self._width:
                evidence.add(np.column_stack([batch.inputs, batch.predicted]))
        if batches:
            state = json.dumps(evidence.to_dict())
            if not self._log.save_drift_state(previous, number, state):
                return  # another worker has added these rows
        logs = evidence.logs()
        self._metrics.set_drift_evidence(
            evidence.rows,
            {
                reference: {name: p_value(value) for name, value in found.items()}
                for reference, found in logs.items()
            },
            {reference: alarms(found, LEVEL / len(logs)) for reference, found in logs.items()},
        )
