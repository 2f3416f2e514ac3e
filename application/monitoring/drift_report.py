"""Drift of any period of the prediction log, read once and in constant memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from application.ports.prediction_log import PredictionBatch, PredictionReader
from domain.contract import Category, ModelSpec
from domain.monitoring.drift import (
    PREDICTION,
    importances_of_variables,
    index_of_counts,
    watched_profiles,
)
from domain.monitoring.profile import SEASONAL, Profile
from domain.monitoring.two_samples import adjusted, p_value_of_counts

MOST_PARTS = 30
FEWEST = 20  # rows of a part with an index
_LEVEL = 0.01


@dataclass(frozen=True)
class VariableDrift:
    """How one variable of a period differs from training.

    Attributes:
        bins: what each bin contains, in words.
        reference, current: share of the rows in each bin, shape (n_bins,).
        index: population stability index.
        p_value: of equal distributions, adjusted for the number of variables.
        by_part: the index of each part of the period, NaN with too few rows, shape (n_parts,).
        importance: of the input that it belongs to; None if unknown.
    """

    name: str
    bins: Sequence[str]
    reference: np.ndarray
    current: np.ndarray
    index: float
    p_value: float
    by_part: np.ndarray
    importance: float | None = None

    @property
    def drifts(self) -> bool:
        """Whether the difference is certain."""
        return self.p_value <= _LEVEL


@dataclass(frozen=True)
class DriftReport:
    """The drift of a period.

    Attributes:
        rows: number of rows.
        skipped: rows of other versions with another number of inputs.
        starts: time at which each part starts, seconds since the epoch, shape (n_parts,).
        variables: those that drift first, the most important first among those.
        unwatched: why a variable is not compared, by name.
    """

    rows: int
    skipped: int
    starts: np.ndarray
    variables: Sequence[VariableDrift]
    unwatched: Mapping[str, str]


def report_drift(
    log: PredictionReader,
    spec: ModelSpec,
    profiles: Mapping[str, Any],
    since: float,
    until: float,
    version: str | None = None,
    importances: Mapping[str, float] | None = None,
) -> DriftReport:
    """Compare the predictions of a period with the training rows.

    Args:
        profiles: ``profile.json`` of the package.
        since, until: seconds since the epoch; `until` is not part of the period.
        version: of the package; None for all versions.
        importances: of the inputs.
    """
    watched = watched_profiles(spec, profiles)
    starts = np.linspace(since, until, MOST_PARTS + 1)[:-1]
    counts = {
        name: np.zeros((len(starts), len(each.shares)), np.int64)
        for name, (_, each) in watched.items()
    }
    rows = skipped = 0
    for batch in log.read(since, until, version):
        times = np.repeat(batch.at, batch.rows)
        chosen = (times >= since) & (times < until)
        if batch.inputs.shape[1] != len(spec.monitored_names):
            skipped += int(chosen.sum())
            continue
        rows += int(chosen.sum())
        _count(batch, chosen, np.searchsorted(starts, times, side="right") - 1, watched, counts)
    important = importances_of_variables(spec, importances or {})
    found = {
        name: p_value_of_counts(np.round(each.shares * each.rows), counts[name].sum(axis=0))
        for name, (_, each) in watched.items()
    }
    p_values = adjusted(found)
    variables = [
        replace(
            _variable(name, profile, counts[name], p_values[name], bins_of(name, profile, spec)),
            importance=important.get(name),
        )
        for name, (_, profile) in watched.items()
        if rows
    ]
    variables.sort(key=_rank)
    return DriftReport(rows, skipped, starts, variables, _unwatched(spec, profiles))


def _rank(variable: VariableDrift) -> tuple[bool, float, float, float]:
    importance = -np.inf if variable.importance is None else variable.importance
    return not variable.drifts, -importance, variable.p_value, -variable.index


def _count(
    batch: PredictionBatch,
    chosen: np.ndarray,
    parts: np.ndarray,
    watched: Mapping[str, tuple[int, Profile]],
    counts: Mapping[str, np.ndarray],
) -> None:
    """Add the chosen rows of a batch to the counts of the parts that they are in."""
    columns = np.column_stack([batch.inputs, batch.predicted])
    for part in np.unique(parts[chosen]):
        some = columns[chosen & (parts == part)]
        for name, (column, profile) in watched.items():
            counts[name][part] += profile.count(some[:, column])


def _variable(
    name: str, profile: Profile, counts: np.ndarray, p_value: float, bins: Sequence[str]
) -> VariableDrift:
    total = counts.sum(axis=0)
    by_part = [
        index_of_counts(profile, part) if part.sum() >= FEWEST else np.nan for part in counts
    ]
    return VariableDrift(
        name,
        bins,
        profile.shares,
        total / max(1, total.sum()),
        index_of_counts(profile, total),
        p_value,
        np.array(by_part),
    )


def bins_of(name: str, profile: Profile, spec: ModelSpec) -> list[str]:
    """What each bin of a variable contains, in words."""
    item = dict(zip(spec.monitored_names, spec.monitored_inputs)).get(name)
    words = spec.classes if name == PREDICTION and item is None else ()
    if isinstance(item, Category):
        words = item.categories
    edges = [f"{edge:.4g}" for edge in profile.edges]
    bins = [
        f"to {edge}" if not low else f"{low} to {edge}" for low, edge in zip(["", *edges], edges)
    ]
    bins.append(f"above {edges[-1]}" if edges else "all")
    named = list(words) if len(words) == len(bins) else bins
    return [*named, "missing"] if profile.with_missing else named


def _unwatched(spec: ModelSpec, profiles: Mapping[str, Any]) -> dict[str, str]:
    reasons = {}
    logged = [item.logged for item in spec.monitored_inputs]
    for name, is_logged in zip((*spec.monitored_names, PREDICTION), (*logged, True)):
        if not is_logged:
            reasons[name] = "the prediction log leaves it out, as the contract says"
        elif name not in profiles:
            reasons[name] = "it has no profile: dates always move forward, and that is not drift"
        elif profiles[name].get(SEASONAL):
            reasons[name] = "it depends on time in training: a new season would look like drift"
        elif not profiles[name].get("rows"):
            reasons[name] = "the package does not say how many rows its profile has: train again"
    return reasons
