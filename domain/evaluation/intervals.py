"""Confidence intervals of a score. NumPy only: the server uses them too."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from domain.evaluation.measures import Measure, placements

_RESAMPLES, _FEWEST_RESAMPLES = 1000, 200
_ROWS = 5_000_000  # that all resamples may have together
_Z = 1.959964  # 95 %, two-sided


def wilson_interval(successes: float, trials: float, z: float = _Z) -> tuple[float, float]:
    """Confidence interval of a proportion; `z` = 1.96 gives 95 %.

    References:
        E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    >>> [round(limit, 3) for limit in wilson_interval(27, 30)]
    [0.744, 0.965]
    """
    share, spread = successes / trials, z * z / trials
    centre = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def score_interval(
    measure: Measure, actual: np.ndarray, predictions: np.ndarray, most: int = _RESAMPLES
) -> tuple[float, float]:
    """95 % confidence interval of a score.

    Accuracy has Wilson's interval, the area under the ROC curve of two classes DeLong's on the
    scale of its logit. Others have a percentile bootstrap, stratified by class, with a fixed seed;
    from 5,000 rows on with fewer resamples, at least 200. NaN if the score is not finite.

    Args:
        actual, predictions: as for `Measure.score`.
        most: resamples of a bootstrap, at least 200.

    References:
        B. Efron and R. Tibshirani, "An introduction to the bootstrap", 1993, chapter 13.
        E. R. DeLong et al., "Comparing the areas under two or more correlated receiver operating
        characteristic curves: a nonparametric approach", 1988.
    """
    if measure.name == "accuracy":
        wrong = int(measure.losses(actual, predictions).sum())
        return wilson_interval(len(actual) - wrong, len(actual))
    if not np.isfinite(measure.score(actual, predictions)):
        return np.nan, np.nan
    if is_auc(measure):
        return auc_interval(*placements(*measure.of_interest(actual, predictions)[0]))
    rng = np.random.default_rng(0)
    scores = [
        measure.score(actual[rows], predictions[rows])
        for rows in resamples(measure, actual, rng, most)
    ]
    low, high = np.nanquantile(scores, [0.025, 0.975], method="linear")
    return float(low), float(high)


def is_auc(measure: Measure) -> bool:
    """Whether a measure is the area under one ROC curve."""
    return measure.name == "roc_auc" and len(measure.spec.classes) == 2


def resamples(
    measure: Measure, actual: np.ndarray, rng: np.random.Generator, most: int = _RESAMPLES
) -> Iterator[np.ndarray]:
    """Positions of rows drawn with replacement, up to `most` times; of classes, each keeps its
    number of rows."""
    times = int(np.clip(_ROWS // len(actual), _FEWEST_RESAMPLES, most))
    strata = [np.arange(len(actual))]
    if measure.spec.classes:
        strata = [np.flatnonzero(actual == code) for code in np.unique(actual)]
    for _ in range(times):
        drawn = [rows[rng.integers(len(rows), size=len(rows))] for rows in strata]
        yield np.concatenate(drawn)


def auc_interval(
    of_positive: np.ndarray, of_negative: np.ndarray, z: float = _Z
) -> tuple[float, float]:
    """Confidence interval of an area under the ROC curve, on the scale of its logit.

    That of an area of 0 or 1, or of a single row, is Wilson's, as if each row of the smaller class
    were a success or a failure. Constant predictions have an area of exactly 0.5.

    Args:
        of_positive, of_negative: the `placements` of the rows of each class.
        z: 1.96 gives 95 %.
    """
    area, fewest = float(of_positive.mean()), min(len(of_positive), len(of_negative))
    error = np.sqrt(variance_of(of_positive) + variance_of(of_negative))
    if not 0 < area < 1 or fewest == 1:
        return wilson_interval(round(area * fewest), fewest, z)
    if error == 0:
        return area, area
    logit, half = np.log(area / (1 - area)), z * error / (area * (1 - area))
    low, high = 1 / (1 + np.exp(-np.array([logit - half, logit + half])))
    return float(low), float(high)


def variance_of(values: np.ndarray) -> float:
    """Variance of the mean of these values; 0 for a single one."""
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0
