"""Drift: how far a variable has moved from its reference profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from domain.contract import Category, ModelSpec
from domain.monitoring.evidence import varies_in_time
from domain.monitoring.profile import SEASONAL, Profile

PREDICTION = "prediction"


def population_stability_index(profile: Profile, values: np.ndarray) -> float:
    """Population stability index of `values`, shape (n_rows,), against the profile; 0 is no drift.

    By convention, below 0.1 is stable and above 0.25 is drift. Half a row is added to each bin on
    both sides, so that an empty bin has a finite score, and one that stays empty adds nothing.

    References:
        N. Siddiqi, "Credit Risk Scorecards", 2006.

    >>> profile = Profile.of(np.arange(100.0))
    >>> population_stability_index(profile, np.arange(100.0)) < 0.001
    True
    >>> population_stability_index(profile, np.arange(100.0) + 50) > 0.25
    True
    """
    return index_of_counts(profile, profile.count(values), len(values))


def index_of_counts(profile: Profile, counts: np.ndarray, rows: int | None = None) -> float:
    """Population stability index of so many rows in each bin, shape (n_bins,).

    Args:
        rows: number of rows; None for the sum of the counts, which lacks missing values without a
            bin.
    """
    rows = int(counts.sum()) if rows is None else rows
    total = rows + 0.5 * len(profile.shares)
    current = (counts + 0.5) / total
    reference = (profile.shares * rows + 0.5) / total
    return float(((current - reference) * np.log(current / reference)).sum())


def watched_profiles(
    spec: ModelSpec, profiles: Mapping[str, Any]
) -> dict[str, tuple[int, Profile]]:
    """Column and profile of each monitored variable, by name.

    The columns are the contract's `monitored_names`, followed by ``prediction``, unless an input
    has that name. Variables without a profile are left out, and those that depend on the season.

    Args:
        profiles: ``profile.json`` of a package.
    """
    names = spec.monitored_names
    names = names if PREDICTION in names else (*names, PREDICTION)
    return {
        name: (column, Profile.from_dict(profiles[name]))
        for column, name in enumerate(names)
        if name in profiles and not profiles[name].get(SEASONAL)
    }


def importances_of_variables(spec: ModelSpec, importances: Mapping[str, float]) -> dict[str, float]:
    """Importance of each monitored variable: that of its input; without those of unknown ones.

    Args:
        importances: by input.
    """
    variables = zip(spec.monitored_names, spec.monitored_inputs, strict=True)
    return {name: importances[item.name] for name, item in variables if item.name in importances}


def mark_seasonal(
    profiles: dict[str, Any], spec: ModelSpec, columns: np.ndarray, time: np.ndarray
) -> None:
    """Mark the profiles of variables whose distribution depends on time in training: what is new
    in production may only be the season, so that their drift is not watched.

    Args:
        profiles: as plain data, by name.
        columns: the monitored inputs and the predictions, shape (n_rows, n_monitored + 1).
        time: of each row, shape (n_rows,).
    """
    for name, (column, profile) in watched_profiles(spec, profiles).items():
        if varies_in_time(profile, columns[:, column], time):
            profiles[name][SEASONAL] = True


def drift_between(
    profiles: Mapping[str, Any], spec: ModelSpec, encoded: np.ndarray, predictions: np.ndarray
) -> dict[str, float]:
    """PSI of rows and of their predictions against the profiles of another package, by name.

    Variables that only one of the two monitors are left out, and so are categories of which the
    other package has another number: their codes mean other words.

    Args:
        profiles: ``profile.json`` of the other package.
        spec: the contract of the rows.
        encoded: encoded rows, shape (n_rows, width).
        predictions: for these rows, shape (n_rows, n_columns).
    """
    words = {item.name: len(item.categories) for item in spec.inputs if isinstance(item, Category)}
    if spec.classes and PREDICTION not in spec.monitored_names:
        words[PREDICTION] = len(spec.classes)
    columns = np.column_stack([spec.monitored(encoded), spec.decide(predictions)])
    return {
        name: population_stability_index(profile, columns[:, column])
        for name, (column, profile) in watched_profiles(spec, profiles).items()
        if len(profile.edges) + 1 == words.get(name, len(profile.edges) + 1)
    }
