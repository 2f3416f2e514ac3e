"""What each gate refuses and what it accepts."""

from __future__ import annotations

import json

import numpy as np
import pytest

from domain.evaluation import gates
from domain.evaluation.metrics import ClassificationReport, RegressionReport, evaluate
from domain.evaluation.parity import Parity
from domain.models.contract import Classes, ModelSpec, Number, Quantity

HOLDOUT = np.array([f"{number:016x}" for number in range(30)])
TRAINING = np.array([f"{number:016x}" for number in range(30, 150)])
NONE = np.array([])


def report_with(correct: int, rows: int) -> ClassificationReport:
    """A report of two classes with so many right answers."""
    return ClassificationReport(np.array([[correct, rows - correct], [0, 0]]))


def test_a_hold_out_that_was_never_learned_from_is_accepted() -> None:
    verdict = gates.holdout_is_unseen(HOLDOUT, TRAINING)
    assert verdict.accepted
    assert verdict.reason == "0 of 30 hold-out rows were in training"


@pytest.mark.parametrize("seen", range(0, 30, 7))
def test_one_hold_out_row_that_was_in_training_is_refused(seen: int) -> None:
    verdict = gates.holdout_is_unseen(HOLDOUT, np.append(TRAINING, HOLDOUT[seen]))
    assert not verdict.accepted
    assert verdict.reason == "1 of 30 hold-out rows were in training"


def test_every_seen_row_is_counted() -> None:
    verdict = gates.holdout_is_unseen(HOLDOUT, np.concatenate([TRAINING, HOLDOUT]))
    assert verdict.reason == "30 of 30 hold-out rows were in training"


def test_a_whole_hold_out_is_accepted_in_any_order() -> None:
    verdict = gates.holdout_is_whole(HOLDOUT, HOLDOUT[::-1])
    assert verdict.accepted
    assert verdict.reason == "30 of 30 hold-out rows found in the data"


@pytest.mark.parametrize("missing", range(0, 30, 7))
def test_one_hold_out_row_that_is_missing_from_the_data_is_refused(missing: int) -> None:
    verdict = gates.holdout_is_whole(HOLDOUT, np.delete(HOLDOUT, missing))
    assert not verdict.accepted
    assert verdict.reason == "29 of 30 hold-out rows found in the data"


def test_an_empty_hold_out_is_refused_by_both_gates() -> None:
    assert not gates.holdout_is_unseen(NONE, TRAINING).accepted
    assert not gates.holdout_is_whole(NONE, NONE).accepted


def test_an_accuracy_at_the_threshold_is_accepted() -> None:
    assert gates.quality(report_with(27, 30), 0.9).accepted


def test_an_accuracy_just_below_the_threshold_is_refused_with_its_figures() -> None:
    verdict = gates.quality(report_with(26, 30), 0.9)
    assert not verdict.accepted
    assert "accuracy 0.867 (26 of 30" in verdict.reason
    assert "threshold 0.900" in verdict.reason


@pytest.mark.parametrize("correct", range(31))
def test_quality_refuses_exactly_what_is_below_the_threshold(correct: int) -> None:
    accepted = gates.quality(report_with(correct, 30), 0.85).accepted
    assert accepted == (correct >= 26)


def test_quality_tells_the_interval_of_the_accuracy() -> None:
    assert "95 % interval 0.744 to 0.965" in gates.quality(report_with(27, 30), 0.9).reason


@pytest.mark.parametrize(("error", "accepted"), [(1.0, True), (2.0, True), (2.1, False)])
def test_a_regression_is_judged_by_its_r2(error: float, accepted: bool) -> None:
    actual = np.array([0.0, 4.0, 8.0, 12.0, 16.0])  # variance 32
    answers = np.stack([actual + error * np.array([1, -1, 1, -1, 1])] * 3, axis=1)
    verdict = gates.quality(RegressionReport(actual, answers, 0.9), 0.875)
    assert verdict.accepted is accepted
    assert f"R² {1 - error**2 / 32:.3f} (5 rows" in verdict.reason


def test_a_quality_that_is_no_number_is_refused() -> None:
    report = RegressionReport(np.arange(3.0), np.full((3, 3), np.nan), 0.9)
    assert not gates.quality(report, -1e9).accepted


@pytest.mark.parametrize("difference", [0.0, 3e-7, 1e-5])
def test_a_difference_within_the_tolerance_is_accepted(difference: float) -> None:
    assert gates.parity("parity", Parity(150, difference, 0)).accepted


@pytest.mark.parametrize("difference", [1.01e-5, 0.5, np.inf, np.nan])
def test_a_difference_above_the_tolerance_or_none_at_all_is_refused(difference: float) -> None:
    verdict = gates.parity("parity", Parity(150, difference, 0))
    assert not verdict.accepted
    assert f"differ by at most {difference:.1e} (tolerance 1e-05)" in verdict.reason


def test_one_changed_class_is_refused_however_small_the_difference() -> None:
    verdict = gates.parity("parity", Parity(150, 1e-9, 1))
    assert not verdict.accepted
    assert "in the class of 1 of 150 rows" in verdict.reason


def test_the_tolerance_of_parity_can_be_chosen() -> None:
    measured = Parity(150, 1e-3, 0)
    assert gates.parity("parity", measured, tolerance=1e-2).accepted
    assert not gates.parity("parity", measured, tolerance=1e-4).accepted


def test_a_verdict_is_named_after_its_gate() -> None:
    verdicts = [
        gates.holdout_is_unseen(HOLDOUT, TRAINING),
        gates.holdout_is_whole(HOLDOUT, HOLDOUT),
        gates.quality(report_with(1, 1), 0),
        gates.parity("parity", Parity(1, 0.0, 0)),
        gates.parity("parity_at_edges", Parity(1, 0.0, 0)),
    ]
    names = [verdict.gate for verdict in verdicts]
    whole = ["holdout_is_unseen", "holdout_is_whole", "quality", "parity", "parity_at_edges"]
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
        }


