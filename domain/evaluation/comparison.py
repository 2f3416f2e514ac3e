"""Comparison of champion and challenger on the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest, t

from domain.contract import ModelSpec
from domain.evaluation.metrics import losses

_Z_LEVEL = 1.644854  # 5 %, one-sided
_Z_POWER = 0.841621  # 80 %
_RESAMPLES = 2000
_CELLS = 100_000  # of resamples that are drawn at once, so that they fit the CPU cache
_LEAST_SPREAD = 0.25  # of a resample, as a fraction of the sample's


@dataclass(frozen=True)
class Comparison:
    """Losses of two models on the same rows.

    Attributes:
        rows: number of rows.
        champion: mean loss of the champion.
        challenger: mean loss of the challenger.
        low: lower limit of the 90 % interval of `difference`, which is a one-sided 95 % limit.
        high: its upper limit.
        won: rows that only the challenger predicts correctly; None for a quantity.
        lost: rows that only the champion predicts correctly; None for a quantity.
        p: of the exact two-sided McNemar test; None for a quantity.
        identical: whether all predictions and all losses are the same.
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
        text = (
            f"mean loss {self.challenger:.3f}, champion {self.champion:.3f}, {self.rows} rows; "
            f"loss reduction {_signed(self.difference)} ({self.outcome}), "
            f"90 % interval {_signed(self.low)} to {_signed(self.high)}"
        )
        if self.p is None:
            return text
        return (
            f"{text}; rows that only the challenger has right: {self.won}, only the champion: "
            f"{self.lost} (p = {self.p:.2g})"
        )

    @property
    def difference(self) -> float:
        """Loss reduction, champion − challenger: positive if the challenger is better."""
        return self.champion - self.challenger

    @property
    def outcome(self) -> str:
        """``better``, ``worse`` or ``equal``, to three decimals; ``unknown`` for NaN."""
        rounded = round(self.difference, 3)
        if np.isnan(rounded):
            return "unknown"
        return "better" if rounded > 0 else "worse" if rounded < 0 else "equal"

    def rows_needed(self, margin: float) -> float:
        """Number of rows with which `low` would lie above −margin with a probability of 80 %.

        Assumes that the models disagree as often, or their losses vary as much, as here, and that
        the challenger is as good as the champion, or worse by the difference measured here.
        Infinite if no number of rows is enough.

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
    spec: ModelSpec,
    champion: np.ndarray,
    challenger: np.ndarray,
    actual: np.ndarray,
    champion_spec: ModelSpec | None = None,
) -> Comparison:
    """Compare two sets of predictions for the same rows.

    Classes: Tango's score interval, which extends McNemar's test to a margin, and the exact McNemar
    test. A quantity: a bootstrap over rows of the mean difference of `losses`.

    Args:
        champion, challenger: predictions, shape (n_rows, n_columns) each, at least one row.
        actual: class numbers or values, shape (n_rows,).
        champion_spec: the champion's contract, if it decides by another threshold than `spec`.
    """
    previous, new = losses(champion_spec or spec, champion, actual), losses(
        spec, challenger, actual
    )
    rows, means = len(actual), (float(previous.mean()), float(new.mean()))
    same_losses = bool((previous == new).all())
    identical = same_losses and bool((champion == challenger).all())
    if not spec.classes:
        return Comparison(rows, *means, *_interval(previous, new), None, None, None, identical)
    won, lost = int((previous > new).sum()), int((new > previous).sum())
    p = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
    return Comparison(rows, *means, *tango_interval(won, lost, rows), won, lost, p, identical)


def tango_interval(won: int, lost: int, rows: int, z: float = _Z_LEVEL) -> tuple[float, float]:
    """Score interval of (won − lost) ÷ rows, the difference of two paired proportions.

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
    """Maximum-likelihood variance of a row's (won − lost) if this were the true difference."""
    linear = (2 * rows - won + lost) * difference - won - lost
    constant = -lost * difference * (1 - difference)
    share_lost = (sqrt(max(0.0, linear**2 - 8 * rows * constant)) - linear) / (4 * rows)
    return max(0.0, 2 * share_lost + difference * (1 - difference))


def _interval(champion: np.ndarray, challenger: np.ndarray) -> tuple[float, float]:
    """90 % interval of the mean of champion − challenger: bootstrap-t with a fixed seed.

    A limit is never closer to the mean than that of Student's t. An infinite loss of the challenger
    gives −∞ to −∞, one of the champion alone ∞ to ∞, and a single row −∞ to ∞.

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


def _signed(value: float) -> str:
    """A number with its sign and three decimals; with a minus sign, not a hyphen."""
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", "−")  # + 0.0: no negative zero
