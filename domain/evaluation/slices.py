"""Quality on slices of the rows: a good average can hide a slice with bad predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import exp, log, sqrt
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest, norm, t

from domain.contract import Category, HashedText, Input, ModelSpec, Number, Text, as_word
from domain.errors import ConfigError
from domain.evaluation.comparison import compare
from domain.evaluation.intervals import wilson_interval
from domain.evaluation.measures import Measure

LEVEL = 0.05  # of significance over all slices together
_FEW = 5  # up to so many distinct values of a number, each is a slice
_STEEPEST = 500.0  # tilt at which the tilted mean is practically the largest value
_ROUNDING = 1e-9  # relative, of a mean or a score
_GROUPS = 20  # of the jackknife
_ROWS_OF_CLASS = 20  # of each class, in a slice that is judged
_PROBABLY = 0.51  # the limit of a one-sided test at 20 %, as a share of that at 5 %
_FLAT = 1e-3  # near the mean the saddlepoint formula is 0 ÷ 0


@dataclass(frozen=True)
class Slice:
    """A subset of the rows.

    Attributes:
        mask: bool array of shape (n_rows,).
        declared: whether the configuration declares it; other slices are found automatically.
        judged: whether it has enough rows for a verdict; always true unless declared.
    """

    name: str
    mask: np.ndarray
    declared: bool
    judged: bool = True


@dataclass(frozen=True)
class SliceReport:
    """The score on a slice.

    Attributes:
        score: by the chosen measure; NaN if it is not defined for the rows.
        low, high: 95 % confidence interval of the score: Wilson's for accuracy, Student's for
            others; NaN with fewer rows than it needs (one, or two).
        p: probability of a score this low if the slice's true score were that of all rows minus
            the margin; NaN if the slice has too few rows to be judged.
        reachable: score of a reference model on a slice that is worse; NaN if not measured.
        hard: whether the reference is not certainly better there, so that the slice is hard for any
            model.
    """

    name: str
    rows: int
    score: float
    low: float
    high: float
    p: float
    declared: bool
    reachable: float = np.nan
    hard: bool = False


def slices_of(
    spec: ModelSpec,
    encoded: np.ndarray,
    declared: Mapping[str, Mapping[str, Sequence[Any]]],
    smallest: int,
) -> list[Slice]:
    """Declared slices, then automatic slices of every input.

    Automatic slices are each word of a category, thirds of a number (each value if there are at
    most five), of a tensor's mean and spread and of a text's length, and the rows where an input is
    missing. There are none by class: sound models find rare classes less often, too, and the class
    is unknown when a prediction is requested.

    Args:
        encoded: encoded rows, shape (n_rows, width).
        declared: by the slice's name, conditions on inputs, all of which must hold: ``[low, high]``
            for a number, both inclusive, null for an open end; or a list of words for a category,
            null for a missing value.
        smallest: minimum number of rows. Smaller automatic slices, and those with all rows, are
            left out; a smaller declared slice is returned, but not judged.

    Raises:
        ConfigError: a declared slice names an unknown input or word, or a condition is malformed.
    """
    found = []
    for name, conditions in declared.items():
        mask = _declared(spec, encoded, name, conditions)
        found.append(Slice(name, mask, declared=True, judged=bool(mask.sum() >= smallest)))
    columns = zip(
        spec.monitored_names, spec.monitored_inputs, spec.monitored(encoded).T, strict=True
    )
    for name, item, values in columns:
        for label, mask in _automatic(name.replace("_", " "), item, values):
            if smallest <= mask.sum() < len(mask):
                found.append(Slice(label, mask, declared=False))
    return found


def measure_slices(
    slices: Sequence[Slice],
    measure: Measure,
    actual: np.ndarray,
    predictions: np.ndarray,
    margin: float,
    reference: Callable[[], np.ndarray | None] = lambda: None,
) -> list[SliceReport]:
    """The score of each slice, ordered by p; slices that are not judged come last.

    If the measure has a loss of each row, a slice is compared with as many rows drawn at random
    from all rows, whose losses are scaled so that their mean is that of all rows plus the margin.
    For losses of 0 and 1 that is an exact binomial test; otherwise a saddlepoint approximation.
    Student's test would hardly ever refuse: a few large losses widen its spread as much as they
    raise its mean.

    For other measures the score is compared by Student's test with the standard error of a grouped
    jackknife. The rows of a slice are weighted so that its classes have the shares that they have
    in all rows: a rare class would lower the precision of a sound model, too. An automatic slice in
    which a class has too few rows is left out. A measure of ranks sees the order within a slice,
    not that all of its probabilities are too high or too low.

    A slice may be worse because its rows are harder to predict: where half of the rows are
    positive, even the true probabilities have more errors. So a slice that is significantly worse
    counts as hard unless a reference model is significantly better there, at 5 % over all such
    slices together; of classes also by the Brier score, at 20 %, of which the true probabilities
    have the best.

    Args:
        actual, predictions: of every row, as for `Measure.score`. A slice with a loss that is not
            finite gets p = 0.
        margin: by how much the score of a slice may be below that of all rows.
        reference: gives the predictions of a reference model, if a slice is worse; None without
            one.

    References:
        R. Lugannani and S. Rice, "Saddle point approximation for the distribution of the sum of
        independent random variables", 1980.
        B. Efron and R. Tibshirani, "An introduction to the bootstrap", 1993, chapter 11.
    """
    if measure.has_losses:
        losses = measure.losses(actual, predictions)
        reports = [_of_losses(part, losses, measure.best, margin) for part in slices]
    else:
        overall = measure.score(actual, predictions)
        least = overall - margin - _ROUNDING * abs(overall)
        reports = [_of_scores(part, measure, actual, predictions, least) for part in slices]
        reports = [each for each in reports if each.declared or not np.isnan(each.p)]
    judged = sum(not np.isnan(report.p) for report in reports)
    worse = [report for report in reports if report.p * judged <= LEVEL]
    reached = reference() if worse else None
    if reached is not None:
        masks = {part.name: part.mask for part in slices}
        for report in worse:
            rows = masks[report.name]
            top = max(1, round(measure.top * report.rows / len(actual)))  # the same share
            of_slice = replace(measure, top=top), reached[rows], predictions[rows], actual[rows]
            reachable, hard = _reached(*of_slice, LEVEL / len(worse))
            reports[reports.index(report)] = replace(report, reachable=reachable, hard=hard)
    return sorted(
        reports, key=lambda report: (np.isnan(report.p), report.hard, report.p, report.score)
    )


def _reached(
    measure: Measure,
    reference: np.ndarray,
    predictions: np.ndarray,
    actual: np.ndarray,
    level: float,
) -> tuple[float, bool]:
    """The score of the reference on a slice, and whether it is not certainly better, by a one-sided
    test at this level."""
    found = compare(measure, reference, predictions, actual, measure.constant(actual))
    wider = norm.isf(level) / norm.isf(LEVEL)  # the limits are those of a test at 5 %
    hard = bool(found.difference + wider * (found.high - found.difference) >= 0)
    if measure.spec.classes and not hard:
        brier = Measure(measure.spec, "neg_brier_score")
        seen = compare(brier, reference, predictions, actual, brier.constant(actual))
        hard = not seen.difference + _PROBABLY * (seen.high - seen.difference) < 0
    return found.champion, hard


def _of_losses(part: Slice, losses: np.ndarray, best: float, margin: float) -> SliceReport:
    counted = bool(np.isin(losses, (0, 1)).all())
    chosen = losses[part.mask]
    score = best - float(chosen.mean()) if len(chosen) else np.nan
    low, high = _interval(chosen, counted)
    pool = losses[np.isfinite(losses)]
    chance = _chance(chosen, pool, margin, counted) if part.judged else np.nan
    interval = (best - high, best - low)
    return SliceReport(part.name, len(chosen), score, *interval, chance, part.declared)


def _of_scores(
    part: Slice, measure: Measure, actual: np.ndarray, predictions: np.ndarray, least: float
) -> SliceReport:
    rows, weights = np.flatnonzero(part.mask), np.ones(len(actual))
    enough = len(rows) >= _GROUPS
    if measure.spec.classes:
        whole = np.bincount(actual)
        inside = np.bincount(actual[rows], minlength=len(whole))
        enough = bool((inside[whole > 0] >= _ROWS_OF_CLASS).all())
        weights = (whole / np.maximum(inside, 1))[actual]
        rows = rows[np.argsort(actual[rows], kind="stable")]  # each group has rows of each class

    def score(kept: np.ndarray) -> float:
        return measure.score(actual[kept], predictions[kept], weights[kept])

    if not enough:
        value = score(rows) if len(rows) and not measure.spec.classes else np.nan
        return SliceReport(part.name, len(rows), value, np.nan, np.nan, np.nan, part.declared)
    group, value = np.arange(len(rows)) % _GROUPS, score(rows)
    left = np.array([score(rows[group != number]) for number in range(_GROUPS)])
    error = sqrt((_GROUPS - 1) / _GROUPS * float(np.square(left - left.mean()).sum()))
    half = float(t.ppf(0.975, _GROUPS - 1)) * error
    if error > 0:
        chance = float(t.cdf((value - least) / error, _GROUPS - 1))
    else:
        chance = float(value >= least)
    if not part.judged:
        chance = np.nan
    least_possible = 0.0 if measure.best == 1 else -np.inf
    interval = max(least_possible, value - half), min(measure.best, value + half)
    return SliceReport(part.name, len(rows), value, *interval, chance, part.declared)


def _interval(losses: np.ndarray, counted: bool) -> tuple[float, float]:
    rows = len(losses)
    if counted and rows:
        return wilson_interval(int(losses.sum()), rows)
    if rows < 2 or not np.isfinite(losses).all():
        return np.nan, np.nan
    mean = float(losses.mean())
    half = float(t.ppf(0.975, rows - 1)) * float(losses.std(ddof=1)) / sqrt(rows)
    return max(0.0, mean - half), mean + half


def _chance(losses: np.ndarray, pool: np.ndarray, margin: float, counted: bool) -> float:
    """Probability of a mean as high as that of `losses` if drawn from `pool` plus the margin."""
    if not np.isfinite(losses).all():
        return 0.0
    supposed = float(pool.mean()) + margin
    if counted:
        wrong, rows = int(losses.sum()), len(losses)
        return float(binomtest(wrong, rows, min(1.0, supposed), "greater").pvalue)
    mean = float(losses.mean())
    if mean <= supposed * (1 + _ROUNDING):
        return 1.0
    scaled = pool * (supposed / pool.mean()) / mean
    # drawing without replacement is approximated by more draws with replacement
    return _tail_at_one(scaled, len(losses) / (1 - len(losses) / len(pool)))


def _tail_at_one(values: np.ndarray, draws: float) -> float:
    """Probability that draws from `values`, whose mean is below 1, have a mean of 1 or more.

    By Lugannani and Rice; beyond the steepest tilt, Chernoff's bound.
    """

    def tilted(tilt: float) -> tuple[float, float, float]:
        """Cumulant generating function at `tilt`, its slope and its curvature."""
        weights = np.exp(tilt * (values - values.max()))
        slope = float(np.average(values, weights=weights))
        curvature = float(np.average(np.square(values - slope), weights=weights))
        return tilt * float(values.max()) + log(weights.mean()), slope, curvature

    tilt = _STEEPEST
    if tilted(tilt)[1] > 1:
        tilt = float(brentq(lambda tilt: tilted(tilt)[1] - 1, 0, _STEEPEST))
    height, _, curvature = tilted(tilt)
    root, slope = sqrt(2 * draws * max(0.0, tilt - height)), tilt * sqrt(draws * curvature)
    if tilt == _STEEPEST:
        return exp(-root * root / 2)
    if root < _FLAT:
        return 0.5
    return float(np.clip(norm.sf(root) + norm.pdf(root) * (1 / slope - 1 / root), 0, 1))


def _declared(
    spec: ModelSpec, encoded: np.ndarray, name: str, conditions: Mapping[str, Sequence[Any]]
) -> np.ndarray:
    """Rows in which all conditions of a declared slice hold, bool of shape (n_rows,)."""
    if not conditions:
        raise ConfigError(f"the slice {name!r} has no condition")
    items = [item for item in spec.inputs if isinstance(item, Number | Category)]
    columns = dict(zip((item.name for item in items), spec.columns_of(Number, Category)))
    inputs = {item.name: item for item in items}
    mask = np.ones(len(encoded), bool)
    for input_name, condition in conditions.items():
        place = f"the slice {name!r}, {input_name}"
        if input_name not in inputs:
            raise ConfigError(
                f"{place}: not a number or category of {spec.name}; "
                f"available: {', '.join(inputs) or 'none'}"
            )
        item, values = inputs[input_name], encoded[:, columns[input_name]]
        if isinstance(item, Number):
            low, high = _range(place, condition)
            mask &= (values >= low) & (values <= high)
        else:
            mask &= _in_words(place, item, condition, values)
    return mask


def _range(place: str, condition: Sequence[Any]) -> tuple[np.float32, np.float32]:
    """Both ends as float32, so that a limit of 0.1 includes an encoded value of 0.1."""
    ends = [end for end in condition if end is not None]
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
    if len(condition) != 2 or not numbers or ends != sorted(ends):
        raise ConfigError(
            f"{place}: expected [low, high], null for an open end, got {list(condition)}"
        )
    low, high = condition
    with np.errstate(over="ignore"):
        return (
            np.float32(-np.inf if low is None else low),
            np.float32(np.inf if high is None else high),
        )


def _in_words(
    place: str, item: Category, condition: Sequence[Any], values: np.ndarray
) -> np.ndarray:
    if not condition:
        raise ConfigError(f"{place}: the list of words is empty")
    words = [as_word(word) for word in condition if word is not None]
    for word in words:
        if word not in item.categories:
            raise ConfigError(f"{place}: {word!r} is not one of {', '.join(item.categories)}")
    mask = np.isin(values, [item.categories.index(word) for word in words])
    return mask | np.isnan(values) if None in condition else mask


def _automatic(name: str, item: Input, values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Names and masks of the slices of one monitored variable, shape (n_rows,)."""
    name = f"length of {name}" if isinstance(item, Text) else name
    if isinstance(item, HashedText):  # which counts words, or characters and their pairs
        name = f"number of tokens in {name}"
    known = values[~np.isnan(values)]
    distinct = np.unique(known)
    if isinstance(item, Category):
        yield from ((f"{name} {word}", values == code) for code, word in enumerate(item.categories))
    elif len(distinct) <= _FEW:
        yield from ((f"{name} {value:.5g}", values == value) for value in distinct)
    else:
        edges = np.quantile(known, (1 / 3, 2 / 3), method="lower")
        edges = np.unique(np.minimum(edges, distinct[-2]))  # no part is empty
        for low, high in pairwise((-np.inf, *edges, np.inf)):
            ends = (("above", low), ("up to", high))
            bounds = ", ".join(f"{word} {end:.5g}" for word, end in ends if np.isfinite(end))
            yield f"{name} {bounds}", (values > low) & (values <= high)
    yield f"{name} missing", np.isnan(values)
