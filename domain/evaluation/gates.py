"""The gates that a candidate must pass, each with a named verdict and a reason."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from domain.evaluation.metrics import Report
from domain.evaluation.parity import Parity


@dataclass(frozen=True)
class Verdict:
    """What one gate says, with the figures that it judged by."""

    gate: str
    accepted: bool
    reason: str

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
    return Verdict("holdout_is_unseen", seen == 0 and len(holdout) > 0, reason)


def holdout_is_whole(recorded: np.ndarray, found: np.ndarray) -> Verdict:
    """Refuse when a hold-out row that the package records is missing from the data."""
    missing = int((~np.isin(recorded, found)).sum())
    reason = f"{len(recorded) - missing} of {len(recorded)} hold-out rows found in the data"
    return Verdict("holdout_is_whole", missing == 0 and len(recorded) > 0, reason)


def quality(report: Report, threshold: float) -> Verdict:
    """Refuse when the accuracy, or R², on the hold-out is below the threshold."""
    reason = f"hold-out {report}, threshold {threshold:.3f}"
    return Verdict("quality", report.score >= threshold, reason)


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
    return Verdict(gate, same, reason)
