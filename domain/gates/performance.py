"""Gates on the performance on the hold-out: overall, against a baseline, and on each slice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import binom

from domain.contract import ModelSpec
from domain.evaluation.metrics import RegressionReport, Report
from domain.evaluation.slices import SliceReport
from domain.gates.verdict import Verdict

_LEVEL = 0.05  # of significance


def quality(report: Report, threshold: float) -> Verdict:
    """Refuse a model whose accuracy, or R², on the hold-out is below the threshold."""
    reason = f"hold-out {report}, threshold {threshold:.3f}"
    figures = {**report.to_dict(), "threshold": threshold}
    return Verdict("quality", report.score >= threshold, reason, figures)


def beats_baseline(
    spec: ModelSpec,
    report: Report,
    predictions: np.ndarray,
    actual: np.ndarray,
    training_target: np.ndarray,
) -> Verdict:
    """Refuse a model that is not significantly better than a constant prediction.

    Classes: an exact one-sided McNemar test at 5 % against the most frequent class of the training
    rows. A quantity: the 95 % interval of R² must lie above 0, the R² of predicting the mean.

    Args:
        report: quality on the hold-out.
        predictions: on the hold-out, shape (n_rows, n_columns).
        actual: class numbers or values of the hold-out, shape (n_rows,).
        training_target: class numbers or values of the training rows, shape (n_training,).

    References:
        Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
        percentages", 1947.
    """
    if isinstance(report, RegressionReport):
        low, high = report.interval
        reason = f"R² {report.score:.3f} (95 % interval {low:.3f} to {high:.3f}), baseline (mean) 0"
        return Verdict("beats_baseline", low > 0, reason, {"low": low, "high": high})
    baseline = actual == np.bincount(training_target, minlength=1).argmax()
    right = spec.decide(predictions) == actual
    won, lost = int((right & ~baseline).sum()), int((baseline & ~right).sum())
    p_value = float(binom.sf(won - 1, won + lost, 0.5))
    reason = (
        f"accuracy {right.mean():.3f}, baseline (most frequent class) {baseline.mean():.3f} "
        f"(p = {p_value:.2g})"
    )
    figures = {"accuracy": float(right.mean()), "trivial": float(baseline.mean()), "p": p_value}
    return Verdict("beats_baseline", p_value <= _LEVEL, reason, figures)


def worst_slice(
    spec: ModelSpec, reports: Sequence[SliceReport], overall: float, margin: float
) -> Verdict:
    """Refuse a model whose loss on a slice exceeds that on all rows by more than the margin.

    The test is at 5 % over all slices together (Bonferroni). A declared slice with too few rows is
    named in the reason and not judged, so that a rare case can be declared early.

    Args:
        reports: of the slices, ordered by p.
        overall: mean loss of all rows.
        margin: with which the reports were made.
    """
    judged = [report for report in reports if not np.isnan(report.p)]
    few = [f"{report.name} ({report.rows})" for report in reports if np.isnan(report.p)]
    not_judged = f"; too few rows to judge {', '.join(few)}" if few else ""
    if not judged:
        return Verdict("worst_slice", True, f"no slice has enough rows{not_judged}", {"slices": 0})
    worst = judged[0]
    p_value = min(1.0, worst.p * len(judged))
    if spec.classes:
        loss = f"accuracy {1 - worst.loss:.3f} on {worst.rows} rows, {1 - overall:.3f} overall"
    else:
        loss = (
            f"mean error {worst.loss:.3f} standard deviations on {worst.rows} rows, "
            f"{overall:.3f} overall"
        )
    reason = (
        f"worst of {len(judged)} slices is {worst.name}: {loss}, margin {margin:.3f} "
        f"(p = {p_value:.2g}){not_judged}"
    )
    figures = {
        "slices": len(judged),
        "rows": worst.rows,
        "loss": worst.loss,
        "overall": overall,
        "margin": margin,
        "p": p_value,
    }
    return Verdict("worst_slice", p_value > _LEVEL, reason, figures)
