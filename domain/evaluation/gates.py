"""The gates that a candidate must pass, each with a named verdict and a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy.stats import binom

from domain.contract import Category, ModelSpec, Number
from domain.evaluation.calibration import Calibration
from domain.evaluation.comparison import Comparison
from domain.evaluation.contract_change import ContractChange
from domain.evaluation.leakage import LIMITS, told_by
from domain.evaluation.metrics import RegressionReport, Report
from domain.evaluation.parity import Parity
from domain.evaluation.slices import SliceReport

_LEVEL, _STRICT_LEVEL = 0.05, 0.01  # of the tests below
_SUM_TOLERANCE = 1e-4
_NARROW = 0.1  # width of an interval, in standard deviations of the true values
_UNITS = {"s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")), "B": ((2**20, "MiB"), (2**10, "KiB"))}


@dataclass(frozen=True)
class Verdict:
    """What one gate says.

    Attributes:
        reason: why, with the figures that it judged by, for people.
        figures: those figures, for programs.
        skipped: it refuses nothing, since the configuration says so.
    """

    gate: str
    accepted: bool
    reason: str
    figures: Mapping[str, float] = field(default_factory=dict)
    skipped: bool = False

    @property
    def word(self) -> str:
        """The verdict in a word."""
        if self.skipped:
            return "skipped"
        return "accepted" if self.accepted else "REFUSED"

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain data; None for a figure that is no number."""
        figures = {
            name: value if np.isfinite(value) else None for name, value in self.figures.items()
        }
        return {**asdict(self), "figures": figures}


def holdout_is_unseen(holdout: np.ndarray, training: np.ndarray, near_twins: int = 0) -> Verdict:
    """Refuse when a hold-out row was in training.

    Args:
        holdout: row hashes of the hold-out, shape (n_holdout,).
        training: row hashes of what the model learned from, shape (n_training,).
        near_twins: hold-out rows that are nearly one of training; they are told, not refused,
            since two flowers may well differ by less than their measures.
    """
    seen = int(np.isin(holdout, training).sum())
    reason = f"{seen} of {len(holdout)} hold-out rows were in training"
    reason += f"; {near_twins} nearly so" * bool(near_twins)
    figures = {"seen": seen, "near_twins": near_twins}
    return Verdict("holdout_is_unseen", seen == 0 and len(holdout) > 0, reason, figures)


def holdout_is_whole(recorded: np.ndarray, found: np.ndarray) -> Verdict:
    """Refuse when a hold-out row that the package records is missing from the data."""
    missing = int((~np.isin(recorded, found)).sum())
    reason = f"{len(recorded) - missing} of {len(recorded)} hold-out rows found in the data"
    return Verdict(
        "holdout_is_whole", missing == 0 and len(recorded) > 0, reason, {"missing": missing}
    )


def contract_is_versioned(change: ContractChange | None, old: str | None, new: str) -> Verdict:
    """Refuse a contract that has changed under a version that does not say so.

    What breaks requests needs a larger first number, what else changes a larger second one; a
    description needs none.

    Args:
        change: from the champion's contract; None where there is no champion.
        old: the champion's version; None where there is none.
        new: the version of the package that is judged.

    References:
        T. Preston-Werner, "Semantic Versioning 2.0.0", 2013.
    """
    if change is None or old is None:
        return Verdict("contract_is_versioned", True, "there is no champion whose contract to keep")
    figures = {"breaking": len(change.breaking), "compatible": len(change.compatible)}
    told = "; ".join(change.breaking or change.compatible or change.wording)
    if _numbers(new) < _numbers(old):
        reason = f"version {new} is below that of the champion, {old}"
        return Verdict("contract_is_versioned", False, reason, figures)
    if not change.breaking and not change.compatible:
        reason = f"the contract is that of the champion {old}" + f": {told}" * bool(told)
        return Verdict("contract_is_versioned", True, reason, figures)
    major, minor, _ = _numbers(old)
    needed = (major + 1, 0, 0) if change.breaking else (major, minor + 1, 0)
    kind = "breaks requests" if change.breaking else "has changed"
    reason = f"since {old} the contract {kind}: {told}"
    versioned = _numbers(new) >= needed
    if not versioned:
        reason += f"; {new} does not say so: make it {'.'.join(map(str, needed))}"
    return Verdict("contract_is_versioned", versioned, reason, figures)


