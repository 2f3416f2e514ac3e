"""Leakage: inputs that give the target away.

An input that predicts the target on its own was probably recorded together with it, or after it; so
were two inputs that do so together. A number that only names rows cannot know the target, and a
mean of the target by group knows the row's own. How far an input may go is a matter of grades:
honest inputs can be strong, so a strong one is pointed out and one near perfection is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from domain.evaluation.input_skill import (
    Skill,
    best_pairs,
    name_skill,
    pair_skill,
    single_feature_skill,
)

STRONG = {"classification": 0.9, "regression": 0.95}  # a skill that is pointed out
LIMITS = {"classification": 0.94, "regression": 0.999}  # a certain skill that is a leak
_MOST_PAIRED = 100  # inputs that are paired
_JUDGED_PAIRS = 3
_TOGETHER = 0.2  # by how much a leak of two inputs beats the better one

_FEWEST_NAMES = 50
_REPEATS = 10  # pairs of equal numbers that a quantity would have by chance
_NAME_TELLS = (0.2, 0.5)  # certain skills of a name of rows: pointed out, refused for classes

_FEWEST_VALUES = 5
_TOO_EXACT = 1e-5  # p-value
_EXACT = 0.8  # share of the rows whose encoding is the mean but for rounding
_OWN_SHARE = 0.02  # weight of a row's own target in its encoding that is refused


@dataclass(frozen=True)
class Leak:
    """Inputs that give the target away.

    Attributes:
        inputs: one name, or two that do so together.
        reason: what was found, as text.
        refused: whether they must not be inputs; otherwise they are pointed out.
    """

    inputs: tuple[str, ...]
    reason: str
    refused: bool


def input_leak(
    name: str, values: np.ndarray, target: np.ndarray, task: str, words: bool = False
) -> tuple[Skill, Leak | None]:
    """The skill of one input, and what is wrong with it, if anything.

    A leak is a skill of at least 0.94 of classes, or 0.999 of a quantity, for certain: three
    standard errors below the measured one. So honest strong inputs pass where rows are few: iris's
    petal width reaches 0.93 on 150 rows, and with two errors fewer would reach 0.96 ± 0.02. An
    input with 1.2 % of errors in 4000 rows reaches 0.976 ± 0.004, a leak. No error at all is a leak
    from 50 rows of a rare class on, or 70 of each of two. From 0.9, or 0.95 of a quantity, an input
    is pointed out.

    A number that names rows is pointed out from a certain skill of 0.2. From 0.5 it is refused if
    it predicts classes; a quantity may follow time, which numbers count.

    Args:
        values: shape (n_rows,), NaN where missing; codes of categories in alphabetical order.
        target: class numbers or values, shape (n_rows,).
        task: ``classification`` or ``regression``.
        words: whether the values are codes of words.
    """
    skill = single_feature_skill(values, target, task)
    removed = f"{name} alone removes {skill.value:.1%} of the baseline's error"
    leaks = skill.certain >= LIMITS[task]
    if names_rows(values, words):
        named = name_skill(values, target, task)
        pointed_out, refused = _NAME_TELLS
        if named.certain >= pointed_out:
            reason = (
                f"{name} only identifies rows or counts time, but its order, ranges or last digits "
            )
            reason += f"remove {named.value:.1%} of the baseline's error"
            # a quantity may have a trend in time
            leaks = leaks or (task == "classification" and named.certain >= refused)
            return skill, Leak((name,), reason, leaks)
    if leaks:
        reason = f"{removed}: it is (almost) the target, and probably recorded with it or after it"
        return skill, Leak((name,), reason, leaks)
    own_share = 0.0 if words else encoded_target_share(values, target, task)
    if own_share:
        reason = f"{name} is the mean of the target by groups of rows, each row's own included: "
        reason += "compute it from other rows than those that get it"
        return skill, Leak((name,), reason, own_share >= _OWN_SHARE)
    if skill.value >= STRONG[task]:
        reason = f"{removed}: make sure that it is known when a prediction is needed"
        return skill, Leak((name,), reason, refused=False)
    return skill, None


def pair_leaks(
    columns: Mapping[str, np.ndarray],
    skills: Mapping[str, float],
    target: np.ndarray,
    task: str,
) -> tuple[dict[str, Skill], list[Leak]]:
    """Pairs of inputs that give the target away together, though neither does alone.

    The three best pairs of at most 100 inputs are judged, by the limits of single inputs. For
    classes a pair must also beat the better of its inputs by 0.2: where classes are easy to tell
    apart, an honest strong input becomes near perfect with almost any other.

    Args:
        columns: inputs without the leaks among them, shape (n_rows,) each, NaN where missing.
        skills: of every column alone.
        target: class numbers or values, shape (n_rows,).
        task: ``classification`` or ``regression``.

    Returns:
        The skills of the judged pairs, and the leaks.
    """
    names = sorted(columns, key=lambda name: -skills[name])[:_MOST_PAIRED]
    values = [columns[name] for name in names]
    found: dict[str, Skill] = {}
    leaks = []
    for first, second in best_pairs(values, target, task)[:_JUDGED_PAIRS]:
        pair = names[first], names[second]
        skill = pair_skill(values[first], values[second], target, task)
        found[" and ".join(pair)] = skill
        added = skill.value - max(skills[name] for name in pair)
        near_perfect, strong = skill.certain >= LIMITS[task], skill.value >= STRONG[task]
        if near_perfect or (strong and added >= _TOGETHER):
            reason = f"{pair[0]} and {pair[1]} together remove {skill.value:.1%} of the baseline's "
            reason += f"error, the better one alone {skill.value - added:.1%}"
            refused = near_perfect and (task == "regression" or added >= _TOGETHER)
            leaks.append(Leak(pair, reason, refused))
    return found, leaks


def names_rows(values: np.ndarray, words: bool = False) -> bool:
    """Whether values only name rows: words that (nearly) never repeat, or whole numbers that repeat
    far less often than those of a quantity.

    Numbers drawn from a range of R whole numbers give n² / 2R pairs of equal ones by chance (the
    birthday problem). R is measured in tenths of the sorted numbers, in units of their greatest
    common step. Numbers are names if chance would give at least ten pairs and they have less than a
    tenth of that. Numbers that are far apart, such as random ones of ten digits, look like a
    quantity.

    Args:
        values: shape (n_rows,), NaN where missing; float32 holds whole numbers up to 16,777,216.
        words: whether the values are codes of words.
    """
    known = np.sort(values[np.isfinite(values)].astype(np.float64))
    distinct, counts = np.unique(known, return_counts=True)
    if len(known) < _FEWEST_NAMES or len(distinct) < _FEWEST_NAMES:
        return False
    if words:
        return len(distinct) >= 0.99 * len(values)
    if (distinct % 1 != 0).any() or np.abs(distinct[[0, -1]]).max() >= 2**53:
        return False
    step = int(np.gcd.reduce(np.diff(distinct).astype(np.int64)))
    expected = sum(
        len(part) * (len(part) - 1) / 2 / ((part[-1] - part[0]) / step + 1)
        for part in np.array_split(known, 10)
    )
    equal = (counts * (counts - 1) / 2).sum()
    return bool(expected >= _REPEATS and equal < expected / 10)


def encoded_target_share(values: np.ndarray, target: np.ndarray, task: str) -> float:
    """The weight of a row's own target in an input that is the mean target of groups of rows.

    An encoding that was computed from other rows, such as an out-of-fold one, differs from the mean
    target of the rows with the same value as much as chance wants: with n rows its square distance
    is p(1 − p) / n on average, for a quantity the variance within / n. If it was computed from the
    same rows, the distance is 0 but for rounding. The sum of the square distances over that
    variance follows a χ² distribution; one that is too small for chance (p < 0.00001) gives the
    encoding away, if it is the mean to two digits in four of five rows. Shares in percent are
    found, too; means that are smoothed towards the overall one are not.

    Returns:
        0 if the input is not such an encoding; otherwise one over the size of a group, the median
        over the rows. As the groups are unknown, their size is the smallest that can have the mean.

    Args:
        values: shape (n_rows,), NaN where missing. All rows are needed: means of a sample differ.
        target: class numbers or values, shape (n_rows,).

    References:
        D. Micci-Barreca, "A preprocessing scheme for high-cardinality categorical attributes in
        classification and prediction problems", 2001.
    """
    finite = np.isfinite(values)
    distinct, group = np.unique(values[finite], return_inverse=True)
    if not _FEWEST_VALUES <= len(distinct) <= finite.sum() / 2:
        return 0.0
    known = target[finite]
    if task == "regression":
        return _own_share(distinct, group, known, quantity=True)
    return max(
        _own_share(distinct / unit, group, known == code, quantity=False)
        for code in np.unique(known)
        for unit in (1, 100)
    )


def _own_share(
    encoding: np.ndarray, group: np.ndarray, target: np.ndarray, quantity: bool
) -> float:
    """The share of `encoded_target_share`, of a quantity or of whether a row is of a class.

    Args:
        encoding: distinct values, shape (n_groups,).
        group: of each row, the position of its value, shape (n_rows,).
    """
    counts, sums = np.bincount(group), np.bincount(group, target)
    means = sums / counts
    if quantity:
        used, sizes = counts > 1, counts
        within = np.square(target - means[group]).sum() / (len(target) - len(counts))
        variance, rounding = np.full(len(counts), within), 0.01 * float(target.std())
    else:
        used, sizes = np.abs(encoding - 0.5) < 0.48, counts // np.gcd(sums.astype(int), counts)
        variance, rounding = encoding * (1 - encoding), 0.0051
    if used.sum() < _FEWEST_VALUES or not (variance[used] > 0).all():
        return 0.0
    differences, weights = np.abs(means - encoding)[used], counts[used]
    distances = weights * np.square(differences) / variance[used]
    by_chance = chi2.cdf(distances.sum(), len(weights)) >= _TOO_EXACT
    if by_chance or np.average(differences <= rounding, weights=weights) < _EXACT:
        return 0.0
    return float(np.median(np.repeat(1 / sizes[used], weights)))
