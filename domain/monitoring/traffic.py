"""Whether a release answers its requests worse than the release before it.

Shares of requests are compared by Fisher's exact test, and those of a release without a predecessor
by the exact binomial test (R. A. Fisher, Statistical Methods for Research Workers, 1934, section
21.02).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from scipy.stats import binomtest, fisher_exact

FALSE_ALARMS = 0.001  # probability that a release as good as the previous one fails a measure
SLOW_QUANTILE = 0.99


@dataclass(frozen=True)
class Traffic:
    """Requests that a release has handled.

    Attributes:
        answered: number of requests with predictions.
        failed: number of requests that failed by the service's fault.
        refused: number of requests that the service did not accept.
        durations: number of answered requests that took no longer, by seconds.
    """

    answered: float = 0
    failed: float = 0
    refused: float = 0
    durations: Mapping[float, float] = field(default_factory=dict)

    @property
    def requests(self) -> float:
        """Number of requests."""
        return self.answered + self.failed + self.refused

    def usual_limit(self) -> float | None:
        """Seconds within which 99 % of the answers came; None if that is not known."""
        found = [
            seconds
            for seconds, count in sorted(self.durations.items())
            if math.isfinite(seconds) and count >= SLOW_QUANTILE * self.answered
        ]
        return found[0] if found and self.answered else None

    def slower_than(self, seconds: float) -> float:
        """Number of answered requests that took longer."""
        return self.answered - self.durations.get(seconds, self.answered)


def degradation(now: Traffic, before: Traffic, looks: int) -> str | None:
    """Why a release is worse than the one before it; None if that is not shown.

    Its share of failed requests must be higher by more than 1 percentage point, that of refused
    ones by more than 5, or that of answers that took longer than 99 % of those before by more than
    10, and not by chance.

    Args:
        looks: how often a release is compared. A release as good as the previous one fails any of
            these comparisons with a probability of at most 0.1 % per measure.
    """
    for what, found, count, earlier, total, margin in _measures(now, before):
        if count and _p_value(found, count, earlier, total, margin) < FALSE_ALARMS / looks:
            share = f"{found:.0f} of {count:.0f} {what} ({100 * found / count:.1f} %"
            return share + (f", before {100 * earlier / total:.1f} %)" if total else ")")
    return None


_Measure = tuple[str, float, float, float, float, float]


def _measures(now: Traffic, before: Traffic) -> Iterator[_Measure]:
    """What is compared: its words, the number of requests it is true of and of all, now and before,
    and the margin."""
    yield "requests failed", now.failed, now.requests, before.failed, before.requests, 0.01
    if not before.requests:
        return
    yield "requests were refused", now.refused, now.requests, before.refused, before.requests, 0.05
    limit = before.usual_limit()
    if limit is not None:
        slow, usual = now.slower_than(limit), before.slower_than(limit)
        words = f"answers took longer than {limit:g} s"
        yield words, slow, now.answered, usual, before.answered, 0.1


def _p_value(found: float, count: float, earlier: float, total: float, margin: float) -> float:
    """Probability of so many or more if the share exceeds the earlier one by the margin at most."""
    if not total:
        return float(binomtest(round(found), round(count), margin, "greater").pvalue)
    allowed = min(total, earlier + math.floor(margin * total))
    table = [[found, count - found], [allowed, total - allowed]]
    return float(fisher_exact(table, "greater")[1])
