"""Histograms that observe many values in one call.

prometheus_client observes one value per call. This file updates its private sum and bucket counters
directly; the tests of this file fail if a new version of the library changes them.
"""

from __future__ import annotations

import numpy as np
from prometheus_client import Histogram


class ManyValues:  # pylint: disable=too-few-public-methods
    """One child of a histogram.

    Args:
        child: the histogram with its labels set, or a histogram without labels.
    """

    def __init__(self, child: Histogram) -> None:
        # pylint: disable=protected-access
        self._sum = child._sum
        self._buckets = child._buckets
        self._bounds = np.array(child._upper_bounds)

    def observe(self, values: np.ndarray) -> None:
        """The same as `Histogram.observe` for each value; `values` has shape (n,)."""
        if values.size == 0:
            return
        self._sum.inc(float(values.sum(dtype=np.float64)))
        places = np.searchsorted(self._bounds, values, side="left")
        counts = np.bincount(places, minlength=len(self._buckets))
        for place in np.flatnonzero(counts[: len(self._buckets)]):  # NaN is in no bucket
            self._buckets[place].inc(int(counts[place]))
