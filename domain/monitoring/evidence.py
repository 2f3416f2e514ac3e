"""Evidence of drift that may be looked at any time. NumPy only: the server uses it.

The counts of a variable's bins are bet on: each row multiplies the evidence by how much more
probable a changed distribution made its bin than an unchanged one. Without drift the evidence is a
nonnegative martingale that starts at 1, so that it ever reaches 1 / level with a probability of at
most that level, however often it is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from domain.monitoring.profile import Profile

TRAINING, PRODUCTION = "training", "production"
"""What rows are compared with: training, or what was predicted before."""
LEVEL = 0.01
"""Probability of a false alarm, over all variables and however long a model is watched."""

_CONCENTRATIONS = np.array([3.0, 10.0, 30.0, 100.0, 300.0, 1000.0])
_BLOCK_ROWS = 200  # between two rows at which a change may begin
_KEPT_STARTS = 8  # of each age, which doubles
_FEWEST = 10  # rows of a bin in the reference: rarer ones are joined
_PARTS, _PART_ROWS = 10, 30  # consecutive parts of the training rows, with so many rows at least
_SHIFT = 8  # from here on Stirling's series is exact to 1e-11


class Evidence:
    """Evidence that one variable's distribution changed, at any time since watching began.

    Under no change, the next row's bin has the predictive probabilities of a Dirichlet distribution
    with the counts so far. For numbers in bins between quantiles of the reference, that is exact
    for every continuous distribution and any number of reference rows. A change begins with one of
    the blocks of 200 rows, the later the less probable, and its distribution is a mixture of
    Dirichlet distributions around the one before.

    Args:
        reference: counts of the reference rows by bin, shape (n_bins,); all zero to compare rows
            only with earlier rows.

    Attributes:
        rows: number of rows so far.

    References:
        V. Vovk et al., "Testing randomness online", 2021 (conformal test martingales).
        A. Ramdas et al., "Game-theoretic statistics and safe anytime-valid inference", 2023.
    """

    def __init__(self, reference: np.ndarray) -> None:
        self._reference = np.asarray(reference, np.float64)
        self._total = np.zeros(len(self._reference))
        self._starts = [(0, self._total)]

    @property
    def rows(self) -> int:
        """Number of rows so far."""
        return int(self._total.sum())

    def add(self, counts: np.ndarray) -> None:
        """Add rows by their counts in the bins, shape (n_bins,)."""
        self._total = self._total + counts
        last = self._starts[-1]
        if (self._total - last[1]).sum() < _BLOCK_ROWS:
            return
        block = last[0] + 1
        self._starts = [start for start in self._starts if _is_kept(start[0], block)]
        self._starts.append((block, self._total))

    def log(self) -> float:
        """Natural logarithm of the evidence; 0 without any rows."""
        numbers = np.array([number for number, _ in self._starts], np.float64)
        before = np.array([counts for _, counts in self._starts])
        prior = self._reference + 0.5 + before
        after = self._total - before
        centre = prior / prior.sum(axis=1, keepdims=True)
        priors = np.concatenate([prior[None], _CONCENTRATIONS[:, None, None] * centre])
        unchanged, *changes = _log_dirichlet_multinomial(after, priors)
        changed = np.logaddexp.reduce(changes) - np.log(len(changes))
        # a change begins with block n with a probability of 1 / ((n + 1) (n + 2))
        terms = changed - unchanged - np.log((numbers + 1) * (numbers + 2))
        if not self._reference.any():
            terms[0] = np.log(0.5)  # nothing to compare the first block with
        terms = np.append(terms, -np.log(numbers[-1] + 2))  # for changes that have not begun
        return float(np.logaddexp.reduce(terms))

    def to_dict(self) -> dict[str, Any]:
        """What has been seen, as plain data."""
        starts = [[number, counts.astype(np.int64).tolist()] for number, counts in self._starts]
        return {"total": self._total.astype(np.int64).tolist(), "starts": starts}

    def restored(self, seen: Mapping[str, Any]) -> Self:
        """This evidence after what `to_dict` had."""
        self._total = np.array(seen["total"], np.float64)
        self._starts = [(number, np.array(counts, float)) for number, counts in seen["starts"]]
        return self


class DriftEvidence:
    """Evidence of drift of several variables, compared with training and with earlier production.

    Args:
        profiles: column and profile of each variable, by name.

    Attributes:
        rows: number of rows so far.
    """

    def __init__(self, profiles: Mapping[str, tuple[int, Profile]]) -> None:
        self.rows = 0
        self._bins = {name: (column, Bins(profile)) for name, (column, profile) in profiles.items()}
        self._evidence = {
            TRAINING: {name: Evidence(bins.reference) for name, (_, bins) in self._bins.items()},
            PRODUCTION: {
                name: Evidence(np.zeros_like(bins.reference))
                for name, (_, bins) in self._bins.items()
            },
        }

    def add(self, columns: np.ndarray) -> None:
        """Add rows of shape (n_rows, n_columns)."""
        self.rows += len(columns)
        for name, (column, bins) in self._bins.items():
            counts = bins.count(columns[:, column])
            for evidence in self._evidence.values():
                evidence[name].add(counts)

    def logs(self) -> dict[str, dict[str, float]]:
        """Logarithms of the evidence by variable, compared with `TRAINING` and `PRODUCTION`."""
        return {
            reference: {name: each.log() for name, each in evidence.items()}
            for reference, evidence in self._evidence.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """What has been seen, as plain data."""
        seen = {
            reference: {name: each.to_dict() for name, each in evidence.items()}
            for reference, evidence in self._evidence.items()
        }
        return {"rows": self.rows, **seen}

    def restored(self, seen: Mapping[str, Any]) -> Self:
        """This evidence after what `to_dict` had, of the same variables."""
        self.rows = seen["rows"]
        for reference, evidence in self._evidence.items():
            for name, each in evidence.items():
                each.restored(seen[reference][name])
        return self


class Bins:
    """The bins of a profile, with rare ones joined, and the rows of the reference in them.

    Args:
        profile: of at least one row.

    Attributes:
        reference: number of rows in each bin, shape (n_bins,).
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        counts = np.round(profile.shares * profile.rows)
        common = counts >= _FEWEST
        self._groups = np.where(common, np.cumsum(common) - 1, common.sum())
        self._number = int(self._groups.max()) + 1
        self.reference = self._joined(counts)

    def count(self, values: np.ndarray) -> np.ndarray:
        """How many of `values`, shape (n_rows,), are in each bin, shape (n_bins,)."""
        return self._joined(self._profile.count(values))

    def _joined(self, counts: np.ndarray) -> np.ndarray:
        return np.bincount(self._groups, counts, self._number)


