"""Quality without labels, estimated from calibrated probabilities. NumPy only: the server uses it.

References:
    J. Białek et al., "Estimating model performance under covariate shift without labels", 2024
    (arXiv 2401.08348): confidence-based performance estimation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from domain.contract import Classes, ModelSpec
from domain.evaluation.intervals import wilson_interval
from domain.evaluation.measures import Measure

FEWEST_ROWS = 30

_NONE = np.zeros(0)
_TINY = 1e-15  # of a variance, which is 0 but for rounding


@dataclass(frozen=True)
class IsotonicCalibration:
    """How often an outcome occurred in the hold-out, by score: an increasing step function.

    Of two classes, the outcome is the positive class and the score its probability; of more, the
    outcome is a right prediction and the score its confidence.

    Attributes:
        reason: why nothing can be estimated; empty if it can.
        edges: scores at which the next step begins, shape (n_steps - 1,).
        rows: number of hold-out rows of each step, shape (n_steps,).
        occurred: in how many of them the outcome occurred, shape (n_steps,).
    """

    reason: str = ""
    edges: np.ndarray = field(default_factory=_NONE.copy)
    rows: np.ndarray = field(default_factory=_NONE.copy)
    occurred: np.ndarray = field(default_factory=_NONE.copy)

    def count(self, spec: ModelSpec, predicted: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        """Number of rows of each step whose prediction is right unless the outcome occurs, and if
        it does, shape (2, n_steps).

        Args:
            predicted: number of the class, shape (n_rows,).
            confidence: its probability, shape (n_rows,).
        """
        scores, right = scores_of(spec, predicted, confidence)
        steps, n_steps = np.searchsorted(self.edges, scores, side="right"), len(self.edges) + 1
        counted = np.bincount(steps + right * n_steps, minlength=2 * n_steps)
        return counted.reshape(2, n_steps)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for ``metrics.json``."""
        if self.reason:
            return {"reason": self.reason}
        return {name: getattr(self, name).tolist() for name in ("edges", "rows", "occurred")}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | None) -> IsotonicCalibration:
        """The inverse of `to_dict`; None of a package that has none."""
        if data is None:
            return cls("the package has no calibration: train again")
        if "reason" in data:
            return cls(data["reason"])
        return cls("", *(np.array(data[name], float) for name in ("edges", "rows", "occurred")))


@dataclass(frozen=True)
class Estimate:
    """The score that a measure probably has on some rows.

    Attributes:
        rows: number of rows.
        score: None if it cannot be estimated.
        interval: contains the score of these rows, once they are labelled, in 95 of 100 cases.
        reason: why it cannot be estimated; empty if it can.
    """

    rows: int
    score: float | None = None
    interval: tuple[float, float] | None = None
    reason: str = ""


def scores_of(
    spec: ModelSpec, predicted: np.ndarray, confidence: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The scores that are calibrated, float64 of shape (n_rows,), and whether the prediction is
    right if the outcome occurs, bool of shape (n_rows,).

    Args:
        predicted: number of the class, shape (n_rows,).
        confidence: its probability, shape (n_rows,).
    """
    scores = confidence.astype(np.float64)
    output = spec.output
    if not isinstance(output, Classes) or len(output.names) != 2:
        return scores, np.ones(len(scores), bool)
    right = predicted == output.positive_code
    return np.where(right, scores, 1 - scores), right


def estimable(spec: ModelSpec) -> list[Measure]:
    """The measures that can be estimated for a contract."""
    names = list(_MEASURES) if len(spec.classes) == 2 else [_ACCURACY]
    return [Measure(spec, name) for name in names] if spec.classes else []


def estimate(calibration: IsotonicCalibration, measure: Measure, counts: np.ndarray) -> Estimate:
    """Estimate the score of rows of which only the counts are known.

    The interval is Wilson's, for the number of rows whose sampling error equals the error here,
    by linearisation: that of the labels of these rows, and that of the hold-out's shares. Those
    are drawn half a row towards 1/2 for the error only, so that a step without errors has one, too.

    Args:
        counts: as of `IsotonicCalibration.count`.
    """
    total = int(counts.sum())
    if measure.name not in {each.name for each in estimable(measure.spec)}:
        return Estimate(total, reason=f"{measure.title} cannot be estimated without labels")
    if calibration.reason:
        return Estimate(total, reason=calibration.reason)
    if total < FEWEST_ROWS:
        return Estimate(
            total, reason=f"too few to say: {total} predictions, {FEWEST_ROWS} are needed"
        )
    of_shares = _MEASURES[measure.name]
    with np.errstate(invalid="ignore", divide="ignore"):
        score, _ = of_shares(counts, calibration.occurred / calibration.rows)
    drawn = (calibration.occurred + 0.5) / (calibration.rows + 1)
    centre, slopes = of_shares(counts, drawn)
    variance = drawn * (1 - drawn)
    of_labels = (counts * slopes**2).sum(axis=0) @ variance
    of_holdout = (counts * slopes).sum(axis=0) ** 2 @ (variance / calibration.rows)
    error = of_labels + of_holdout
    if np.isnan(score) or error < _TINY:  # all ranks are equal, or all classes
        return Estimate(
            total, reason=f"these predictions differ too little in probability for {measure.title}"
        )
    equal = centre * (1 - centre) / error
    return Estimate(total, score, wilson_interval(score * equal, equal))


def _accuracy(counts: np.ndarray, shares: np.ndarray) -> tuple[float, np.ndarray]:
    """Accuracy, and by how much each row's outcome changes it, shape (2, n_steps)."""
    unless, if_occurred = counts
    score = (unless @ (1 - shares) + if_occurred @ shares) / counts.sum()
    return float(score), np.outer([-1.0, 1.0], np.ones_like(shares)) / counts.sum()


def _roc_auc(counts: np.ndarray, shares: np.ndarray) -> tuple[float, np.ndarray]:
    """Area under the ROC curve, and by how much each row's outcome changes it, as above."""
    rows = counts.sum(axis=0)
    positive, negative = rows * shares, rows * (1 - shares)
    all_positive, all_negative = positive.sum(), negative.sum()
    below = np.cumsum(negative) - negative / 2
    above = all_positive - np.cumsum(positive) + positive / 2
    score = positive @ below / (all_positive * all_negative)
    slopes = (below - above) / (all_positive * all_negative)
    slopes = slopes - score / all_positive + score / all_negative
    return float(score), np.tile(slopes, (2, 1))


_ACCURACY = "accuracy"
_MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]] = {
    _ACCURACY: _accuracy,
    "roc_auc": _roc_auc,
}
