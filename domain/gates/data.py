"""Gates on the data: the hold-out is unseen and whole, and no input is the target."""

from __future__ import annotations

import numpy as np

from domain.contract import Category, ModelSpec, Number
from domain.evaluation.leakage import LIMITS, single_feature_skill
from domain.gates.verdict import Verdict


def holdout_is_unseen(
    holdout: np.ndarray, training: np.ndarray, near_duplicates: int = 0
) -> Verdict:
    """Refuse when a hold-out row was in training.

    Args:
        holdout: row hashes of the hold-out, shape (n_holdout,).
        training: row hashes of what the model learned from, shape (n_training,).
        near_duplicates: hold-out rows that are nearly one of training; they are told, not refused,
            since two flowers may well differ by less than their measures.
    """
    seen = int(np.isin(holdout, training).sum())
    reason = f"{seen} of {len(holdout)} hold-out rows were in training"
    reason += f"; {near_duplicates} nearly so" * bool(near_duplicates)
    figures = {"seen": seen, "near_duplicates": near_duplicates}
    return Verdict("holdout_is_unseen", seen == 0 and len(holdout) > 0, reason, figures)


def holdout_is_complete(recorded: np.ndarray, found: np.ndarray) -> Verdict:
    """Refuse when a hold-out row that the package records is missing from the data."""
    missing = int((~np.isin(recorded, found)).sum())
    reason = f"{len(recorded) - missing} of {len(recorded)} hold-out rows found in the data"
    return Verdict(
        "holdout_is_complete", missing == 0 and len(recorded) > 0, reason, {"missing": missing}
    )


def no_target_leakage(spec: ModelSpec, encoded: np.ndarray, target: np.ndarray) -> Verdict:
    """Refuse data in which one input alone tells the target: it will not be known in time.

    Args:
        encoded: rows as the model gets them, shape (n_rows, width).
        target: class numbers or values, shape (n_rows,).
    """
    names = [item.name for item in spec.inputs if isinstance(item, Number | Category)]
    columns = zip(names, spec.columns_of(Number, Category), strict=True)
    told = {
        name: single_feature_skill(encoded[:, column], target, spec.task)
        for name, column in columns
    }
    if not told:  # brightness of an image or length of a text may well tell all
        return Verdict("no_target_leakage", True, "no input is a single number or word")
    name = max(told, key=lambda each: told[each])
    reason = f"{name} alone leaves {1 - told[name]:.1%} of a trivial answer's error"
    return Verdict("no_target_leakage", bool(told[name] < LIMITS[spec.task]), reason, told)
