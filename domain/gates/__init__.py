"""The gates that a candidate must pass. Each returns a verdict with a reason."""

from domain.gates.behaviour import (
    column_order,
    deterministic,
    parity,
    predictions_are_valid,
    robustness,
)
from domain.gates.champion import budget, contract_is_versioned, not_worse_than_champion
from domain.gates.data import holdout_is_complete, holdout_is_unseen, no_target_leakage
from domain.gates.performance import beats_baseline, quality, worst_slice
from domain.gates.uncertainty import calibration, interval_coverage
from domain.gates.verdict import Verdict

__all__ = [
    "Verdict",
    "predictions_are_valid",
    "beats_baseline",
    "budget",
    "calibration",
    "column_order",
    "contract_is_versioned",
    "deterministic",
    "holdout_is_unseen",
    "holdout_is_complete",
    "interval_coverage",
    "no_target_leakage",
    "not_worse_than_champion",
    "parity",
    "quality",
    "robustness",
    "worst_slice",
]
