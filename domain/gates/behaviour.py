"""Gates on the behaviour of the model: valid, stable and equal answers wherever it is asked."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from domain.contract import ModelSpec
from domain.evaluation.parity import Parity
from domain.gates.verdict import Verdict

_SUM_TOLERANCE = 1e-4


def predictions_are_valid(spec: ModelSpec, answers: np.ndarray) -> Verdict:
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
    return Verdict("predictions_are_valid", wrong == 0, reason, {"wrong": wrong})


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