def quality(report: Report, threshold: float) -> Verdict:
    """Refuse when the accuracy, or R², on the hold-out is below the threshold."""
    reason = f"hold-out {report}, threshold {threshold:.3f}"
    figures = {**report.to_dict(), "threshold": threshold}
    return Verdict("quality", report.score >= threshold, reason, figures)


def better_than_trivial(
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
        return Verdict("better_than_trivial", low > 0, reason, {"low": low, "high": high})
    trivial = actual == np.bincount(learned, minlength=1).argmax()
    right = answers.argmax(axis=1) == actual
    won, lost = int((right & ~trivial).sum()), int((trivial & ~right).sum())
    chance = float(binom.sf(won - 1, won + lost, 0.5))
    reason = (
        f"accuracy {right.mean():.3f}, the most frequent class has {trivial.mean():.3f} "
        f"(p = {chance:.2g})"
    )
    figures = {"accuracy": float(right.mean()), "trivial": float(trivial.mean()), "p": chance}
    return Verdict("better_than_trivial", chance <= _LEVEL, reason, figures)


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


def answers_are_valid(spec: ModelSpec, answers: np.ndarray) -> Verdict:
    """Refuse answers that are no answers.

    Probabilities must be finite, between 0 and 1, and add up to 1; a quantity must be finite and
    lie in its interval.

    Args:
        answers: shape (n_rows, n_answers).
    """
    if spec.classes:
        whole = np.abs(answers.sum(axis=1) - 1) <= _SUM_TOLERANCE
        valid = ((answers >= 0) & (answers <= 1)).all(axis=1) & whole
    else:
        value, lower, upper = answers.T
        valid = np.isfinite(answers).all(axis=1) & (lower <= value) & (value <= upper)
    wrong = int((~valid).sum())
    reason = f"{wrong} of {len(answers)} answers are not valid"
    return Verdict("answers_are_valid", wrong == 0, reason, {"wrong": wrong})


def deterministic(first: np.ndarray, again: np.ndarray) -> Verdict:
    """Refuse a model that answers the same rows otherwise the second time."""
    different = int((first != again).any(axis=1).sum())  # NaN differs from itself, and is wrong
    reason = f"{different} of {len(first)} rows are answered otherwise when asked again"
    return Verdict("deterministic", different == 0, reason, {"different": different})


def column_order(answers: np.ndarray, reordered: np.ndarray) -> Verdict:
    """Refuse a model that answers otherwise when the columns come in another order.

    Args:
        answers, reordered: to the same rows, shape (n_rows, n_answers) each.
    """
    different = int((answers != reordered).any(axis=1).sum())  # NaN differs from itself
    reason = (
        f"{different} of {len(answers)} rows are answered otherwise "
        "when the columns come in another order"
    )
    return Verdict("column_order", different == 0, reason, {"different": different})


def robustness(changed: float, limit: float, noise: float) -> Verdict:
    """Refuse a model whose answers change when its inputs hardly do.

    Args:
        changed: share of the rows whose class changes; of a quantity the mean change, in standard
            deviations of the answers.
        noise: what was added to the inputs, in parts of the standard deviation of each.
    """
    reason = (
        f"noise of {noise:.3g} standard deviations changes the answers by {changed:.3f}, "
        f"limit {limit:.3f}"
    )
    figures = {"changed": changed, "limit": limit, "noise": noise}
    return Verdict("robustness", bool(changed <= limit), reason, figures)


def no_input_is_the_target(spec: ModelSpec, encoded: np.ndarray, target: np.ndarray) -> Verdict:
    """Refuse data in which one input alone tells the target: it will not be known in time.

    Args:
        encoded: rows as the model gets them, shape (n_rows, width).
        target: class numbers or values, shape (n_rows,).
    """
    names = [item.name for item in spec.inputs if isinstance(item, Number | Category)]
    columns = zip(names, spec.columns_of(Number, Category), strict=True)
    told = {name: told_by(encoded[:, column], target, spec.task) for name, column in columns}
    if not told:  # brightness of an image or length of a text may well tell all
        return Verdict("no_input_is_the_target", True, "no input is a single number or word")
    name = max(told, key=lambda each: told[each])
    reason = f"{name} alone leaves {1 - told[name]:.1%} of a trivial answer's error"
    return Verdict("no_input_is_the_target", bool(told[name] < LIMITS[spec.task]), reason, told)


def parity(gate: str, measured: Parity, tolerance: float = 1e-5) -> Verdict:
    """Refuse when the served model does not answer as the native one.

    Args:
        gate: which rows were compared, ``parity`` or ``parity_at_edges``.
    """
    reason = (
        f"native and served differ by at most {measured.largest_difference:.1e} "
        f"(tolerance {tolerance:.0e}), in the class of {measured.different_classes} "
        f"of {measured.rows} rows"
    )
    # not "difference > tolerance", which NaN would pass
    same = measured.largest_difference <= tolerance and measured.different_classes == 0
    return Verdict(gate, same, reason, asdict(measured))


def not_worse_than_champion(
    comparison: Comparison | None,
    margin: float,
    fewest: int,
    left_out: int = 0,
    champion: str | None = None,
) -> Verdict:
    """Refuse a challenger that may be worse than the champion by the margin or more.

    A one-sided test at 5 %: the burden of proof is the challenger's. One that answers every row as
    the champion does has nothing to prove.

    Args:
        comparison: on the rows that are left; None where there is no champion, or no row.
        margin: in mean loss, the share of wrong classes or standard deviations of a quantity.
        fewest: rows that a comparison needs.
        left_out: hold-out rows that the champion has learned from, or whose values its contract
            refuses.
        champion: its version; None where there is no champion.
    """
    gate = "not_worse_than_champion"
    if comparison is None and champion is None:
        return Verdict(gate, True, "there is no champion to compare with")
    rows = comparison.rows if comparison else 0
    if comparison is None or rows < fewest:
        reason = (
            f"{left_out} of {left_out + rows} hold-out rows were left out, since the champion has "
            f"learned from them or does not take them; {rows} are left to compare on and {fewest} "
            "are needed: keep data.random_state, hold more rows out, or accept it once without a "
            "comparison by validation.skip"
        )
        return Verdict(gate, False, reason, {"rows": rows, "left_out": left_out, "fewest": fewest})
    counts = {"won": comparison.won, "lost": comparison.lost, "p": comparison.p}
    figures = {
        "rows": rows,
        "left_out": left_out,
        "champion": comparison.champion,
        "challenger": comparison.challenger,
        "difference": comparison.difference,
        "low": comparison.low,
        "high": comparison.high,
        "margin": margin,
        **{name: count for name, count in counts.items() if count is not None},
    }
    if comparison.identical:
        reason = f"every answer on {rows} rows is the champion's"
        return Verdict(gate, True, reason, figures)
    reason = f"{comparison}, margin {margin:g}"
    if comparison.low > -margin:
        return Verdict(gate, True, reason, figures)
    if comparison.difference <= -margin or comparison.high < -margin:
        return Verdict(gate, False, f"worse by more than the margin: {reason}", figures)
    needed = comparison.rows_needed(margin)
    reason = (
        f"too few rows to tell, about {needed:.0f} would be needed (or a larger "
        f"validation.margin): {reason}"
    )
    return Verdict(gate, False, reason, figures)


def budget(
    gate: str, challenger: float, champion: float | None, limit: float, unit: str
) -> Verdict:
    """Refuse what costs many times what the champion does.

    Args:
        gate: what was measured, ``latency`` or ``size``.
        champion: None where there is none; a figure that is not above 0 is none, and refuses.
        limit: largest ratio of the two.
        unit: ``s`` or ``B``.
    """
    if champion is None:
        return Verdict(gate, True, "there is no champion to compare with")
    ratio = challenger / champion if champion > 0 else float("nan")
    reason = (
        f"{_human(challenger, unit)}, the champion has {_human(champion, unit)}: "
        f"{ratio:.2f} times as much, limit {limit:.2f}"
    )
    figures = {"challenger": challenger, "champion": champion, "ratio": ratio, "limit": limit}
    return Verdict(gate, bool(ratio <= limit), reason, figures)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _human(value: float, unit: str) -> str:
    """A figure with the unit in which it reads best.

    >>> [_human(0.000212, "s"), _human(0.25, "s"), _human(3_500_000, "B")]
    ['212 µs', '250 ms', '3.34 MiB']
    """
    *larger, smallest = _UNITS[unit]
    scale, name = next((each for each in larger if value >= each[0]), smallest)
    return f"{value / scale:.3g} {name}"
