"""Gates on the performance on the hold-out: overall, against a baseline, and on each slice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from domain.evaluation.comparison import Comparison
from domain.evaluation.measures import format_score, signed
from domain.evaluation.metrics import Report
from domain.evaluation.slices import LEVEL, SliceReport
from domain.gates.verdict import Verdict

_TOO_GOOD = 0.995  # of what a perfect model gains over the baseline
_MANY_ROWS = 100


def quality(
    report: Report, threshold: float, baseline: float, best: float, only_class: str = ""
) -> Verdict:
    """Refuse a model whose score on the hold-out is below the threshold, or whose decision
    threshold predicts one class for every row, which a measure of ranks does not see.

    A score that is hardly ever honest, on many rows, is pointed out.

    Args:
        threshold: minimum score, in the unit of the measure.
        baseline: score of the best constant prediction on the hold-out.
        best: score of a perfect model.
        only_class: the class that a decision threshold predicts for every row; empty without one.
    """
    reason = f"hold-out {report}, threshold {format_score(threshold)}"
    if report.rows >= _MANY_ROWS and report.score - baseline >= _TOO_GOOD * (best - baseline) > 0:
        reason += "; almost perfect: look for an input that gives the target away"
    if only_class:
        reason += (
            f"; the decision threshold predicts {only_class} for every row: change the block "
            "decision of the configuration"
        )
    figures = {**report.to_dict(), "threshold": threshold}
    return Verdict("quality", report.score >= threshold and not only_class, reason, figures)


def beats_baseline(comparison: Comparison, chance: float = -np.inf) -> Verdict:
    """Refuse a model that is not significantly better than predictions without any skill: the best
    constant prediction, and for macro F1 and recall at a precision the model's own predictions for
    other rows.

    A one-sided test at 5 %; for accuracy, McNemar's exact test, too.

    Args:
        comparison: of the model, as challenger, with the constant prediction.
        chance: `Measure.chance` of the model's predictions.

    References:
        Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
        percentages", 1947.
    """
    gained = max(0.0, chance - comparison.champion)
    better = comparison.low > gained and (comparison.p is None or comparison.p <= 2 * LEVEL)
    reason = (
        f"{comparison.measure} {format_score(comparison.challenger)}, "
        f"baseline (best constant prediction) {format_score(comparison.champion)}; "
        f"difference {signed(comparison.difference)}, "
        f"90 % interval {signed(comparison.low)} to {signed(comparison.high)}"
    )
    if comparison.p is not None:
        reason += f" (one-sided p = {comparison.p / 2:.2g})"
    if gained > 0:
        reason += f"; the same predictions in random order {format_score(chance)}"
    if comparison.champion >= 1:  # the best score there is
        reason += (
            "; by this measure a constant prediction is perfect, so no model can be better: choose "
            "another measure, or for recall_at_precision a precision above the share of the "
            "positive class"
        )
    figures = {
        "score": comparison.challenger,
        "baseline": comparison.champion,
        "low": comparison.low,
        "high": comparison.high,
    }
    return Verdict("beats_baseline", better, reason, figures)


def worst_slice(
    reports: Sequence[SliceReport], measure: str, overall: float, margin: float
) -> Verdict:
    """Refuse a model whose score on a slice is below that on all rows by more than the margin, and
    below what can be reached there.

    The test is at 5 % over all slices together (Bonferroni). A slice that is hard for any model is
    named in the reason and accepted. A declared slice with too few rows is
    named in the reason and not judged, so that a rare case can be declared early.

    Args:
        reports: of the slices, ordered by p, those that are hard for any model last.
        measure: name of the measure.
        overall: score of all rows.
        margin: with which the reports were made.
    """
    judged = [report for report in reports if not np.isnan(report.p)]
    few = [f"{report.name} ({report.rows})" for report in reports if np.isnan(report.p)]
    not_judged = f"; too few rows to judge {', '.join(few)}" if few else ""
    if not judged:
        return Verdict("worst_slice", True, f"no slice has enough rows{not_judged}", {"slices": 0})
    worst = judged[0]
    p_value = min(1.0, worst.p * len(judged))
    reason = (
        f"the worst of {len(judged)} slices, {worst.name}: {measure} {format_score(worst.score)} "
        f"on {worst.rows} rows, {format_score(overall)} overall, margin {margin:.3f} "
        f"(p = {p_value:.2g})"
    )
    if np.isfinite(worst.reachable):
        reason += f"; plain gradient boosting reaches {format_score(worst.reachable)} there"
    hard = [f"{each.name} ({format_score(each.score)})" for each in judged if each.hard]
    if hard:
        reason += f"; worse, but hard for any model: {', '.join(hard)}"
    reason += not_judged
    figures = {
        "slices": len(judged),
        "rows": worst.rows,
        "score": worst.score,
        "overall": overall,
        "margin": margin,
        "p": p_value,
    }
    return Verdict("worst_slice", worst.hard or p_value > LEVEL, reason, figures)
