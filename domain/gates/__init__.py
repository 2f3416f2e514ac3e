"""The gates that a candidate must pass, each with a named verdict and a reason."""

from domain.gates.behaviour import (
    answers_are_valid,
    column_order,
    deterministic,
    parity,
    robustness,
)
from domain.gates.champion import budget, contract_is_versioned, not_worse_than_champion
from domain.gates.data import holdout_is_unseen, holdout_is_whole, no_input_is_the_target
from domain.gates.performance import better_than_trivial, quality, worst_slice
from domain.gates.uncertainty import calibration, interval_coverage
from domain.gates.verdict import Verdict

__all__ = [
    "Verdict",
    "answers_are_valid",
    "better_than_trivial",
    "budget",
    "calibration",
    "column_order",
    "contract_is_versioned",
    "deterministic",
    "holdout_is_unseen",
    "holdout_is_whole",
    "interval_coverage",
    "no_input_is_the_target",
    "not_worse_than_champion",
    "parity",
    "quality",
    "robustness",
    "worst_slice",
]