def varies_in_time(profile: Profile, values: np.ndarray, time: np.ndarray) -> bool:
    """Whether a variable's distribution depends on time, as that of a season does.

    Each of up to ten consecutive parts of the rows is compared with the others.

    Args:
        profile: of the values.
        values, time: of each row, shape (n_rows,).
    """
    bins, order = Bins(profile), np.argsort(time, kind="stable")
    parts = min(_PARTS, len(values) // _PART_ROWS)
    counts = (
        [bins.count(part) for part in np.array_split(values[order], parts)] if parts > 1 else []
    )
    found = []
    for part in counts:
        evidence = Evidence(bins.reference - part)
        evidence.add(part)
        found.append(evidence.log())
    return bool(alarms({str(number): value for number, value in enumerate(found)}))


def p_value(log_evidence: float) -> float:
    """P-value that is valid at any time, at most 1."""
    return float(np.exp(-max(0.0, log_evidence)))


def alarms(log_evidence: Mapping[str, float], level: float = LEVEL) -> list[str]:
    """The variables that drift, most evidence first.

    The share of false alarms among them is at most `level` on average, whatever depends on what;
    if nothing drifts, the probability of any alarm ever is.

    Args:
        log_evidence: natural logarithm of the evidence by variable.

    References:
        R. Wang and A. Ramdas, "False discovery rate control with e-values", 2022 (e-BH).

    >>> alarms({"a": 5.0, "b": 9.0, "c": 0.5}, 0.05)
    ['b', 'a']
    """
    ranked = sorted(log_evidence, key=log_evidence.__getitem__, reverse=True)
    needed = [np.log(len(ranked) / (level * rank)) for rank in range(1, len(ranked) + 1)]
    reached = [
        rank for rank, name in enumerate(ranked) if log_evidence[name] >= needed[rank] - 1e-12
    ]
    return ranked[: reached[-1] + 1] if reached else []


def _is_kept(start: int, now: int) -> bool:
    """Whether a change may still begin with this block: of the earlier ones, fewer and fewer, so
    that their number grows with the logarithm of the blocks."""
    return start == 0 or now - start < _KEPT_STARTS * (start & -start)


def _log_dirichlet_multinomial(counts: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Logarithm of the probability of a sequence with these counts, arrays of shape (…, n_bins)."""
    both = np.stack(np.broadcast_arrays(prior, prior + counts))
    by_bin = _log_gamma(both).sum(axis=-1)
    total = _log_gamma(both.sum(axis=-1))
    result: np.ndarray = by_bin[1] - by_bin[0] - total[1] + total[0]
    return result


def _log_gamma(values: np.ndarray | Sequence[float]) -> np.ndarray:
    """Logarithm of the gamma function of positive values, by Stirling's series.

    References:
        M. Abramowitz and I. Stegun, "Handbook of mathematical functions", 6.1.15 and 6.1.41.
    """
    x = np.asarray(values, np.float64)
    product = np.ones_like(x)
    for step in range(_SHIFT):
        product = product * (x + step)
    y = x + _SHIFT
    series = 1 / (12 * y) - 1 / (360 * y**3) + 1 / (1260 * y**5) - 1 / (1680 * y**7)
    result: np.ndarray = (y - 0.5) * np.log(y) - y + 0.5 * np.log(2 * np.pi) + series
    return result - np.log(product)
