"""Gates on the data: the hold-out is unseen and complete, and no input gives the target away."""

from __future__ import annotations

import numpy as np

from domain.contract import Category, ModelSpec, Number
from domain.evaluation.leakage import LIMITS, single_feature_skill
from domain.gates.verdict import Verdict


def holdout_is_unseen(
    holdout: np.ndarray, training: np.ndarray, near_duplicates: int = 0
) -> Verdict:
    """Refuse a hold-out with rows that were in training.

    Args:
        holdout: row hashes of the hold-out, shape (n_holdout,).
        training: row hashes of the training rows, shape (n_training,).
        near_duplicates: number of hold-out rows that are nearly equal to a training row. It is
            reported, not refused: two real rows may differ by less than the measuring error.
    """
    seen = int(np.isin(holdout, training).sum())
    reason = f"{seen} of {len(holdout)} hold-out rows were in training"
    reason += f"; {near_duplicates} near-duplicates" * bool(near_duplicates)
    figures = {"seen": seen, "near_duplicates": near_duplicates}
    return Verdict("holdout_is_unseen", seen == 0 and len(holdout) > 0, reason, figures)


def holdout_is_complete(recorded: np.ndarray, found: np.ndarray) -> Verdict:
    """Refuse data from which hold-out rows recorded in the package are missing."""
    missing = int((~np.isin(recorded, found)).sum())
    reason = f"{len(recorded) - missing} of {len(recorded)} hold-out rows found in the data"
    return Verdict(
        "holdout_is_complete", missing == 0 and len(recorded) > 0, reason, {"missing": missing}
    )


def no_target_leakage(spec: ModelSpec, encoded: np.ndarray, target: np.ndarray) -> Verdict:
    """Refuse data in which one input alone gives the target away.

    Such an input is usually unknown when a prediction is needed.

    Args:
        encoded: encoded rows, shape (n_rows, width).
        target: class numbers or values, shape (n_rows,).
    """
    names = [item.name for item in spec.inputs if isinstance(item, Number | Category)]
    columns = zip(names, spec.columns_of(Number, Category), strict=True)
    skills = {
        name: single_feature_skill(encoded[:, column], target, spec.task)
        for name, column in columns
    }
    if not skills:  # the brightness of an image or the length of a text may predict everything
        return Verdict("no_target_leakage", True, "no number or category among the inputs")
    name, limit = max(skills, key=lambda each: skills[each]), LIMITS[spec.task]
    reason = (
        f"{name} alone removes {max(0.0, skills[name]):.1%} of the baseline's error, "
        f"limit {limit:.1%}"
    )
    return Verdict("no_target_leakage", bool(skills[name] < limit), reason, skills)
