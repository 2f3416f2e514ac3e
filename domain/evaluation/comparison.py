"""Comparison of champion and challenger on the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf, sqrt
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest, t

from domain.contract import Classes, ModelSpec
from domain.evaluation.intervals import auc_interval, is_auc, resamples, variance_of
from domain.evaluation.measures import Measure, format_score, placements, repeat, signed

_Z_LEVEL = 1.644854  # 5 %, one-sided
_Z_POWER = 0.841621  # 80 %
_RESAMPLES, _RESAMPLES_OF_SCORES = 2000, 400
_CELLS = 100_000  # of resamples that are drawn at once, so that they fit the CPU cache
_LEAST_SPREAD = 0.25  # of a resample, as a fraction of the sample's
MARGIN_SHARE = 0.25  # of the champion's gain over the baseline: the default margin
_LARGEST_SHARE = 0.5  # of this gain: the largest margin


@dataclass(frozen=True)
class Comparison:
    """Scores of two models on the same rows, by a measure of which higher is better.

    Attributes:
        measure: title of the measure.
        rows: number of rows.
        champion: score of the champion.
        challenger: score of the challenger.
        baseline: score of the best constant prediction.
        low: lower limit of the 90 % interval of `difference`, which is a one-sided 95 % limit.
        high: its upper limit.
        won: rows that only the challenger predicts correctly; None unless accuracy is the measure.
        lost: rows that only the champion predicts correctly; None unless accuracy is the measure.
        p: of the exact two-sided McNemar test; None unless accuracy is the measure.
        identical: whether all predictions are the same.
        relative_variance: variance of `difference` + a quarter of `gain`, as a multiple of that of
            `difference`.
    """

    measure: str
    rows: int
    champion: float
    challenger: float
    baseline: float
    low: float
    high: float
    won: int | None = None
    lost: int | None = None
    p: float | None = None
    identical: bool = False
    relative_variance: float = 1.0

    def __str__(self) -> str:
        before, after = map(format_score, (self.champion, self.challenger))
        text = (
            f"{self.measure} {after}, champion {before}, {self.rows} rows; "
            f"difference {signed(self.difference)} ({self.outcome}), "
            f"90 % interval {signed(self.low)} to {signed(self.high)}"
        )
        if self.p is None:
            return text
        return (
            f"{text}; rows that only the challenger has right: {self.won}, only the champion: "
            f"{self.lost} (two-sided p = {self.p:.2g})"
        )

    @property
    def difference(self) -> float:
        """Challenger − champion: positive if the challenger is better."""
        return self.challenger - self.champion

    @property
    def outcome(self) -> str:
        """``better``, ``worse`` or ``equal``, to three decimals; ``unknown`` for NaN."""
        rounded = round(self.difference, 3)
        if np.isnan(rounded):
            return "unknown"
        return "better" if rounded > 0 else "worse" if rounded < 0 else "equal"

    @property
    def gain(self) -> float:
        """What the champion gains over the baseline; 0 if it gains nothing."""
        gain = self.champion - self.baseline
        return gain if gain > 0 else 0.0

    @property
    def largest_margin(self) -> float:
        """The most that a configured margin counts."""
        return _LARGEST_SHARE * self.gain

    def margin(self, configured: float | None) -> float:
        """By how much the challenger may be worse.

        By default a quarter of what the champion gains over the baseline, less its uncertainty: by
        how much the interval of `difference` + a quarter of `gain` is wider than that of
        `difference`, as both are measured on the same rows. A configured margin counts up to half
        of the gain, so that a constant prediction never is good enough.

        Args:
            configured: in the unit of the measure; None for the default.

        References:
            M. Rothmann et al., "Design and analysis of non-inferiority mortality trials in
            oncology", 2003: tests that a share of an effect is retained.
        """
        if configured is not None:
            return min(configured, self.largest_margin)
        margin, width = MARGIN_SHARE * self.gain, self.difference - self.low
        if not np.isfinite(width) or self.relative_variance <= 1:
            return margin
        return max(0.0, margin - (sqrt(self.relative_variance) - 1) * width)

    def rows_needed(self, margin: float) -> float:
        """Number of rows with which `low` would lie above −margin with a probability of 80 %.

        Assumes that the models disagree as often, or their scores vary as much, as here, and that
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
    measure: Measure,
    champion: np.ndarray,
    challenger: np.ndarray,
    actual: np.ndarray,
    baseline: np.ndarray,
    champion_spec: ModelSpec | None = None,
) -> Comparison:
    """Compare two sets of predictions for the same rows.

    Accuracy has Tango's score interval, which extends McNemar's test to a margin, and the exact
    McNemar test. Measures with a loss of each row have a bootstrap-t of the mean difference, the
    area under the ROC curve of two classes has the interval of Zou and Yue, with DeLong's variances
    and Student's quantiles: with DeLong's own, up to 7 % of the challengers that are worse by the
    margin passed. Others have a bootstrap of the difference, stratified by class, which is never
    narrower than Student's interval with its standard error, and is widened by the bias that the
    resamples show: small samples flatter average precision, and with it what the champion gains.

    Args:
        champion, challenger: predictions, shape (n_rows, n_columns) each, at least one row.
        actual: class numbers or values, shape (n_rows,).
        baseline: the best constant prediction, shape (n_columns,).
        champion_spec: the champion's contract, which may decide by another threshold; None if it
            does not.

    References:
        E. R. DeLong et al., "Comparing the areas under two or more correlated receiver operating
        characteristic curves: a nonparametric approach", 1988.
        G. Y. Zou and L. Yue, "Using confidence intervals to compare several correlated areas under
        the receiver operating characteristic curves", 2013.
    """
    constant = repeat(baseline, len(actual))
    own = replace(measure, spec=_deciding_as(champion_spec or measure.spec, measure.spec))
    sides = [(own, champion), (measure, challenger), (measure, constant)]
    scores = tuple(side.score(actual, given) for side, given in sides)
    old_codes, new_codes = own.spec.decide(champion), measure.spec.decide(challenger)
    return Comparison(
        *(measure.title, len(actual), scores[0], scores[1], scores[2]),
        **_measured(sides, actual, scores),
        identical=bool((old_codes == new_codes).all() and (champion == challenger).all()),
    )


