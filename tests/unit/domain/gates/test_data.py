"""Gates on the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from domain import gates
from domain.contract import (
    Category,
    Classes,
    Datetime,
    HashedText,
    ModelSpec,
    Number,
    Quantity,
    Text,
)

HOLDOUT = np.array([f"{number:016x}" for number in range(30)])
TRAINING = np.array([f"{number:016x}" for number in range(30, 150)])
NONE = np.array([])
AMOUNT = Number("amount", "", -9, 9)
CODES = np.array([0, 1] * 10)


def test_a_hold_out_that_was_not_trained_on_is_accepted() -> None:
    verdict = gates.holdout_is_unseen(HOLDOUT, TRAINING)
    assert verdict.accepted
    assert verdict.reason == "0 of 30 hold-out rows were in training"


@pytest.mark.parametrize("seen", range(0, 30, 7))
def test_one_hold_out_row_that_was_in_training_is_refused(seen: int) -> None:
    verdict = gates.holdout_is_unseen(HOLDOUT, np.append(TRAINING, HOLDOUT[seen]))
    assert not verdict.accepted
    assert verdict.reason == "1 of 30 hold-out rows was in training"


def test_every_seen_row_is_counted() -> None:
    verdict = gates.holdout_is_unseen(HOLDOUT, np.concatenate([TRAINING, HOLDOUT]))
    assert verdict.reason == "30 of 30 hold-out rows were in training"


def test_a_whole_hold_out_is_accepted_in_any_order() -> None:
    verdict = gates.holdout_is_complete(HOLDOUT, HOLDOUT[::-1])
    assert verdict.accepted
    assert verdict.reason == "30 of 30 hold-out rows found in the data"


@pytest.mark.parametrize("missing", range(0, 30, 7))
def test_one_hold_out_row_that_is_missing_from_the_data_is_refused(missing: int) -> None:
    verdict = gates.holdout_is_complete(HOLDOUT, np.delete(HOLDOUT, missing))
    assert not verdict.accepted
    assert verdict.reason == "29 of 30 hold-out rows found in the data"


def test_an_empty_hold_out_is_refused_by_both_gates() -> None:
    assert not gates.holdout_is_unseen(NONE, TRAINING).accepted
    assert not gates.holdout_is_complete(NONE, NONE).accepted


def test_near_duplicates_are_reported_but_not_refused() -> None:
    verdict = gates.holdout_is_unseen(HOLDOUT, TRAINING, near_duplicates=2)
    assert verdict.accepted
    assert verdict.reason == "0 of 30 hold-out rows were in training; 2 near-duplicates"
    assert verdict.figures == {"seen": 0, "near_duplicates": 2, "copied": 0}
    assert gates.holdout_is_unseen(HOLDOUT, TRAINING).reason.endswith("rows were in training")


def test_many_copies_of_training_rows_are_refused() -> None:
    assert gates.holdout_is_unseen(HOLDOUT, TRAINING, 0, 0.249).accepted
    verdict = gates.holdout_is_unseen(HOLDOUT, TRAINING, 3, 0.31)
    assert not verdict.accepted
    assert "31% are copies of training rows with small changes, limit 25%" in verdict.reason
    assert verdict.figures["copied"] == 0.31


def test_a_seen_row_is_refused_with_or_without_near_duplicates() -> None:
    for near in (0, 5):
        assert not gates.holdout_is_unseen(HOLDOUT, HOLDOUT[:1], near).accepted


def test_a_hold_out_of_one_row_is_accepted() -> None:
    assert gates.holdout_is_unseen(HOLDOUT[:1], TRAINING).accepted
    assert gates.holdout_is_complete(HOLDOUT[:1], HOLDOUT).accepted


def test_an_input_that_is_the_target_is_refused_by_name() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(2, size=200)
    encoded = np.stack([rng.normal(size=200), target * 3.0], axis=1).astype(np.float32)
    spec = ModelSpec(
        "leaky", (Number("fine", "", -9, 9), Number("paid", "", 0, 3)), Classes(("no", "yes"))
    )
    verdict = gates.no_target_leakage(spec, encoded, target)
    assert not verdict.accepted
    assert verdict.reason.startswith("paid alone removes 100.0% of the baseline's error: it is")
    assert gates.no_target_leakage(spec, encoded * [1, 0], target).accepted


def table(*inputs: Number | Category | Datetime) -> ModelSpec:
    """A contract of these inputs and two classes."""
    return ModelSpec("table", inputs, Classes(("no", "yes")))


def test_a_leak_is_found_in_numbers_and_categories_of_either_task() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(2, size=200)
    spec = table(Category("box", ("small", "large")), Number("weight", "", -9, 9))
    encoded = np.stack([target, rng.normal(size=200)], axis=1).astype(np.float32)
    verdict = gates.no_target_leakage(spec, encoded, target)
    assert not verdict.accepted
    assert verdict.reason.startswith("box alone")
    rent = replace(spec, output=Quantity("rent"))
    quantity = encoded[:, 1].astype(np.float64)
    assert gates.no_target_leakage(rent, encoded, quantity).reason.startswith("weight alone")
    assert not gates.no_target_leakage(rent, encoded, quantity).accepted


def test_a_text_next_to_other_inputs_is_named_as_not_judged() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(2, size=200)
    words = HashedText("message", features=8)
    spec = table(Number("weight", "", -9, 9), words)
    texts = words.encode([("urgent", "later")[code] for code in target])
    encoded = np.column_stack([rng.normal(size=200), texts]).astype(np.float32)
    verdict = gates.no_target_leakage(spec, encoded, target)
    assert verdict.accepted and verdict.reason.endswith("; texts are not judged: message")


def test_a_date_that_gives_the_target_away_is_refused_by_its_part() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(2, size=400)
    spec = table(Datetime("closed", ("weekday", "day"), nullable=True), Number("x", "", -9, 9))
    days = np.where(target, "2024-01-06", "2024-01-02")
    encoded = spec.encode({"closed": days.tolist(), "x": rng.normal(size=400)})
    verdict = gates.no_target_leakage(spec, encoded, target)
    assert not verdict.accepted
    assert verdict.reason.startswith("closed weekday alone")
    honest = rng.choice(["2024-01-06", "2024-01-02"], 400).tolist()
    encoded = spec.encode({"closed": honest, "x": rng.normal(size=400)})
    verdict = gates.no_target_leakage(spec, encoded, target)
    assert verdict.accepted
    assert {"closed weekday", "closed day", "x"} == set(verdict.figures)


def test_leaks_are_named_before_strong_inputs_and_every_skill_is_a_figure() -> None:
    rng = np.random.default_rng(0)
    target, flag = rng.integers(0, 2, (2, 2000))
    strong = np.where(rng.random(2000) < 0.04, 1 - target, target)
    spec = table(*(Number(name, "", 0, 1) for name in ("strong", "flag", "other")))
    encoded = np.stack([strong, flag, flag ^ target], axis=1).astype(np.float32)
    verdict = gates.no_target_leakage(spec, encoded, target)
    pair, rest = verdict.reason.split("; ")
    single, advice = rest.split(" – ")
    assert not verdict.accepted
    assert "flag and other" in pair or "other and flag" in pair
    assert single.startswith("strong alone removes 9")
    assert advice.startswith("remove it, or one of a pair, from the inputs, or skip this gate")
    assert {"strong", "flag", "other"} < set(verdict.figures)
    assert gates.no_target_leakage(table(*spec.inputs[:2]), encoded[:, :2], target).accepted


def test_text_inputs_are_not_checked_for_leaks() -> None:
    spec = ModelSpec("reviews", (Text("review", 9),), Classes(("bad", "good")))
    verdict = gates.no_target_leakage(spec, np.array([["a"], ["b"]], object), np.arange(2))
    assert verdict == gates.Verdict(
        "no_target_leakage", True, "no number, category or date among the inputs"
    )


def test_an_input_worse_than_the_baseline_is_not_a_leak() -> None:
    noise = np.random.default_rng(0).normal(size=(200, 1)).astype(np.float32)
    verdict = gates.no_target_leakage(table(AMOUNT), noise, np.arange(200) % 2)
    assert verdict.figures["amount"] < 0
    assert verdict.reason == "the strongest input, amount, removes 0.0% of the baseline's error"


@pytest.mark.parametrize(
    ("call", "gate", "figures"),
    [
        (
            lambda: gates.holdout_is_unseen(HOLDOUT, TRAINING),
            "holdout_is_unseen",
            {"seen": 0, "near_duplicates": 0, "copied": 0},
        ),
        (
            lambda: gates.holdout_is_complete(HOLDOUT, HOLDOUT[3:]),
            "holdout_is_complete",
            {"missing": 3},
        ),
        (
            lambda: gates.no_target_leakage(table(AMOUNT), CODES[:, None] * 1.0, CODES),
            "no_target_leakage",
            {"amount": 1.0},
        ),
    ],
)
def test_every_verdict_has_the_name_and_figures_of_its_gate(
    call: Callable[[], gates.Verdict], gate: str, figures: dict[str, float]
) -> None:
    verdict = call()
    assert (verdict.gate, verdict.figures) == (gate, figures)
    assert isinstance(verdict.accepted, bool | np.bool)
