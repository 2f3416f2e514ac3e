"""Gates on uncertainty: probabilities are calibrated, and intervals have their coverage."""

from __future__ import annotations

import numpy as np
from scipy.stats import binom

from domain.evaluation.calibration import Calibration
from domain.evaluation.metrics import RegressionReport
from domain.gates.verdict import Verdict

_STRICT_LEVEL = 0.01  # of significance
_NARROW = 0.1  # width of an interval, in standard deviations of the true values


def calibration(measured: Calibration, tolerance: float) -> Verdict:
    """Refuse a classifier whose calibration error is both large and significant.

    Args:
        tolerance: largest expected calibration error. A larger one is accepted if a calibrated
            model would reach it in more than 1 of 100 hold-outs.
    """
    reason = (
        f"expected calibration error {measured.error:.3f} (tolerance {tolerance:.3f}), "
        f"{measured.rows.sum()} rows in {len(measured.rows)} bins; a calibrated model reaches it "
        f"with p = {measured.p:.2g}"
    )
    # not "error > tolerance and p < level", which NaN would pass
    accepted = measured.error <= tolerance or measured.p >= _STRICT_LEVEL
    figures = {"error": measured.error, "tolerance": tolerance, "p": measured.p}
    return Verdict("calibration", accepted, reason, figures)


def interval_coverage(report: RegressionReport, tolerance: float) -> Verdict:
    """Refuse intervals that contain far too few of the true values, or far too many.

    The deviation must also be significant: an exact one-sided binomial test at 1 %. Intervals that
    are narrow compared with the spread of the true values may contain all of them.

    Args:
        tolerance: largest difference between the measured coverage and the target.
    """
    covered = round(report.covered * report.rows)
    expected = binom(report.rows, report.coverage)
    fewer = report.covered < report.coverage
    p_value = float(expected.cdf(covered) if fewer else expected.sf(covered - 1))
    reason = (
        f"{covered} of {report.rows} true values in their interval ({report.covered:.3f}), target "
        f"{report.coverage:.3f} ± {tolerance:.3f} (p = {p_value:.2g})"
    )
    figures = {
        "covered": report.covered,
        "wanted": report.coverage,
        "tolerance": tolerance,
        "p": p_value,
    }
    # in floating point, 0.9 − 0.85 is more than 0.05
    near = abs(report.covered - report.coverage) <= tolerance + 1e-9
    narrow = not fewer and report.mean_width <= _NARROW * np.std(report.actual)
    accepted = bool(near or narrow or p_value >= _STRICT_LEVEL)
    return Verdict("interval_coverage", accepted, reason, figures)
