"""Champion and challenger on the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest, t

from domain.contract import ModelSpec
from domain.evaluation.metrics import losses

_Z_LEVEL = 1.644854  # 5 % on one side
_Z_POWER = 0.841621  # 80 %
_RESAMPLES = 2000
_CELLS = 100_000  # of resamples that are drawn at once; they fit a cache
_LEAST_SPREAD = 0.25  # of a resample, in parts of the sample's


@dataclass(frozen=True)
class Comparison:
    """Losses of two models on the same rows.

    Attributes:
        rows: number of rows.
        champion: its mean loss.
        challenger: its mean loss.
        low: lower limit of the 90 % interval of `difference`; 95 % certain on this side alone.
        high: its upper limit.
        won: rows that only the challenger has right; None for a quantity.
        lost: rows that only the champion has right; None for a quantity.
        p: of the exact two-sided McNemar test; None for a quantity.
        identical: whether every answer is the same.
    """

    rows: int
    champion: float
    challenger: float
    low: float
    high: float
    won: int | None
    lost: int | None
    p: float | None
    identical: bool

    def __str__(self) -> str:
        told = (
            f"mean loss {self.challenger:.3f}, the champion's {self.champion:.3f}, on {self.rows} "
            f"rows; better by {self.difference:+.3f} "
            f"(90 % interval {self.low:+.3f} to {self.high:+.3f})"
        )
        if self.p is None:
            return told
        return f"{told}; alone right in {self.won}, the champion in {self.lost} (p = {self.p:.2g})"

    @property
    def difference(self) -> float:
        """Mean loss of the champion − that of the challenger: positive where that is better."""
        return self.champion - self.challenger

    def rows_needed(self, margin: float) -> float:
        """Rows on which `low` would probably (80 %) lie above −margin.

        For models that disagree as often, or whose losses spread as much, as here; the challenger
        as good as the champion, or worse by the difference seen here. Infinite where no number of
        rows would do.

        References:
            J. P. Liu et al., "Tests for equivalence or non-inferiority for paired binary data",
            2002.
        """
        room = margin + min(self.difference, 0.0)
        if not (room > 0 and np.isfinite(self.low)):
            return inf
        if self.won is None or self.lost is None:
            width = (self.difference - self.low) * sqrt(self.rows)
            return (width * (1 + _Z_POWER / _Z_LEVEL) / room) ** 2
        at_margin = sqrt(_variance(self.won, self.lost, self.rows, -margin))
        seen = sqrt((self.won + self.lost) / self.rows - self.difference**2)
        return ((_Z_LEVEL * at_margin + _Z_POWER * seen) / room) ** 2


def compare(
    spec: ModelSpec, champion: np.ndarray, challenger: np.ndarray, actual: np.ndarray
) -> Comparison:
    """Compare answers of shape (n_rows, n_answers) each, to one row or more.

    Classes: Tango's score interval, which is McNemar's test made to hold for a margin, and the
    exact McNemar test. A quantity: a bootstrap of the mean difference of `losses` over rows.

    Args:
        actual: class numbers or values, shape (n_rows,).
    """
    previous, new = losses(spec, champion, actual), losses(spec, challenger, actual)
    rows, means = len(actual), (float(previous.mean()), float(new.mean()))
    identical = bool((champion == challenger).all())
    if not spec.classes:
        return Comparison(rows, *means, *_interval(previous, new), None, None, None, identical)
    won, lost = int((previous > new).sum()), int((new > previous).sum())
    p = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
    return Comparison(rows, *means, *tango_interval(won, lost, rows), won, lost, p, identical)


def tango_interval(won: int, lost: int, rows: int, z: float = _Z_LEVEL) -> tuple[float, float]:
    """Score interval of (won − lost) ÷ rows, a difference of paired proportions.

    Args:
        z: 1.645 gives 90 %, 1.96 gives 95 %.

    References:
        T. Tango, "Equivalence test and confidence interval for the difference in proportions for
        the paired-sample design", 1998.

    >>> [round(limit, 3) for limit in tango_interval(0, 1, 44)]
    [-0.096, 0.037]
    """

    def score(difference: float) -> float:
        above = won - lost - rows * difference
        variance = rows * _variance(won, lost, rows, difference)
        return above / sqrt(variance) if variance > 0 else 0.0

    seen, end = (won - lost) / rows, 1 - 1e-12
    low = -1.0 if seen == -1 else brentq(lambda difference: score(difference) - z, -end, seen)
    high = 1.0 if seen == 1 else brentq(lambda difference: score(difference) + z, seen, end)
    return float(low), float(high)


def _variance(won: int, lost: int, rows: int, difference: float) -> float:
    """Variance of a row's (won − lost), most likely if the true difference were this."""
    linear = (2 * rows - won + lost) * difference - won - lost
    constant = -lost * difference * (1 - difference)
    share_lost = (sqrt(max(0.0, linear**2 - 8 * rows * constant)) - linear) / (4 * rows)
    return max(0.0, 2 * share_lost + difference * (1 - difference))


def _interval(champion: np.ndarray, challenger: np.ndarray) -> tuple[float, float]:
    """90 % interval of the mean of champion − challenger: bootstrap-t with a fixed seed.

    A limit is never nearer than Student's. An infinite loss of the challenger gives −∞ to −∞, one
    of the champion alone ∞ to ∞, and one row −∞ to ∞.

    References:
        B. Efron and R. Tibshirani, "An introduction to the bootstrap", 1993, chapter 12.5.
    """
    if not np.isfinite(challenger).all():
        return -inf, -inf
    if not np.isfinite(champion).all():
        return inf, inf
    rows, differences = len(champion), champion - challenger
    mean, spread = float(differences.mean()), float(differences.std())
    if rows == 1:
        return -inf, inf
    if spread == 0:
        return mean, mean
    rng, centred = np.random.default_rng(0), differences - mean
    at_once = max(1, _CELLS // rows)
    scores = []
    for start in range(0, _RESAMPLES, at_once):
        size = min(at_once, _RESAMPLES - start), rows
        drawn = centred.take(rng.integers(rows, size=size))
        means = drawn.mean(axis=1)
        variances = np.einsum("ij,ij->i", drawn, drawn) / rows - means**2
        # where few rows differ, a resample may hold hardly any of them
        scores.append(means / np.sqrt(np.maximum(variances, (_LEAST_SPREAD * spread) ** 2)))
    below, above = np.quantile(np.concatenate(scores), [0.05, 0.95])
    student = t.ppf(0.95, rows - 1) / sqrt(rows - 1)
    return (
        float(mean - max(above, student) * spread),
        float(mean + max(-below, student) * spread),
    )