def _deciding_as(champion: ModelSpec, challenger: ModelSpec) -> ModelSpec:
    """The challenger's contract, and so its positive class, with the champion's threshold."""
    old, new = champion.output, challenger.output
    if not isinstance(old, Classes) or not isinstance(new, Classes):
        return challenger
    threshold = old.threshold
    if threshold is not None and old.positive_code != new.positive_code:
        threshold = 1 - threshold
    return replace(challenger, output=replace(new, threshold=threshold))


def _measured(
    sides: Sequence[tuple[Measure, np.ndarray]], actual: np.ndarray, scores: Sequence[float]
) -> dict[str, Any]:
    """What a comparison measures of the difference of two scores, by the name of its attribute.

    Args:
        sides: measure and predictions of champion, challenger and constant.
        scores: of the three.
    """
    measure, seen = sides[1][0], scores[1] - scores[0]
    if measure.has_losses:
        before, after, constants = (side.losses(actual, given) for side, given in sides)
        with np.errstate(invalid="ignore"):  # ∞ − ∞
            relative = _relative_variance([(before - after, constants - before)])
        if measure.name != "accuracy":
            return _limits(_interval(before, after), relative)
        won, lost = int((before > after).sum()), int((after > before).sum())
        p = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
        interval = tango_interval(won, lost, len(actual))
        return {**_limits(interval, relative), "won": won, "lost": lost, "p": p}
    if np.isnan(seen):
        return _limits((np.nan, np.nan), 1.0)
    if is_auc(measure):
        placed = [placements(*measure.of_interest(actual, each)[0]) for _, each in sides[:2]]
        differences = [after - before for before, after in zip(*placed)]
        relative = _relative_variance(zip(differences, placed[0]))
        return _limits(_auc_interval(placed[0], placed[1]), relative)
    before, after, constants = _resampled_scores(sides, actual).T
    relative = _relative_variance([(after - before, before - constants)])
    kept = after - before + MARGIN_SHARE * (before - constants)
    bias = abs(float(kept.mean()) - (seen + MARGIN_SHARE * (scores[0] - scores[2])))
    interval = _resampled_interval(seen, after - before, bias, _fewest(measure, actual))
    return _limits(interval, relative)


