"""The gates of packaged weights, each with a case in which it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from application.training.config import ValidationConfig
from application.validation.transcription import golden, judge, quality
from domain.errors import PackageError
from tests.fakes import FakePackage
from tests.speech_fakes import SPEC

MEASURED: dict[str, Any] = {"word_error_rate": 0.25, "word_error_rate_interval": [0.2, 0.3]}


def reproduces() -> None:
    """The golden recording is reproduced."""


def differs() -> None:
    """The golden recording is not reproduced."""
    raise PackageError("the model transcribes 'b'")


@pytest.mark.parametrize(("threshold", "accepted"), [(0.7, True), (0.75, True), (0.76, False)])
def test_the_word_accuracy_must_reach_the_threshold(threshold: float, accepted: bool) -> None:
    verdict = quality(MEASURED, threshold)
    assert verdict.accepted is accepted
    assert "word error rate 0.250 (95 % interval 0.200 to 0.300)" in verdict.reason


def test_unmeasured_weights_are_refused_with_a_solution() -> None:
    verdict = quality({}, 0.0)
    assert not verdict.accepted
    assert "data.manifest" in verdict.reason
    assert "validation.threshold null" in verdict.reason


def test_without_a_threshold_everything_is_accepted_with_a_note() -> None:
    assert quality({}, None).accepted
    assert "not measured" in quality({}, None).reason
    assert "0.250" in quality(MEASURED, None).reason


def test_a_model_that_does_not_reproduce_its_golden_recording_is_refused() -> None:
    assert golden(reproduces).accepted
    verdict = golden(differs)
    assert not verdict.accepted
    assert verdict.reason == "the model transcribes 'b'"


def package(version: str = "1.0.0", **metrics: Any) -> FakePackage:
    """A package of weights that were measured."""
    files = {
        "metrics.json": MEASURED | {"utterances": utterances(5)} | metrics,
        "contract.json": SPEC.to_dict(),
        "provenance.json": {"config": {"version": version}},
    }
    return FakePackage(files, None, f"{version}-fake")


def utterances(errors: int, recordings: int = 40) -> list[dict[str, Any]]:
    """Ten words in each recording, and in every other one so many errors."""
    return [
        {
            "recording": f"{number}.wav",
            "said": "ten words",
            "words": 10,
            "substitutions": errors * (number % 2),
            "deletions": 0,
            "insertions": 0,
        }
        for number in range(recordings)
    ]


def refusing(made: FakePackage, champion: FakePackage | None = None) -> list[str]:
    """Names of the gates that refuse."""
    rules = ValidationConfig(threshold=0.7)
    return [verdict.gate for verdict in judge(made, rules, reproduces, champion).refused]


def test_every_gate_is_run() -> None:
    judgement = judge(package(), ValidationConfig(threshold=0.9), differs)
    assert [(v.gate, v.accepted) for v in judgement.verdicts] == [
        ("contract_is_versioned", True),
        ("quality", False),
        ("golden", False),
        ("not_worse_than_champion", True),
    ]


def test_weights_worse_than_the_champion_are_refused() -> None:
    worse = package(utterances=utterances(7))
    assert not refusing(package(), worse)
    assert refusing(worse, package()) == ["not_worse_than_champion"]


def test_weights_with_the_same_errors_are_accepted_with_the_comparison() -> None:
    judgement = judge(package(), ValidationConfig(threshold=0.7), reproduces, package())
    assert judgement.accepted
    assert judgement.comparison is not None
    assert judgement.comparison.identical
    assert judgement.comparison.champion == judgement.comparison.challenger == 0.75


@pytest.mark.parametrize(("margin", "allowed"), [(None, 0.05), (0.02, 0.02), (0.9, 0.375)])
def test_the_margin_of_word_accuracy_is_a_twentieth_unless_it_is_configured(
    margin: float | None, allowed: float
) -> None:
    rules = ValidationConfig(threshold=0.7, margin=margin)
    judgement = judge(package(), rules, reproduces, package(utterances=utterances(5)))
    (verdict,) = (v for v in judgement.verdicts if v.gate == "not_worse_than_champion")
    assert verdict.figures["margin"] == pytest.approx(allowed)


@pytest.mark.parametrize("common", [0, 1, 19])
def test_too_few_common_recordings_are_refused(common: int) -> None:
    assert refusing(package(), package(utterances=utterances(4, common))) == (
        ["not_worse_than_champion"] if common else []
    )
    others = [row | {"said": "other words"} for row in utterances(4)[common:]]
    champion = package(utterances=[*utterances(4)[:common], *others])
    assert refusing(package(), champion) == ["not_worse_than_champion"]


def test_an_unmeasured_champion_is_reported_as_not_compared() -> None:
    judgement = judge(package(), ValidationConfig(), reproduces, package(utterances=[]))
    assert judgement.verdicts[-1].accepted
    assert judgement.verdicts[-1].reason == "cannot be compared: 1.0.0-fake was not measured"


def test_an_unavailable_champion_is_a_refusal() -> None:
    rules = ValidationConfig(threshold=0.7)
    judgement = judge(package(), rules, reproduces, unavailable="it is gone")
    assert [verdict.gate for verdict in judgement.refused] == ["not_worse_than_champion"]
    assert "it is gone" in judgement.refused[0].reason


def test_a_changed_contract_of_weights_needs_a_new_version() -> None:
    narrower = package()
    narrower.files["contract.json"] = replace(
        SPEC,
        inputs=(replace(SPEC.inputs[0], max_seconds=10), *SPEC.inputs[1:]),
    ).to_dict()
    assert refusing(narrower, package()) == ["contract_is_versioned"]
