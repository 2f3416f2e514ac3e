"""Compares two versions that serve side by side, by a test that may be looked at any time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, log, sqrt

import numpy as np

FEWEST = 100  # values of each version
_PER_SKEWNESS = 25  # times the squared skewness: values from which on a mean is close to normal
_EFFECT = 0.1  # standard deviations: the test is most sensitive to differences of this size


@dataclass(frozen=True)
class Difference:
    """The difference of two means, new − old.

    Attributes:
        old, new: the means.
        old_rows, new_rows: number of values.
        needed: number of values that each version needs.
        interval: contains the difference at every time with a probability of 1 − level; None with
            fewer values of a version than that.
        p_value: valid at any time; 1 without an interval.
    """

    old: float
    new: float
    old_rows: int
    new_rows: int
    needed: int = FEWEST
    interval: tuple[float, float] | None = None
    p_value: float = 1.0

    @property
    def difference(self) -> float:
        """New − old."""
        return self.new - self.old

    @property
    def is_certain(self) -> bool:
        """Whether the interval excludes 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


def compare_means(old: np.ndarray, new: np.ndarray, level: float = 0.05) -> Difference:
    """Compare the values of two versions, of which more arrive until the next look.

    The mixture sequential probability ratio test of a normal difference, whose alternatives are
    normal with a standard deviation of a tenth of the values'. Its error rate is approximate, as
    means are only close to normal. So each version needs the more values the more skewed they are:
    of rare events about 25 in as many rows. And a version's variance counts as at least that of all
    values: few values may happen to be equal.

    Args:
        old, new: values of each version, shape (n_old,) and (n_new,).
        level: probability of a false alarm, over all looks.

    References:
        R. Johari et al., "Always valid inference: continuous monitoring of A/B tests", 2022.
        W. G. Cochran, "Sampling techniques", 3rd edition, 1977, section 2.15 (skewness).
        I. Waudby-Smith et al., "Time-uniform central limit theory and asymptotic confidence
        sequences", 2024.
    """
    rows = len(old), len(new)
    means = [float(values.mean()) if len(values) else float("nan") for values in (old, new)]
    values = np.concatenate([old, new])
    needed = max(FEWEST, int(np.ceil(_PER_SKEWNESS * _skewness(values) ** 2)))
    found = Difference(means[0], means[1], *rows, needed)
    if min(rows) < needed:
        return found
    least = float(values.var(ddof=1))
    variances = [max(least, float(each.var(ddof=1))) for each in (old, new)]
    variance = variances[0] / rows[0] + variances[1] / rows[1]
    prior = _EFFECT**2 * (variances[0] + variances[1]) / 2
    if variance == 0:  # every value is the same
        return replace(found, interval=(0.0, 0.0))
    total = variance + prior
    spread = 2 * log(1 / level) + log(total / variance)
    width = sqrt(variance * total / prior * spread)
    evidence = found.difference**2 * prior / (2 * variance * total) - log(total / variance) / 2
    interval = (found.difference - width, found.difference + width)
    return replace(found, interval=interval, p_value=min(1.0, exp(-evidence)))


def _skewness(values: np.ndarray) -> float:
    """Third standardized moment; 0 for equal values."""
    centred = values - values.mean() if len(values) else values
    spread = float(np.sqrt((centred**2).mean())) if len(values) else 0.0
    return float((centred**3).mean()) / spread**3 if spread else 0.0
