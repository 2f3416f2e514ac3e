"""Gates on the data: the hold-out is unseen and complete, and no input gives the target away."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from domain.contract import Category, Datetime, HashedText, ModelSpec, Number
from domain.data.dataset import are_among
from domain.evaluation.leakage import Leak, input_leak, pair_leaks
from domain.evaluation.near_duplicates import COPIES
from domain.gates.verdict import Verdict
from shared.wording import inflected


def holdout_is_unseen(
    holdout: Collection[str],
    training: Collection[str],
    near_duplicates: int = 0,
    copied: float = 0.0,
) -> Verdict:
    """Refuse a hold-out with rows that were in training, or with many copies of training rows.

    Args:
        holdout: row hashes of the hold-out, shape (n_holdout,).
        training: row hashes of the training rows, shape (n_training,).
        near_duplicates: number of hold-out rows that are nearly equal to a training row. It is
            reported, not refused: two real rows may differ by less than the measuring error.
        copied: share of the hold-out rows that are copies of training rows, beyond chance, such as
            rows of one customer on both sides; refused from 25 %.
    """
    seen = int(are_among(holdout, training).sum())
    reason = f"{seen} of {len(holdout)} hold-out rows {inflected(seen, 'was', 'were')} in training"
    pairs = inflected(near_duplicates, "near-duplicate", "near-duplicates")
    reason += f"; {near_duplicates} {pairs}" * bool(near_duplicates)
    if copied >= COPIES:
        reason += (
            f"; {copied:.0%} are copies of training rows with small changes, limit {COPIES:.0%}: "
            "remove the copies, or keep rows that belong together, such as those of one customer, "
            "on one side of the split"
        )
    figures = {"seen": seen, "near_duplicates": near_duplicates, "copied": copied}
    accepted = seen == 0 and len(holdout) > 0 and copied < COPIES
    return Verdict("holdout_is_unseen", accepted, reason, figures)


def holdout_is_complete(recorded: Collection[str], found: Collection[str]) -> Verdict:
    """Refuse data from which hold-out rows recorded in the package are missing."""
    missing = int((~are_among(recorded, found)).sum())
    reason = f"{len(recorded) - missing} of {len(recorded)} hold-out rows found in the data"
    return Verdict(
        "holdout_is_complete", missing == 0 and len(recorded) > 0, reason, {"missing": missing}
    )


def no_target_leakage(spec: ModelSpec, encoded: np.ndarray, target: np.ndarray) -> Verdict:
    """Refuse data in which an input, or a pair of inputs, gives the target away.

    Such an input is usually unknown when a prediction is needed. Strong inputs and weak leaks are
    pointed out in the reason and accepted. The figures are the skills of the inputs, and those of
    the best pairs.

    Args:
        encoded: encoded rows, shape (n_rows, width).
        target: class numbers or values, shape (n_rows,).
    """
    items = {
        name: item
        for item in spec.inputs
        if isinstance(item, Number | Category | Datetime)
        for name in _column_names(item)
    }
    columns = {
        name: encoded[:, column].astype(np.float64)
        for name, column in zip(items, spec.columns_of(Number, Category, Datetime), strict=True)
    }
    if not columns:  # the brightness of an image or the length of a text may predict everything
        return Verdict("no_target_leakage", True, "no number, category or date among the inputs")
    skills: dict[str, float] = {}
    leaks: list[Leak] = []
    for name, item in items.items():
        skill, leak = input_leak(name, columns[name], target, spec.task, isinstance(item, Category))
        skills[name] = skill.value
        leaks += [leak] if leak else []
    refused = {name for leak in leaks if leak.refused for name in leak.inputs}
    rest = {  # the parts of one date belong together, so a pair of them gives nothing away
        name: values
        for name, values in columns.items()
        if name not in refused and not isinstance(items[name], Datetime)
    }
    pairs, pair = pair_leaks(rest, skills, target, spec.task)
    leaks += pair
    best = max(skills, key=lambda name: skills[name])
    reason = "; ".join(
        leak.reason for leak in sorted(leaks, key=lambda leak: not leak.refused)
    ) or (
        f"the strongest input, {best}, removes {max(0.0, skills[best]):.1%} of the baseline's error"
    )
    texts = [item.name for item in spec.inputs if isinstance(item, HashedText)]
    if texts:  # a word may well decide
        reason += f"; texts are not judged: {', '.join(texts)}"
    figures = {**skills, **{name: skill.value for name, skill in pairs.items()}}
    accepted = not any(leak.refused for leak in leaks)
    if not accepted:
        reason += (
            " – remove it, or one of a pair, from the inputs, or skip this gate (validation.skip) "
            "if its value is known when a prediction is needed"
        )
    return Verdict("no_target_leakage", accepted, reason, figures)


def _column_names(item: Number | Category | Datetime) -> list[str]:
    """Names of an input's columns: of a date, its parts."""
    if isinstance(item, Datetime):
        return [f"{item.name} {part}" for part in item.parts]
    return [item.name]
