"""Gates on the stated uncertainty: probabilities and intervals are as large as they should be."""

from __future__ import annotations

import numpy as np
from scipy.stats import binom

from domain.evaluation.calibration import Calibration
from domain.evaluation.metrics import RegressionReport
from domain.gates.verdict import Verdict

_STRICT_LEVEL = 0.01  # of the tests below
_NARROW = 0.1  # width of an interval, in standard deviations of the true values


def calibration(measured: Calibration, tolerance: float) -> Verdict:
    """Refuse a classifier that is certainly, and by too much, not right as often as it says.

    Args:
        tolerance: largest expected calibration error that is accepted; a larger one is accepted too
            where a calibrated model would show it more often than in 1 of 100 hold-outs.
    """
    reason = (
        f"expected calibration error {measured.error:.3f} (tolerance {tolerance:.3f}) in "
        f"{len(measured.rows)} bins of {measured.rows.sum()} rows; a calibrated model has as much "
        f"with p = {measured.p:.2g}"
    )
    # not "error > tolerance and p < level", which NaN would pass
    accepted = measured.error <= tolerance or measured.p >= _STRICT_LEVEL
    figures = {"error": measured.error, "tolerance": tolerance, "p": measured.p}
    return Verdict("calibration", accepted, reason, figures)


def interval_coverage(report: RegressionReport, tolerance: float) -> Verdict:
    """Refuse intervals that certainly hold far too few of the true values, or far too many.

    Certain by an exact binomial test at 1 % on the side where it errs. Intervals that are narrow
    beside the spread of the true values may hold all of them.

    Args:
        tolerance: largest difference between the share that is held and the one that is wanted.
    """
    covered = round(report.covered * report.rows)
    held = binom(report.rows, report.coverage)
    fewer = report.covered < report.coverage
    chance = float(held.cdf(covered) if fewer else held.sf(covered - 1))
    reason = (
        f"{covered} of {report.rows} true values in their interval ({report.covered:.3f}), wanted "
        f"{report.coverage:.3f} ± {tolerance:.3f} (p = {chance:.2g})"
    )
    figures = {
        "covered": report.covered,
        "wanted": report.coverage,
        "tolerance": tolerance,
        "p": chance,
    }
    # 0.9 − 0.85 is more than 0.05
    near = abs(report.covered - report.coverage) <= tolerance + 1e-9
    narrow = not fewer and report.mean_width <= _NARROW * np.std(report.actual)
    accepted = bool(near or narrow or chance >= _STRICT_LEVEL)
    return Verdict("interval_coverage", accepted, reason, figures)