def _limits(interval: tuple[float, float], relative_variance: float) -> dict[str, Any]:
    return {"low": interval[0], "high": interval[1], "relative_variance": relative_variance}


def _resampled_scores(
    sides: Sequence[tuple[Measure, np.ndarray]], actual: np.ndarray
) -> np.ndarray:
    """Scores of each side in resamples of the rows, shape (n_resamples, n_sides)."""
    rng = np.random.default_rng(0)
    drawn = [
        [side.score(actual[rows], given[rows]) for side, given in sides]
        for rows in resamples(sides[0][0], actual, rng, _RESAMPLES_OF_SCORES)
    ]
    return np.array(drawn)[~np.isnan(drawn).any(axis=1)]


def _relative_variance(groups: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """Variance of the difference + a quarter of the gain, as a multiple of that of the difference:
    from the parts of both in each row, by independent groups of rows."""
    alone = together = 0.0
    for difference, gain in groups:
        if len(gain) > 1 and np.isfinite(difference).all() and np.isfinite(gain).all():
            alone += variance_of(difference)
            together += variance_of(difference + MARGIN_SHARE * gain)
    return together / alone if alone > 0 else 1.0


def _auc_interval(
    old: tuple[np.ndarray, np.ndarray], new: tuple[np.ndarray, np.ndarray]
) -> tuple[float, float]:
    """90 % interval of the difference of two areas under ROC curves.

    Args:
        old, new: `placements` of the positive rows and of the negative ones.
    """
    fewest, seen = min(map(len, old)), float(new[0].mean() - old[0].mean())
    error = sqrt(sum(variance_of(after - before) for before, after in zip(old, new)))
    if error == 0:
        return seen, seen
    if fewest == 1:
        return -inf, inf
    z = float(t.ppf(0.95, fewest - 1))
    limits = [np.abs(np.subtract(auc_interval(*each, z), each[0].mean())) for each in (old, new)]
    variances = [sum(map(variance_of, each)) for each in (old, new)]
    scale = 2 * sqrt(variances[0] * variances[1])
    correlation = (sum(variances) - error**2) / scale if scale else 0.0
    (below_old, above_old), (below_new, above_new) = limits

    def distance(one: float, other: float) -> float:
        return sqrt(max(0.0, one**2 + other**2 - 2 * correlation * one * other))

    return seen - distance(below_new, above_old), seen + distance(above_new, below_old)


def _fewest(measure: Measure, actual: np.ndarray) -> int:
    """Rows of the smallest class; of a quantity, all."""
    if not measure.spec.classes:
        return len(actual)
    return int(np.unique(actual, return_counts=True)[1].min())


def _resampled_interval(
    seen: float, resampled: np.ndarray, bias: float, fewest: int
) -> tuple[float, float]:
    """90 % interval of the difference of two scores, from their differences in resamples.

    Args:
        bias: by which both limits are moved outwards.
    """
    low, high = _student_interval(seen, float(resampled.std()), fewest)
    below, above = np.quantile(resampled, [0.05, 0.95])
    return min(low, float(below)) - bias, max(high, float(above)) + bias


def _student_interval(mean: float, error: float, rows: int) -> tuple[float, float]:
    """90 % interval from a standard error; infinite for a single row."""
    if error == 0:
        return mean, mean
    if rows == 1:
        return -inf, inf
    half = float(t.ppf(0.95, rows - 1)) * error
    return mean - half, mean + half


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
