"""Histograms that are told many values at once.

prometheus_client takes one value a call. What stands behind it, a sum and a counter for each
bucket, is private there: it is used in this file only, and its test says when it has changed.
"""

from __future__ import annotations

import numpy as np
from prometheus_client import Histogram


class ManyValues:  # pylint: disable=too-few-public-methods
    """One child of a histogram.

    Args:
        child: with its labels, or of a histogram that has none.
    """

    def __init__(self, child: Histogram) -> None:
        # pylint: disable=protected-access
        self._sum = child._sum
        self._buckets = child._buckets
        self._bounds = np.array(child._upper_bounds)

    def observe(self, values: np.ndarray) -> None:
        """The same as `Histogram.observe` of each value; shape (n,)."""
        if values.size == 0:
            return
        self._sum.inc(float(values.sum(dtype=np.float64)))
        places = np.searchsorted(self._bounds, values, side="left")
        counts = np.bincount(places, minlength=len(self._buckets))
        for place in np.flatnonzero(counts[: len(self._buckets)]):  # NaN is in none
            self._buckets[place].inc(int(counts[place]))
