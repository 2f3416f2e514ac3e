"""Two versions that served side by side, compared on labels or on a measure of the business."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from application.monitoring.labels import LabelTable, find_predictions, keys_and_labels
from application.ports.prediction_log import BulkLabelStore, PredictionStatistics, VersionTraffic
from domain.contract import ModelSpec
from domain.errors import PredictionLogError
from domain.evaluation.sequential import Difference, compare_means

_MOST_ROWS = 10_000_000


@dataclass(frozen=True)
class Pair:
    """Two versions, and the period in which both made predictions.

    Attributes:
        since, until: seconds since the epoch; `until` is not part of the period.
    """

    old: str
    new: str
    since: float
    until: float


def choose_pair(
    made: list[VersionTraffic],
    old: str | None,
    new: str | None,
    until: float,
    canary: str | None = None,
) -> Pair:
    """The versions to compare: by default the one that began last, and of the others the one with
    the latest predictions.

    Args:
        made: the versions with predictions in the period, in which a chosen one must be.
        until: end of the period.
        canary: the version that runs as a canary, which is meant by default.

    Raises:
        PredictionLogError: fewer than two versions made predictions, or not at the same time.
    """
    known = {each.version: each for each in made if each.version}
    if new is None and canary not in (None, old, *known):
        raise PredictionLogError(
            f"the canary {canary} has no predictions in this period yet: send requests, or choose "
            "OLD and NEW"
        )
    for version in filter(None, (old, new)):
        if version not in known:
            raise PredictionLogError(
                f"no prediction of {version} in this period: choose another SINCE, or ENV"
            )
    others = [each for each in known.values() if each.version not in (old, new)]
    if new is None and others:
        new = max(others, key=lambda each: each.first).version
    others = [each for each in others if each.version != new]
    if old is None and others:
        old = max(others, key=lambda each: each.last).version
    if old is None or new is None:
        raise PredictionLogError(
            f"only {len(known)} version has predictions in this period: deploy another one with "
            "CANARY=10, or choose another SINCE"
        )
    both = known[old], known[new]
    since, last = max(each.first for each in both), min(each.last for each in both)
    if since > last:
        raise PredictionLogError(
            f"{old} and {new} did not serve at the same time: choose another OLD, NEW or SINCE, or "
            "deploy one of them with CANARY=10"
        )
    return Pair(old, new, since, min(until, np.nextafter(last, np.inf)))


def compare_labels(log: PredictionStatistics, spec: ModelSpec, pair: Pair) -> Difference:
    """Compare how often the versions are right, or their negative absolute errors."""

    def outcomes(version: str) -> np.ndarray:
        rows = log.labelled(pair.since, _MOST_ROWS, pair.until, version, by_prediction=True)
        predicted, actual = rows[:, 0], rows[:, 1]
        return (predicted == actual) * 1.0 if spec.classes else -np.abs(predicted - actual)

    return compare_means(outcomes(pair.old), outcomes(pair.new))


def compare_values(
    log: BulkLabelStore, spec: ModelSpec, table: LabelTable, pair: Pair
) -> tuple[Difference, int]:
    """Compare a measure of the business.

    Args:
        spec: a contract whose output is the measure.
        table: its value for each prediction; of several for one, the last counts.

    Returns:
        The difference of the means, and how many values belong to no prediction on record.

    Raises:
        InputError: a row of the table is invalid.
    """
    keys, numbers = keys_and_labels(spec, table)
    known = np.flatnonzero(~np.isnan(numbers)).tolist()
    values = {keys[row]: float(numbers[row]) for row in known}
    found: Mapping[Any, Any] = find_predictions(log, set(values)) if values else {}
    by_version: dict[str, list[float]] = {pair.old: [], pair.new: []}
    for key, row in found.items():
        if row.version in by_version and pair.since <= row.made < pair.until:
            by_version[row.version].append(values[key])
    old, new = (np.array(by_version[version], np.float64) for version in (pair.old, pair.new))
    return compare_means(old, new), len(values) - len(found)
