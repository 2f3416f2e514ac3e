"""Gates on the performance on the hold-out: in all, against a baseline, and in each slice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import binom

from domain.contract import ModelSpec
from domain.evaluation.metrics import RegressionReport, Report
from domain.evaluation.slices import SliceReport
from domain.gates.verdict import Verdict

_LEVEL = 0.05  # of the tests below


def quality(report: Report, threshold: float) -> Verdict:
    """Refuse when the accuracy, or R², on the hold-out is below the threshold."""
    reason = f"hold-out {report}, threshold {threshold:.3f}"
    figures = {**report.to_dict(), "threshold": threshold}
    return Verdict("quality", report.score >= threshold, reason, figures)


def beats_baseline(
    report: Report, answers: np.ndarray, actual: np.ndarray, learned: np.ndarray
) -> Verdict:
    """Refuse a model that is not clearly better than always answering the same.

    Classes: an exact one-sided McNemar test at 5 % against the most frequent class of training. A
    quantity: the 95 % interval of R² must lie above 0, which is what its mean reaches.

    Args:
        report: quality on the hold-out.
        answers: on the hold-out, shape (n_rows, n_answers).
        actual: class numbers or values of the hold-out, shape (n_rows,).
        learned: those of training.

    References:
        Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
        percentages", 1947.
    """
    if isinstance(report, RegressionReport):
        low, high = report.interval
        reason = f"R² {report.score:.3f} (95 % interval {low:.3f} to {high:.3f}), the mean has 0"
        return Verdict("beats_baseline", low > 0, reason, {"low": low, "high": high})
    trivial = actual == np.bincount(learned, minlength=1).argmax()
    right = answers.argmax(axis=1) == actual
    won, lost = int((right & ~trivial).sum()), int((trivial & ~right).sum())
    chance = float(binom.sf(won - 1, won + lost, 0.5))
    reason = (
        f"accuracy {right.mean():.3f}, the most frequent class has {trivial.mean():.3f} "
        f"(p = {chance:.2g})"
    )
    figures = {"accuracy": float(right.mean()), "trivial": float(trivial.mean()), "p": chance}
    return Verdict("beats_baseline", chance <= _LEVEL, reason, figures)


def worst_slice(
    spec: ModelSpec, reports: Sequence[SliceReport], overall: float, margin: float
) -> Verdict:
    """Refuse when a slice is certainly served worse than all rows, by more than the margin.

    At 5 % over all slices together (Bonferroni). A declared slice with too few rows is named, and
    refuses nothing: a rare case is to be watched before there are enough of it.

    Args:
        reports: of the slices, the least probable first.
        overall: mean loss of all rows.
        margin: that the reports were made with.
    """
    judged = [report for report in reports if not np.isnan(report.p)]
    few = [f"{report.name} ({report.rows})" for report in reports if np.isnan(report.p)]
    lacking = f"; too few rows to judge {', '.join(few)}" if few else ""
    if not judged:
        return Verdict("worst_slice", True, f"no slice has enough rows{lacking}", {"slices": 0})
    worst = judged[0]
    chance = min(1.0, worst.p * len(judged))
    if spec.classes:
        told = f"accuracy {1 - worst.loss:.3f} of {worst.rows} rows, {1 - overall:.3f} of all"
    else:
        told = (
            f"mean error {worst.loss:.3f} standard deviations of {worst.rows} rows, "
            f"{overall:.3f} of all"
        )
    reason = (
        f"worst of {len(judged)} slices is {worst.name}: {told}, margin {margin:.3f} "
        f"(p = {chance:.2g}){lacking}"
    )
    figures = {
        "slices": len(judged),
        "rows": worst.rows,
        "loss": worst.loss,
        "overall": overall,
        "margin": margin,
        "p": chance,
    }
    return Verdict("worst_slice", chance > _LEVEL, reason, figures)
