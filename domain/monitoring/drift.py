"""Population stability index: how far a variable has moved from its reference profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from domain.contract import Category, ModelSpec
from domain.monitoring.profile import Profile

ANSWER = "prediction"


def population_stability_index(profile: Profile, values: np.ndarray) -> float:
    """PSI of `values`, shape (n_rows,), against the profile; 0 where nothing moved.

    By custom, below 0.1 is stable and above 0.25 has moved. On both sides half a row is added to
    each bin, so that an empty bin gives a finite score, and one that stays empty gives none.

    References:
        N. Siddiqi, "Credit Risk Scorecards", 2006.

    >>> profile = Profile.of(np.arange(100.0))
    >>> population_stability_index(profile, np.arange(100.0)) < 0.001
    True
    >>> population_stability_index(profile, np.arange(100.0) + 50) > 0.25
    True
    """
    total = len(values) + 0.5 * len(profile.shares)
    current = (profile.count(values) + 0.5) / total
    reference = (profile.shares * len(values) + 0.5) / total
    return float(((current - reference) * np.log(current / reference)).sum())


def watched_profiles(
    spec: ModelSpec, profiles: Mapping[str, Any]
) -> dict[str, tuple[int, Profile]]:
    """Column and profile of what is watched, by name.

    The columns are the contract's `monitored_names`, and then the answers, as ``prediction``; an
    input that is itself called so has the name. What has no profile is not watched.

    Args:
        profiles: ``profile.json`` of a package.
    """
    names = spec.monitored_names
    names = names if ANSWER in names else (*names, ANSWER)
    return {
        name: (column, Profile.from_dict(profiles[name]))
        for column, name in enumerate(names)
        if name in profiles
    }


def drift_between(
    profiles: Mapping[str, Any], spec: ModelSpec, encoded: np.ndarray, answers: np.ndarray
) -> dict[str, float]:
    """PSI of rows and of their answers against the profiles of another package, by name.

    What only one of the two watches is left out, and so are words where the other package has more
    or fewer of them: their numbers mean other words.

    Args:
        profiles: ``profile.json`` of the other package.
        spec: the contract of the rows.
        encoded: rows as the model gets them, shape (n_rows, width).
        answers: answers to them, shape (n_rows, n_answers).
    """
    words = {item.name: len(item.categories) for item in spec.inputs if isinstance(item, Category)}
    if spec.classes and ANSWER not in spec.monitored_names:
        words[ANSWER] = len(spec.classes)
    answered = answers.argmax(axis=1) if spec.classes else answers[:, 0]
    columns = np.column_stack([spec.monitored(encoded), answered])
    return {
        name: population_stability_index(profile, columns[:, column])
        for name, (column, profile) in watched_profiles(spec, profiles).items()
        if len(profile.edges) + 1 == words.get(name, len(profile.edges) + 1)
    }
