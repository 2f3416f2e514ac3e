"""The gates that a candidate must pass, each with a named verdict and a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from domain.evaluation.leakage import LIMITS, told_by
from domain.evaluation.metrics import RegressionReport, Report, binomial_tail
from domain.evaluation.parity import Parity
from domain.models.contract import Category, ModelSpec, Number

_LEVEL, _STRICT_LEVEL = 0.05, 0.01  # of the tests below
_SUM_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Verdict:
    """What one gate says.

    Attributes:
        reason: why, with the figures that it judged by, for people.
        figures: those figures, for programs.
    """

    gate: str
    accepted: bool
    reason: str
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def word(self) -> str:
        """The verdict in a word."""
        return "accepted" if self.accepted else "REFUSED"

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain data."""
        return asdict(self)


def holdout_is_unseen(holdout: np.ndarray, training: np.ndarray) -> Verdict:
    """Refuse when a hold-out row was in training.

    Args:
        holdout: row hashes of the hold-out, shape (n_holdout,).
        training: row hashes of what the model learned from, shape (n_training,).
    """
    seen = int(np.isin(holdout, training).sum())
    reason = f"{seen} of {len(holdout)} hold-out rows were in training"
    return Verdict("holdout_is_unseen", seen == 0 and len(holdout) > 0, reason, {"seen": seen})


def holdout_is_whole(recorded: np.ndarray, found: np.ndarray) -> Verdict:
    """Refuse when a hold-out row that the package records is missing from the data."""
    missing = int((~np.isin(recorded, found)).sum())
    reason = f"{len(recorded) - missing} of {len(recorded)} hold-out rows found in the data"
    return Verdict(
        "holdout_is_whole", missing == 0 and len(recorded) > 0, reason, {"missing": missing}
    )


def quality(report: Report, threshold: float) -> Verdict:
    """Refuse when the accuracy, or R², on the hold-out is below the threshold."""
    reason = f"hold-out {report}, threshold {threshold:.3f}"
    figures = {**report.to_dict(), "threshold": threshold}
    return Verdict("quality", report.score >= threshold, reason, figures)


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
    chance = binomial_tail(won, won + lost, 0.5)
    reason = (
        f"accuracy {right.mean():.3f}, the most frequent class has {trivial.mean():.3f} "
        f"(p = {chance:.2g})"
    )
    figures = {"accuracy": float(right.mean()), "trivial": float(trivial.mean()), "p": chance}
    return Verdict("better_than_trivial", chance <= _LEVEL, reason, figures)


def interval_coverage(report: RegressionReport) -> Verdict:
    """Refuse intervals that hold too few of the true values: an exact binomial test at 1 %."""
    covered = round(report.covered * report.rows)
    chance = 1 - binomial_tail(covered + 1, report.rows, report.coverage)
    reason = (
        f"{covered} of {report.rows} true values in their interval, wanted {report.coverage:.0%} "
        f"(p = {chance:.2g})"
    )
    figures = {"covered": report.covered, "wanted": report.coverage, "p": chance}
    return Verdict("interval_coverage", chance >= _STRICT_LEVEL, reason, figures)


def deterministic(first: np.ndarray, again: np.ndarray) -> Verdict:
    """Refuse a model that answers the same rows otherwise the second time."""
    different = int((first != again).any(axis=1).sum())  # NaN differs from itself, and is wrong
    reason = f"{different} of {len(first)} rows are answered otherwise when asked again"
    return Verdict("deterministic", different == 0, reason, {"different": different})


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
