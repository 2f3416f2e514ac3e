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
from domain.monitoring.profile import Profile

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
        """Score the latest rows, add what is new to the evidence, and show whether the last
        retraining failed.

        If there are too few rows, the scores stay as they are.
        """
        self._score()
        self._add_evidence()
        self._metrics.set_retraining_failed(self._log.retraining_failed())

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
        evidence, _ = updated_evidence(self._log, self._profiles, self._width)
        if evidence is None:
            return  # another worker has added these rows
        logs = evidence.logs()
        self._metrics.set_drift_evidence(
            evidence.rows,
            {
                reference: {name: p_value(value) for name, value in found.items()}
                for reference, found in logs.items()
            },
            _alarms(logs),
        )


def updated_evidence(
    log: RecentPredictions, profiles: Mapping[str, tuple[int, Profile]], width: int
) -> tuple[DriftEvidence | None, bool]:
    """The evidence after the next rows of the log, which is kept there, and whether any were new.

    None if another process has meanwhile added these rows.

    Args:
        profiles: column and profile of each variable that is watched.
        width: number of monitored inputs; rows of another contract are left out.
    """
    previous, state = log.drift_state()
    evidence = DriftEvidence(profiles)
    if state is not None:
        evidence.restored(json.loads(state))
    number, batches = log.batches_after(previous, _BATCHES)
    for batch in batches:
        if batch.inputs.shape[1] == width:
            evidence.add(np.column_stack([batch.inputs, batch.predicted]))
    if batches:
        state = json.dumps(evidence.to_dict())
        if not log.save_drift_state(previous, number, state):
            return None, True
    return evidence, bool(batches)


def drifting_variables(
    spec: ModelSpec, profiles: Mapping[str, Any], log: RecentPredictions
) -> tuple[dict[str, list[str]], int]:
    """The variables with a drift alarm after all rows of the log, by what they are compared with,
    most evidence first; and the number of rows."""
    watched, more = watched_profiles(spec, profiles), True
    evidence: DriftEvidence | None = None
    while more or evidence is None:
        evidence, more = updated_evidence(log, watched, len(spec.monitored_names))
    return _alarms(evidence.logs()), evidence.rows


def _alarms(logs: Mapping[str, Mapping[str, float]]) -> dict[str, list[str]]:
    """The variables that drift, by what they are compared with, which share the level."""
    return {reference: alarms(found, LEVEL / len(logs)) for reference, found in logs.items()}