def test_a_refusal_stands_out_in_a_word() -> None:
    words = [gates.parity("parity", Parity(1, difference, 0)).word for difference in (0.0, 0.1)]
    assert words == ["accepted", "REFUSED"]


REGRESSION = ModelSpec("rents", (Number("area", "m²", 0, 500),), Quantity("rent", coverage=0.9))
CLASSES = ModelSpec("flowers", (Number("length", "cm", 0, 9),), Classes(("small", "large")))


def probabilities(codes: np.ndarray) -> np.ndarray:
    """Sure answers, shape (n_rows, 2)."""
    return np.eye(2)[codes]


def test_valid_answers_are_accepted() -> None:
    assert gates.answers_are_valid(CLASSES, np.array([[0.25, 0.75], [1, 0]])).accepted
    assert gates.answers_are_valid(REGRESSION, np.array([[5.0, 4, 6], [5, 5, 5]])).accepted


@pytest.mark.parametrize("row", [[0.5, 0.6], [-0.1, 1.1], [np.nan, 1], [np.inf, 0], [0.2, 0.2]])
def test_a_row_of_no_probabilities_is_refused(row: list[float]) -> None:
    verdict = gates.answers_are_valid(CLASSES, np.array([[0.5, 0.5], row]))
    assert not verdict.accepted
    assert verdict.reason == "1 of 2 answers are not valid"
    assert verdict.figures == {"wrong": 1}


@pytest.mark.parametrize(
    "row", [[5, 6, 7], [5, 3, 4], [np.nan, 1, 2], [1, np.nan, 2], [1, 0, np.inf]]
)
def test_a_quantity_outside_its_interval_is_refused(row: list[float]) -> None:
    assert not gates.answers_are_valid(REGRESSION, np.array([[5, 4, 6], row])).accepted


def beats_trivial(
    spec: ModelSpec, answers: np.ndarray, actual: np.ndarray, learned: np.ndarray
) -> gates.Verdict:
    """The gate's verdict on these answers."""
    return gates.better_than_trivial(evaluate(spec, answers, actual), answers, actual, learned)


def test_a_model_that_always_gives_the_most_frequent_class_is_refused() -> None:
    actual, learned = np.array([0] * 60 + [1] * 40), np.array([0] * 6 + [1] * 4)
    constant = probabilities(np.zeros(100, np.int64))
    verdict = beats_trivial(CLASSES, constant, actual, learned)
    assert not verdict.accepted
    assert verdict.figures["accuracy"] == verdict.figures["trivial"] == 0.6


@pytest.mark.parametrize(("won", "accepted"), [(4, False), (5, True)])
def test_better_than_trivial_wants_more_than_chance(won: int, accepted: bool) -> None:
    actual = np.array([0] * 20 + [1] * 10)
    answered = actual.copy()
    answered[20 + won :] = 0  # of the rarer class only so many are found, and none is lost
    verdict = beats_trivial(CLASSES, probabilities(answered), actual, actual)
    assert verdict.accepted is accepted
    assert verdict.figures["p"] == pytest.approx(0.5**won)


def test_a_regression_must_beat_the_mean_with_its_whole_interval() -> None:
    rng = np.random.default_rng(0)
    actual = rng.normal(size=100)

    def answers(share: float) -> np.ndarray:
        middle = share * actual
        return np.stack([middle, middle - 1, middle + 1], axis=1)

    none = np.zeros(1)
    assert beats_trivial(REGRESSION, answers(0.8), actual, none).accepted
    assert not beats_trivial(REGRESSION, answers(0.0), actual, none).accepted
    assert not beats_trivial(REGRESSION, answers(-1.0), actual, none).accepted


@pytest.mark.parametrize(
    ("covered", "accepted"), [(90, True), (82, True), (81, False), (100, True)]
)
def test_intervals_that_hold_clearly_too_few_values_are_refused(
    covered: int, accepted: bool
) -> None:
    actual = np.array([0.0] * covered + [9.0] * (100 - covered))
    report = RegressionReport(actual, np.tile([0.0, -1.0, 1.0], (100, 1)), 0.9)
    verdict = gates.interval_coverage(report)
    assert verdict.accepted is accepted
    assert f"{covered} of 100 true values in their interval, wanted 90%" in verdict.reason


def test_answers_that_change_are_refused_and_so_are_answers_that_are_none() -> None:
    answers = np.array([[0.5, 0.5], [1, 0]])
    assert gates.deterministic(answers, answers.copy()).accepted
    changed = answers + [[0, 0], [-1e-9, 1e-9]]
    verdict = gates.deterministic(answers, changed)
    assert not verdict.accepted
    assert verdict.reason == "1 of 2 rows are answered otherwise when asked again"
    nothing = np.full((2, 2), np.nan)
    assert not gates.deterministic(nothing, nothing).accepted


def test_an_input_that_is_the_target_is_refused_by_its_name() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(2, size=200)
    encoded = np.stack([rng.normal(size=200), target * 3.0], axis=1).astype(np.float32)
    spec = ModelSpec(
        "leaky", (Number("fine", "", -9, 9), Number("paid", "", 0, 3)), Classes(("no", "yes"))
    )
    verdict = gates.no_input_is_the_target(spec, encoded, target)
    assert not verdict.accepted
    assert verdict.reason == "paid alone leaves 0.0% of a trivial answer's error"
    assert gates.no_input_is_the_target(spec, encoded * [1, 0], target).accepted
