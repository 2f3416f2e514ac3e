"""Population stability index: how far a variable has moved from its reference profile."""

from __future__ import annotations

import numpy as np

from domain.monitoring.profile import Profile


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
