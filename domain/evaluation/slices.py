"""Quality on parts of the rows: a good average can hide a part that is served badly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log, sqrt
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest, norm, t

from domain.contract import Category, Input, ModelSpec, Number, Text, as_word
from domain.errors import ConfigError
from domain.evaluation.metrics import wilson_interval

_FEW = 5  # values of a number that are looked at one by one
_STEEPEST = 500.0  # tilt at which a mean is as good as the largest value
_ROUNDING = 1e-9  # of a mean, in parts of it
_FLAT = 1e-3  # beside the mean, where the saddlepoint formula is 0 ÷ 0


@dataclass(frozen=True)
class Slice:
    """Some of the rows.

    Attributes:
        mask: bool array of shape (n_rows,).
        declared: whether the configuration asks for it.
        judged: whether it has enough rows for a verdict; only a declared one can lack them.
    """

    name: str
    mask: np.ndarray
    declared: bool
    judged: bool = True


@dataclass(frozen=True)
class SliceReport:
    """How large the loss is on a slice.

    Attributes:
        loss: mean over the slice; NaN where there is no row.
        low, high: 95 % confidence interval of it: Wilson's for classes; for a quantity Student's,
            which needs two rows, and NaN where they are lacking.
        p: probability of so high a loss, were it that of all rows and the margin; NaN where the
            slice has too few rows to be judged.
    """

    name: str
    rows: int
    loss: float
    low: float
    high: float
    p: float
    declared: bool


def slices_of(
    spec: ModelSpec,
    encoded: np.ndarray,
    declared: Mapping[str, Mapping[str, Sequence[Any]]],
    smallest: int,
) -> list[Slice]:
    """Declared slices, then those that every input gives.

    These are each word of a category, thirds of a number (each value where there are at most five),
    of a tensor's mean and spread and of a text's length, and the rows where an input is missing.
    The class is no input: a rare one is found less often by models that are fine, and when a
    prediction is asked for nobody knows it.

    Args:
        encoded: rows as the model gets them, shape (n_rows, width).
        declared: conditions on inputs, which all must hold, by the slice's name: ``[low, high]`` of
            a number, both inclusive and null where open, or a list of words of a category, null
            being a missing one.
        smallest: rows that a slice needs. Others are left out, and so is one of all rows; but a
            declared slice always comes back, and is not judged where rows are lacking.

    Raises:
        ConfigError: a declared slice names an unknown input or word, or its condition is none.
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


def measure_slices(slices: Sequence[Slice], losses: np.ndarray, margin: float) -> list[SliceReport]:
    """The loss of each slice, the least probable first, and last those that are not judged.

    Each is compared with so many rows drawn at random from all of them, whose losses are made
    larger in proportion until their mean is that of all rows and the margin. For losses of 0 and 1
    that is an exact binomial test; else a saddlepoint approximation, since Student's test would
    hardly ever refuse: a few large losses widen its spread as much as they raise its mean.

    Args:
        losses: of every row, shape (n_rows,): 0 or 1, or any that are not negative. One that is no
            finite number is as bad as can be.
        margin: by how much a slice's mean may be above that of all rows.

    References:
        R. Lugannani and S. Rice, "Saddle point approximation for the distribution of the sum of
        independent random variables", 1980.
    """
    counted = bool(np.isin(losses, (0, 1)).all())
    pool = losses[np.isfinite(losses)]
    reports = []
    for part in slices:
        chosen = losses[part.mask]
        loss = float(chosen.mean()) if len(chosen) else np.nan
        low, high = _interval(chosen, counted)
        chance = _chance(chosen, pool, margin, counted) if part.judged else np.nan
        reports.append(SliceReport(part.name, len(chosen), loss, low, high, chance, part.declared))
    return sorted(reports, key=lambda report: (np.isnan(report.p), report.p, -report.loss))


def _interval(losses: np.ndarray, counted: bool) -> tuple[float, float]:
    rows = len(losses)
    if counted and rows:
        return wilson_interval(int(losses.sum()), rows)
    if rows < 2:
        return np.nan, np.nan
    mean = float(losses.mean())
    half = float(t.ppf(0.975, rows - 1)) * float(losses.std(ddof=1)) / sqrt(rows)
    return max(0.0, mean - half), mean + half


def _chance(losses: np.ndarray, pool: np.ndarray, margin: float, counted: bool) -> float:
    """Probability of so high a mean of `losses`, were they drawn from `pool` and the margin."""
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
    # means of rows drawn without replacement spread as little as those of more with replacement
    return _tail_at_one(scaled, len(losses) / (1 - len(losses) / len(pool)))


def _tail_at_one(values: np.ndarray, draws: float) -> float:
    """Probability that so many draws of `values`, whose mean is below 1, have a mean of 1 or more.

    By Lugannani and Rice; where the tilt has no end, Chernoff's bound.
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
    """Where all conditions of a declared slice hold, bool of shape (n_rows,)."""
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
                f"{place}: no number or category of {spec.name} has that name; "
                f"there are: {', '.join(inputs) or 'none'}"
            )
        item, values = inputs[input_name], encoded[:, columns[input_name]]
        if isinstance(item, Number):
            low, high = _range(place, condition)
            mask &= (values >= low) & (values <= high)
        else:
            mask &= _in_words(place, item, condition, values)
    return mask


def _range(place: str, condition: Sequence[Any]) -> tuple[np.float32, np.float32]:
    """Both ends as the model sees numbers: a limit of 0.1 is to hold a value of 0.1."""
    ends = [end for end in condition if end is not None]
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
    if len(condition) != 2 or not numbers or ends != sorted(ends):
        raise ConfigError(f"{place}: {list(condition)} is no [low, high]; null leaves an end open")
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
            raise ConfigError(f"{place}: {word!r} is none of {', '.join(item.categories)}")
    mask = np.isin(values, [item.categories.index(word) for word in words])
    return mask | np.isnan(values) if None in condition else mask


def _automatic(name: str, item: Input, values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Names and masks of the slices that one monitored figure, shape (n_rows,), gives."""
    name = f"length of {name}" if isinstance(item, Text) else name
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
            told = ", ".join(f"{word} {end:.5g}" for word, end in ends if np.isfinite(end))
            yield f"{name} {told}", (values > low) & (values <= high)
    yield f"{name} missing", np.isnan(values)
