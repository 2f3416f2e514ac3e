"""The result of a validation."""

from __future__ import annotations

from pathlib import Path

import pytest

from application.validation.judgement import Judgement
from domain.errors import GateRefusal
from domain.gates import Verdict
from tests import petals

REPORT = Path("build/validation")
FINE = Verdict("quality", True, "good enough")
LOW = Verdict("quality", False, "accuracy 0.5 is too low")
SEEN = Verdict("holdout_is_unseen", False, "3 of 30 hold-out rows were in training")


def test_a_candidate_is_accepted_if_every_gate_accepts_it() -> None:
    judgement = Judgement(petals.SPEC, [FINE, FINE])
    assert judgement.accepted
    assert not judgement.refused
    judgement.check_accepted("m 1.0.0", REPORT)


def test_one_refusal_is_enough_and_every_refusing_gate_is_named() -> None:
    judgement = Judgement(petals.SPEC, [SEEN, FINE, LOW])
    assert not judgement.accepted
    with pytest.raises(GateRefusal) as refused:
        judgement.check_accepted("m 1.0.0", REPORT)
    assert str(refused.value) == (
        "m 1.0.0 is refused by holdout_is_unseen, quality: the reasons are above and in "
        "build/validation"
    )


def test_a_candidate_without_verdicts_is_not_accepted() -> None:
    judgement = Judgement(petals.SPEC, [])
    assert not judgement.accepted
    with pytest.raises(GateRefusal, match="m 1.0.0 is refused: no gate was run"):
        judgement.check_accepted("m 1.0.0", REPORT)
