"""The gates of packaged weights, each with a case in which it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from application.validation.transcription import golden, judge, quality
from domain.errors import PackageError
from tests.fakes import FakePackage

MEASURED: dict[str, Any] = {"word_error_rate": 0.25, "word_error_rate_interval": [0.2, 0.3]}


def hears_again() -> None:
    """The golden recording is heard as it was."""


def hears_something_else() -> None:
    """The golden recording is heard otherwise."""
    raise PackageError("the model hears 'b'")


@pytest.mark.parametrize(("threshold", "accepted"), [(0.7, True), (0.75, True), (0.76, False)])
def test_the_word_accuracy_must_reach_the_threshold(threshold: float, accepted: bool) -> None:
    verdict = quality(MEASURED, threshold)
    assert verdict.accepted is accepted
    assert "word error rate 0.250 (95 % interval 0.200 to 0.300)" in verdict.reason


def test_weights_that_nobody_measured_are_refused_and_the_way_out_is_told() -> None:
    verdict = quality({}, 0.0)
    assert not verdict.accepted
    assert "data.manifest" in verdict.reason
    assert "validation.threshold null" in verdict.reason


def test_without_a_threshold_everything_is_accepted_and_the_verdict_says_so() -> None:
    assert quality({}, None).accepted
    assert "not measured" in quality({}, None).reason
    assert "0.250" in quality(MEASURED, None).reason


def test_a_model_that_hears_something_else_is_refused() -> None:
    assert golden(hears_again).accepted
    verdict = golden(hears_something_else)
    assert not verdict.accepted
    assert verdict.reason == "the model hears 'b'"


def test_every_gate_is_asked() -> None:
    package = FakePackage({"metrics.json": MEASURED}, native=None)
    verdicts = judge(package, 0.9, hears_something_else)
    assert [(v.gate, v.accepted) for v in verdicts] == [("quality", False), ("golden", False)]
