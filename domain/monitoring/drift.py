"""Population stability index: how far an input has moved from its reference profile."""

from __future__ import annotations

import numpy as np

from domain.monitoring.profile import InputProfile


def population_stability_index(profile: InputProfile, values: np.ndarray) -> float:
    """PSI of `values`, shape (n_rows,), against the profile; 0 where nothing moved.

    By custom, below 0.1 is stable and above 0.25 has moved. Half a row is added to each bin, so
    that an empty bin gives a finite score.

    References:
        N. Siddiqi, "Credit Risk Scorecards", 2006.

    >>> profile = InputProfile.of(np.arange(100.0))
    >>> population_stability_index(profile, np.arange(100.0)) < 0.001
    True
    >>> population_stability_index(profile, np.arange(100.0) + 50) > 0.25
    True
    """
    counts = profile.count(values) + 0.5
    current = counts / counts.sum()
    reference = np.maximum(profile.shares, 1e-6)
    return float(((current - reference) * np.log(current / reference)).sum())
