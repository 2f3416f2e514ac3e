"""Gates on the behaviour of the model: predictions are valid, stable and reproducible."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from domain.contract import ModelSpec
from domain.evaluation.parity import Parity
from domain.gates.verdict import Verdict
from shared.wording import inflected

_SUM_TOLERANCE = 1e-4


def predictions_are_valid(spec: ModelSpec, predictions: np.ndarray) -> Verdict:
    """Refuse invalid predictions.

    Probabilities must be finite, between 0 and 1, and sum to 1; a quantity must be finite and lie
    in its interval.

    Args:
        predictions: shape (n_rows, n_columns).
    """
    if spec.classes:
        whole = np.abs(predictions.sum(axis=1) - 1) <= _SUM_TOLERANCE
        valid = ((predictions >= 0) & (predictions <= 1)).all(axis=1) & whole
    else:
        value, lower, upper = predictions.T
        valid = np.isfinite(predictions).all(axis=1) & (lower <= value) & (value <= upper)
    wrong = int((~valid).sum())
    reason = f"{wrong} of {len(predictions)} predictions {inflected(wrong, 'is', 'are')} invalid"
    return Verdict("predictions_are_valid", wrong == 0, reason, {"wrong": wrong})


def deterministic(first: np.ndarray, second: np.ndarray) -> Verdict:
    """Refuse a model whose predictions for the same rows change when it is called again."""
    different = int((first != second).any(axis=1).sum())  # NaN differs from itself: it is refused
    change = inflected(different, "changes", "change")
    reason = f"{different} of {len(first)} predictions {change} on repeat"
    return Verdict("deterministic", different == 0, reason, {"different": different})


def column_order(predictions: np.ndarray, reordered: np.ndarray) -> Verdict:
    """Refuse a model whose predictions change when the columns are reordered.

    Args:
        predictions, reordered: for the same rows, shape (n_rows, n_columns) each.
    """
    different = int((predictions != reordered).any(axis=1).sum())  # NaN differs from itself
    change = inflected(different, "changes", "change")
    reason = (
        f"{different} of {len(predictions)} predictions {change} when the columns are reordered"
    )
    return Verdict("column_order", different == 0, reason, {"different": different})


def robustness(changed: float, limit: float, noise: float) -> Verdict:
    """Refuse a model whose predictions change much when its inputs change little.

    Args:
        changed: share of the rows whose class changes; for a quantity the mean change, in standard
            deviations of the predictions.
        noise: added to the inputs, in standard deviations of each.
    """
    reason = (
        f"noise of {noise:.3g} standard deviations changes the predictions by {changed:.3f}, "
        f"limit {limit:.3f}"
    )
    figures = {"changed": changed, "limit": limit, "noise": noise}
    return Verdict("robustness", bool(changed <= limit), reason, figures)


def parity(gate: str, measured: Parity, tolerance: float = 1e-5) -> Verdict:
    """Refuse a served model that does not predict the same as the native one.

    Args:
        gate: name of the gate, ``parity`` or ``parity_at_edges``, by the rows compared.
    """
    reason = (
        f"native and served predictions of {measured.rows} rows differ by at most "
        f"{measured.largest_difference:.1e} (tolerance {tolerance:.0e})"
    )
    if measured.different_classes is not None:
        reason += f"; the class differs in {measured.different_classes} "
        reason += inflected(measured.different_classes, "row", "rows")
    # not "difference > tolerance", which NaN would pass
    same = measured.largest_difference <= tolerance and not measured.different_classes
    figures = {name: value for name, value in asdict(measured).items() if value is not None}
    return Verdict(gate, same, reason, figures)
