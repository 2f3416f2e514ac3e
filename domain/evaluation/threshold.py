"""The decision threshold of a classifier of two classes, chosen on rows that it did not learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from domain.contract import Classes

_RESAMPLES = 1000
_CERTAINTY = 0.95
_ROUNDING = 1e-12  # relative, of a score
_BELOW_1 = float(np.nextafter(np.float32(1), np.float32(0)))

Score = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""From counts of true positives, false positives, false negatives and true negatives, arrays of
the same shape, to scores of that shape; higher is better."""


@dataclass(frozen=True)
class ThresholdChoice:
    """The threshold that suits a score best.

    Attributes:
        threshold: None to predict the most probable class.
        default: score of the most probable class.
        score: score of thresholds that were each chosen without the rows that they decide.
        certainty: share of resamples of the rows in which `score` exceeds `default`.
    """

    threshold: float | None
    default: float
    score: float
    certainty: float


def accuracy(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray) -> np.ndarray:
    """Share of rows predicted correctly."""
    return _ratio(tp + tn, tp + fp + fn + tn)


def balanced_accuracy(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray) -> np.ndarray:
    """Mean of the recalls of both classes."""
    return (_ratio(tp, tp + fn) + _ratio(tn, tn + fp)) / 2


def f1(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, _tn: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and recall of the positive class."""
    return _ratio(2 * tp, 2 * tp + fp + fn)


def matthews_corrcoef(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray) -> np.ndarray:
    """Correlation of actual and predicted class (B. W. Matthews, 1975)."""
    tp, fp, fn, tn = (np.asarray(count, np.float64) for count in (tp, fp, fn, tn))
    return _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


SCORES: Mapping[str, Score] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "f1": f1,
    "matthews_corrcoef": matthews_corrcoef,
}
"""By scikit-learn's names of the same measures."""


def cost_score(costs: np.ndarray, positive_code: int) -> Score:
    """Minus the mean cost of a row.

    Args:
        costs: of each actual (row) and predicted class (column), shape (2, 2).
    """
    yes, no = positive_code, 1 - positive_code

    def score(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray) -> np.ndarray:
        total = costs[yes, yes] * tp + costs[no, yes] * fp + costs[yes, no] * fn
        return -_ratio(total + costs[no, no] * tn, tp + fp + fn + tn)

    return score


def choose_threshold(
    output: Classes, probabilities: np.ndarray, actual: np.ndarray, folds: np.ndarray, score: Score
) -> ThresholdChoice:
    """Choose the threshold of the best score, if it is certainly better than none.

    The gain is measured by cross-fitting: the rows of each fold are decided by the threshold that
    is best on the other folds. It counts as certain if it is positive in 95 % of 1,000 resamples of
    the rows, drawn within each class with a fixed seed; otherwise no threshold is set.

    Args:
        output: two classes; their threshold is ignored.
        probabilities: of rows that the model was not fitted on, shape (n_rows, 2).
        actual: class numbers, shape (n_rows,).
        folds: number of the fold of each row, at least two folds, shape (n_rows,).

    References:
        B. Efron and R. Tibshirani, "An introduction to the bootstrap", 1993, chapter 17.
    """
    output, code = replace(output, threshold=None), output.positive_code
    shares, positive = probabilities[:, code], actual == code
    default = output.decide(probabilities) == code
    decided = default.copy()
    for fold in np.unique(folds):
        inside = folds == fold
        found = best_threshold(shares[~inside], positive[~inside], default[~inside], score)
        if found is not None:
            chosen = replace(output, threshold=found)
            decided[inside] = chosen.decide(probabilities[inside]) == code
    before, after = (_score_of(score, positive, each) for each in (default, decided))
    certainty = _share_of_gains(positive, default, decided, score)
    threshold = None
    if certainty >= _CERTAINTY:
        threshold = best_threshold(shares, positive, default, score)
    return ThresholdChoice(threshold, before, after, certainty)


def best_threshold(
    shares: np.ndarray, positive: np.ndarray, default: np.ndarray, score: Score
) -> float | None:
    """The threshold of the best score; None if no threshold is better than the default decision.

    Of equally good ones that nearest to 0.5. It lies in the middle between two probabilities and
    has as few digits as separate them. Takes O(n log n).

    Args:
        shares: probability of the positive class, shape (n_rows,).
        positive: whether a row is of that class, bool of shape (n_rows,).
        default: whether that class is predicted without a threshold, bool of shape (n_rows,).
    """
    shares = shares.astype(np.float32)
    values = np.unique(shares).astype(np.float64)
    # with a threshold in (low, high], the rows with a probability of at least high are positive
    low, high = np.append(0.0, values), np.append(values, _BELOW_1)
    scores = np.where(low < high, score(*counts_at(shares, positive, high)), -np.inf)
    best = float(scores.max())
    rounding = _ROUNDING * max(1.0, abs(best))
    if best <= _score_of(score, positive, default) + rounding:
        return None
    equal = np.flatnonzero(scores >= best - rounding)
    nearest = equal[np.argmin(np.abs(np.clip(0.5, low[equal], high[equal]) - 0.5))]
    return _shortest(float(low[nearest]), float(high[nearest]))


def counts_at(
    shares: np.ndarray, positive: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """True positives, false positives, false negatives and true negatives at thresholds.

    Args:
        shares: probability of the positive class, shape (n_rows,).
        positive: whether a row is of that class, bool of shape (n_rows,).
        thresholds: shape (n_thresholds,), as that of each result.
    """
    ones, others = (np.sort(shares[positive == side]) for side in (True, False))
    tp, fp = (len(each) - np.searchsorted(each, thresholds) for each in (ones, others))
    return tp, fp, len(ones) - tp, len(others) - fp


def _shortest(low: float, high: float) -> float:
    """A number in (low, high], near the middle, with as few digits as possible in float32."""
    middle = (low + high) / 2
    for digits in range(2, 9):
        found = round(middle, digits)
        if low < float(np.float32(found)) <= high and found < 1:
            return found
    return min(high, 1 - 1e-9)  # which is 1 in float32


def _score_of(score: Score, positive: np.ndarray, decided: np.ndarray) -> float:
    """The score of decisions, whether a row is predicted positive, shape (n_rows,)."""
    pairs = np.bincount(2 * positive.astype(np.intp) + decided, minlength=4)
    tn, fp, fn, tp = pairs[:, None]
    return float(score(tp, fp, fn, tn)[0])


def _share_of_gains(
    positive: np.ndarray, default: np.ndarray, decided: np.ndarray, score: Score
) -> float:
    """Share of resamples of the rows in which the score of `decided` exceeds that of `default`."""
    rng = np.random.default_rng(0)
    pairs = 2 * default.astype(np.intp) + decided  # rows of a pair can replace each other
    ones, others = (
        rng.multinomial(rows.sum(), rows / max(1, rows.sum()), _RESAMPLES)
        for rows in (np.bincount(pairs[positive == side], minlength=4) for side in (True, False))
    )
    after, before = (
        score(ones @ yes, others @ yes, ones @ (1 - yes), others @ (1 - yes))
        for yes in np.array([[0, 1, 0, 1], [0, 0, 1, 1]])
    )
    return float((after > before).mean())


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part ÷ whole; 0 where the whole is 0, as in scikit-learn."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0)
