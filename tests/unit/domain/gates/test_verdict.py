"""Verdicts of all gates."""

from __future__ import annotations

import json
from math import nan

import numpy as np

from domain import gates
from domain.evaluation.contract_change import ContractChange
from domain.evaluation.metrics import ClassificationReport
from domain.evaluation.parity import Parity
from domain.evaluation.slices import SliceReport

HOLDOUT = np.array([f"{number:016x}" for number in range(30)])
TRAINING = np.array([f"{number:016x}" for number in range(30, 150)])
BREAKING = ContractChange(breaking=("area is a new input",))
NORTH = SliceReport("north", 30, 0.6, 0.42, 0.75, 0.5, declared=False)


def test_a_verdict_is_named_after_its_gate() -> None:
    verdicts = [
        gates.holdout_is_unseen(HOLDOUT, TRAINING),
        gates.holdout_is_complete(HOLDOUT, HOLDOUT),
        gates.quality(ClassificationReport(np.eye(2, dtype=np.int64)), 0, 0.5, 1),
        gates.parity("parity", Parity(1, 0.0, 0)),
        gates.parity("parity_at_edges", Parity(1, 0.0, 0)),
    ]
    names = [verdict.gate for verdict in verdicts]
    whole = ["holdout_is_unseen", "holdout_is_complete", "quality", "parity", "parity_at_edges"]
    assert names == whole


def test_a_verdict_can_be_written_as_json() -> None:
    for verdict in (
        gates.holdout_is_unseen(HOLDOUT, TRAINING),
        gates.parity("parity", Parity(1, 0.1, 0)),
    ):
        assert json.loads(json.dumps(verdict.to_dict())) == {
            "gate": verdict.gate,
            "accepted": verdict.accepted,
            "reason": verdict.reason,
            "figures": verdict.figures,
            "skipped": False,
        }


def test_a_refusal_is_marked_by_a_word() -> None:
    words = [gates.parity("parity", Parity(1, difference, 0)).word for difference in (0.0, 0.1)]
    assert words == ["accepted", "REFUSED"]


def test_the_verdicts_can_be_written_as_json() -> None:
    for verdict in (
        gates.holdout_is_unseen(HOLDOUT, TRAINING),
        gates.worst_slice([NORTH], "accuracy", 0.65, 0.15),
        gates.robustness(0.0, 0.1, 0.01),
        gates.column_order(np.eye(2), np.eye(2)),
        gates.contract_is_versioned(BREAKING, "1.0.0", "2.0.0"),
        gates.budget("size", 10, 10, 3.0, "B"),
    ):
        assert json.loads(json.dumps(verdict.to_dict()))["accepted"] is True


def test_a_nan_figure_is_written_as_none() -> None:
    written = gates.robustness(nan, 0.1, 0.01).to_dict()["figures"]
    assert written == {"changed": None, "limit": 0.1, "noise": 0.01}
