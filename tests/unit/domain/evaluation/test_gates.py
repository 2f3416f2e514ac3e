"""What each gate refuses and what it accepts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest

from domain.contract import Category, Classes, ModelSpec, Number, Quantity, Text
from domain.evaluation import gates
from domain.evaluation.calibration import Calibration, calibration_of
from domain.evaluation.comparison import Comparison, tango_interval
from domain.evaluation.contract_change import ContractChange
from domain.evaluation.metrics import ClassificationReport, RegressionReport, evaluate
from domain.evaluation.parity import Parity
from domain.evaluation.slices import SliceReport

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
            "skipped": False,
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
    ("covered", "rows", "accepted"),
    [
        *((90, 100, True), (82, 100, True), (81, 100, False)),
        *((96, 100, True), (97, 100, False), (100, 100, False), (30, 30, True)),
        *((850, 1000, True), (849, 1000, False), (950, 1000, True), (951, 1000, False)),
    ],
)
def test_intervals_that_certainly_hold_far_too_few_or_too_many_values_are_refused(
    covered: int, rows: int, accepted: bool
) -> None:
    actual = np.array([0.0] * covered + [9.0] * (rows - covered))
    report = RegressionReport(actual, np.tile([0.0, -1.0, 1.0], (rows, 1)), 0.9)
    verdict = gates.interval_coverage(report, 0.05)
    assert verdict.accepted is accepted
    assert f"{covered} of {rows} true values in their interval" in verdict.reason
    assert "wanted 0.900 ± 0.050" in verdict.reason


def test_narrow_intervals_may_hold_every_value() -> None:
    actual = np.linspace(0, 1, 200)
    for width, accepted in ((0.01, True), (0.5, False)):
        limits = np.stack([actual, actual - width, actual + width], axis=1)
        report = RegressionReport(actual, limits, 0.9)
        assert gates.interval_coverage(report, 0.05).accepted is accepted


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


def comparison_of(won: int, lost: int, rows: int) -> Comparison:
    """A champion that is wrong in a tenth of the rows, and a challenger."""
    limits = tango_interval(won, lost, rows)
    loss = 0.1 - (won - lost) / rows
    return Comparison(rows, 0.1, loss, *limits, won, lost, 0.5, identical=False)


def judged(
    comparison: Comparison | None, margin: float = 0.05, fewest: int = 20, left_out: int = 0
) -> gates.Verdict:
    """The verdict on a challenger of champion 1.0."""
    return gates.not_worse_than_champion(comparison, margin, fewest, left_out, "1.0")


def test_the_first_model_has_no_champion_and_says_so() -> None:
    verdict = gates.not_worse_than_champion(None, 0.05, 20)
    assert verdict.accepted
    assert verdict.gate == "not_worse_than_champion"
    assert verdict.reason == "there is no champion to compare with"


def test_a_challenger_that_is_not_worse_is_accepted_with_its_figures() -> None:
    found = comparison_of(won=20, lost=18, rows=1000)
    verdict = judged(found, left_out=7)
    assert verdict.accepted
    assert verdict.reason == f"{found}, margin 0.05"
    assert verdict.figures == {
        "rows": 1000,
        "left_out": 7,
        "champion": 0.1,
        "challenger": found.challenger,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "margin": 0.05,
        "won": 20,
        "lost": 18,
        "p": 0.5,
    }
    assert json.loads(json.dumps(verdict.to_dict()))["figures"] == verdict.figures


def test_a_quantity_has_no_counts() -> None:
    found = Comparison(100, 0.5, 0.5, -0.01, 0.01, None, None, None, identical=False)
    assert {"won", "lost", "p"}.isdisjoint(judged(found).figures)


def test_a_challenger_that_is_worse_by_more_than_the_margin_is_refused_as_that() -> None:
    verdict = judged(comparison_of(won=10, lost=110, rows=1000))
    assert not verdict.accepted
    assert verdict.reason.startswith("worse by more than the margin: mean loss 0.200, the champion")


def test_a_challenger_of_which_too_little_is_known_is_told_how_many_rows_it_needs() -> None:
    verdict = judged(comparison_of(won=10, lost=10, rows=143))
    assert not verdict.accepted
    assert verdict.reason.startswith("too few rows to tell, about 365 would be needed (or ")


@pytest.mark.parametrize("lost", range(0, 30, 3))
def test_exactly_those_whose_interval_lies_above_the_margin_are_accepted(lost: int) -> None:
    found = comparison_of(won=5, lost=lost, rows=300)
    assert judged(found).accepted is (found.low > -0.05)
    assert not judged(found, margin=-found.low).accepted
    assert judged(found, margin=-found.low + 1e-9).accepted


@pytest.mark.parametrize("margin", [0.05, 0.15])
@pytest.mark.parametrize("rows", [20, 143, 500])
def test_a_refusal_for_want_of_rows_asks_for_more_than_there_are(rows: int, margin: float) -> None:
    for won in range(0, rows // 4, 2):
        for lost in range(0, rows // 4, 2):
            found = comparison_of(won, lost, rows)
            if "too few" in judged(found, margin).reason:
                assert found.rows_needed(margin) > rows


def test_rows_that_the_champion_has_learned_from_are_counted_in_a_refusal() -> None:
    verdict = judged(comparison_of(won=3, lost=0, rows=19), margin=0.9, left_out=11)
    assert not verdict.accepted
    assert verdict.reason == (
        "11 of 30 hold-out rows were left out, since the champion has learned from them "
        "or does not take them; "
        "19 are left to compare on and 20 are needed: keep data.random_state, hold more rows out, "
        "or accept it once without a comparison by validation.skip"
    )
    assert judged(comparison_of(won=3, lost=0, rows=20), margin=0.9, left_out=10).accepted


def test_a_champion_that_has_learned_from_every_row_leaves_nothing_to_compare() -> None:
    verdict = judged(None, left_out=30)
    assert not verdict.accepted
    assert "30 of 30 hold-out rows were left out" in verdict.reason
    assert not judged(None, fewest=0, left_out=30).accepted


def test_the_champion_trained_again_is_accepted_on_rows_that_prove_nothing() -> None:
    found = comparison_of(won=0, lost=0, rows=30)
    assert not judged(found).accepted
    verdict = judged(replace(found, identical=True))
    assert verdict.accepted
    assert verdict.reason == "every answer on 30 rows is the champion's"
    assert not judged(replace(found, identical=True), fewest=31).accepted


@pytest.mark.parametrize(("low", "high"), [(nan, nan), (-inf, -inf), (nan, 1.0), (-inf, inf)])
def test_a_comparison_that_is_no_number_is_refused(low: float, high: float) -> None:
    found = Comparison(100, 0.5, inf, low, high, None, None, None, identical=False)
    assert not judged(found).accepted
    assert not judged(replace(found, challenger=nan)).accepted
    assert not judged(replace(found, challenger=0.5)).accepted


def calibration_with(error: float, p: float) -> Calibration:
    """What was measured in two bins."""
    two = np.array([0.6, 0.9])
    return Calibration(error, p, two, two, np.array([20, 20]))


@pytest.mark.parametrize(
    ("error", "p", "accepted"),
    [
        (0.1, 0.0005, True),  # certain, not material
        (0.101, 0.0005, False),
        (0.101, 0.0099, False),
        (0.101, 0.01, True),  # material, not certain
        (0.0, 1.0, True),
        (nan, nan, False),
        (inf, nan, False),
    ],
)
def test_calibration_is_refused_where_its_error_is_material_and_certain(
    error: float, p: float, accepted: bool
) -> None:
    assert gates.calibration(calibration_with(error, p), 0.1).accepted is accepted


def test_calibration_tells_its_figures() -> None:
    verdict = gates.calibration(calibration_with(0.2, 0.001), 0.1)
    assert verdict.gate == "calibration"
    assert verdict.reason == (
        "expected calibration error 0.200 (tolerance 0.100) in 2 bins of 40 rows; "
        "a calibrated model has as much with p = 0.001"
    )
    assert verdict.figures == {"error": 0.2, "tolerance": 0.1, "p": 0.001}


def test_a_classifier_that_is_always_sure_and_often_wrong_is_refused() -> None:
    answers, actual = np.tile([0.99, 0.01], (60, 1)), np.repeat([0, 1], [45, 15])
    assert not gates.calibration(calibration_of(answers, actual), 0.1).accepted
    answers = np.tile([0.75, 0.25], (60, 1))
    assert gates.calibration(calibration_of(answers, actual), 0.1).accepted


def test_near_twins_are_told_and_do_not_refuse() -> None:
    verdict = gates.holdout_is_unseen(HOLDOUT, TRAINING, near_twins=2)
    assert verdict.accepted
    assert verdict.reason == "0 of 30 hold-out rows were in training; 2 nearly so"
    assert verdict.figures == {"seen": 0, "near_twins": 2}
    assert gates.holdout_is_unseen(HOLDOUT, TRAINING).reason.endswith("rows were in training")


def test_a_seen_row_is_refused_with_or_without_near_twins() -> None:
    for near in (0, 5):
        assert not gates.holdout_is_unseen(HOLDOUT, HOLDOUT[:1], near).accepted


def slice_report(p: float, name: str = "north", rows: int = 30, loss: float = 0.4) -> SliceReport:
    """What was measured of a slice."""
    return SliceReport(name, rows, loss, 0.25, 0.58, p, declared=False)


@pytest.mark.parametrize(("p", "accepted"), [(0.011, False), (0.0126, True), (1.0, True)])
def test_the_worst_of_four_slices_is_judged_at_a_quarter_of_the_level(
    p: float, accepted: bool
) -> None:
    reports = [slice_report(p)] + [slice_report(1.0, "south")] * 3
    verdict = gates.worst_slice(CLASSES, reports, 0.05, 0.15)
    assert verdict.accepted is accepted
    assert verdict.reason == (
        "worst of 4 slices is north: accuracy 0.600 of 30 rows, 0.950 of all, "
        f"margin 0.150 (p = {min(1, 4 * p):.2g})"
    )
    assert verdict.figures == {
        "slices": 4,
        "rows": 30,
        "loss": 0.4,
        "overall": 0.05,
        "margin": 0.15,
        "p": min(1, 4 * p),
    }


def test_the_worst_slice_of_a_quantity_has_an_error() -> None:
    reason = gates.worst_slice(REGRESSION, [slice_report(0.2, loss=0.8)], 0.5, 0.15).reason
    assert "north: mean error 0.800 standard deviations of 30 rows, 0.500 of all" in reason


def test_a_slice_of_too_few_rows_is_named_and_does_not_count() -> None:
    few = slice_report(np.nan, "rare", rows=3)
    verdict = gates.worst_slice(CLASSES, [slice_report(0.04), few], 0.05, 0.15)
    assert not verdict.accepted  # 0.04 is not doubled
    assert verdict.reason.endswith("(p = 0.04); too few rows to judge rare (3)")
    alone = gates.worst_slice(CLASSES, [few], 0.05, 0.15)
    assert alone.accepted
    assert alone.reason == "no slice has enough rows; too few rows to judge rare (3)"


def test_no_slices_are_accepted_and_said_to_be_none() -> None:
    verdict = gates.worst_slice(CLASSES, [], 0.05, 0.15)
    assert verdict.accepted
    assert verdict.reason == "no slice has enough rows"


@pytest.mark.parametrize(
    ("changed", "accepted"),
    [(0.0, True), (0.1, True), (0.101, False), (np.nan, False), (np.inf, False)],
)
def test_answers_that_change_with_the_noise_are_refused(changed: float, accepted: bool) -> None:
    verdict = gates.robustness(changed, limit=0.1, noise=0.01)
    assert verdict.accepted is accepted
    assert verdict.reason == (
        f"noise of 0.01 standard deviations changes the answers by {changed:.3f}, limit 0.100"
    )


def test_answers_that_depend_on_the_order_of_columns_are_refused() -> None:
    answers = np.array([[0.5, 0.5], [1, 0]])
    assert gates.column_order(answers, answers.copy()).accepted
    verdict = gates.column_order(answers, answers[:, ::-1])
    assert not verdict.accepted
    assert verdict.reason == (
        "1 of 2 rows are answered otherwise when the columns come in another order"
    )
    nothing = np.full((2, 2), np.nan)
    assert not gates.column_order(nothing, nothing).accepted


BREAKING = ContractChange(breaking=("area is a new input",), compatible=("x may now be missing",))
COMPATIBLE = ContractChange(compatible=("x may now be missing",))
WORDING = ContractChange(wording=("x is described otherwise",))


@pytest.mark.parametrize(
    ("change", "old", "new", "accepted"),
    [
        (BREAKING, "1.2.3", "1.3.0", False),
        (BREAKING, "1.2.3", "2.0.0", True),
        (BREAKING, "9.0.0", "10.0.0", True),
        (BREAKING, "1.2.3", "0.9.9", False),
        (COMPATIBLE, "1.2.3", "1.2.3", False),
        (COMPATIBLE, "1.2.3", "1.2.10", False),
        (COMPATIBLE, "1.9.3", "1.10.0", True),
        (COMPATIBLE, "1.2.3", "2.0.0", True),
        (WORDING, "1.2.3", "1.2.3", True),
        (ContractChange(), "1.2.3", "1.2.3", True),
        (ContractChange(), "1.2.3", "1.0.0", False),
    ],
)
def test_the_version_must_say_that_the_contract_has_changed(
    change: ContractChange, old: str, new: str, accepted: bool
) -> None:
    assert gates.contract_is_versioned(change, old, new).accepted is accepted


def test_a_version_that_does_not_say_so_is_told_which_would() -> None:
    assert gates.contract_is_versioned(BREAKING, "1.2.3", "1.2.4").reason == (
        "since 1.2.3 the contract breaks requests: area is a new input; "
        "1.2.4 does not say so: make it 2.0.0"
    )
    assert gates.contract_is_versioned(COMPATIBLE, "1.2.3", "1.2.4").reason == (
        "since 1.2.3 the contract has changed: x may now be missing; "
        "1.2.4 does not say so: make it 1.3.0"
    )
    wording = gates.contract_is_versioned(WORDING, "1.2.3", "1.2.4").reason
    assert wording == "the contract is that of the champion 1.2.3: x is described otherwise"


@pytest.mark.parametrize("change", [ContractChange(), WORDING, COMPATIBLE, BREAKING])
def test_a_version_does_not_go_down(change: ContractChange) -> None:
    verdict = gates.contract_is_versioned(change, "1.2.0", "1.1.9")
    assert not verdict.accepted
    assert verdict.reason == "version 1.1.9 is below that of the champion, 1.2.0"


def test_the_first_model_has_no_contract_to_keep() -> None:
    verdict = gates.contract_is_versioned(None, None, "1.0.0")
    assert verdict.accepted
    assert verdict.reason == "there is no champion whose contract to keep"


@pytest.mark.parametrize(
    ("challenger", "champion", "accepted"),
    [
        (3e-4, 1e-4, True),
        (3.1e-4, 1e-4, False),
        (1e-5, 1e-4, True),
        (np.nan, 1e-4, False),
        (1e-4, np.nan, False),
        (1e-4, 0.0, False),
        (1e-4, None, True),
    ],
)
def test_a_budget_is_a_ratio_to_the_champion(
    challenger: float, champion: float | None, accepted: bool
) -> None:
    assert gates.budget("latency", challenger, champion, 3.0000001, "s").accepted is accepted


def test_a_budget_is_told_in_units_that_read_well() -> None:
    slow = gates.budget("latency", 2.12e-4, 5.3e-5, 3.0, "s")
    assert slow.gate == "latency"
    assert slow.reason == "212 µs, the champion has 53 µs: 4.00 times as much, limit 3.00"
    assert slow.figures == pytest.approx(
        {"challenger": 2.12e-4, "champion": 5.3e-5, "ratio": 4.0, "limit": 3.0}
    )
    large = gates.budget("size", 3 * 2**20, 512 * 2**10, 10, "B")
    assert large.reason == "3 MiB, the champion has 512 KiB: 6.00 times as much, limit 10.00"
    first = gates.budget("latency", 0.0251, None, 3.0, "s")
    assert first.reason == "there is no champion to compare with"


def test_the_verdicts_can_be_written_as_json() -> None:
    for verdict in (
        gates.holdout_is_unseen(HOLDOUT, TRAINING),
        gates.worst_slice(CLASSES, [slice_report(0.5)], 0.05, 0.15),
        gates.robustness(0.0, 0.1, 0.01),
        gates.column_order(np.eye(2), np.eye(2)),
        gates.contract_is_versioned(BREAKING, "1.0.0", "2.0.0"),
        gates.budget("size", 10, 10, 3.0, "B"),
    ):
        assert json.loads(json.dumps(verdict.to_dict()))["accepted"] is True


def table(*inputs: Number | Category) -> ModelSpec:
    """A contract of these inputs and two classes."""
    return ModelSpec("table", inputs, Classes(("no", "yes")))


AMOUNT = Number("amount", "", -9, 9)
TWO_OF_THREE = np.array([[0.5, 0.5], [1, 0], [0, 1]])
SURE = np.eye(2)[[0, 1] * 10]
CODES = np.array([0, 1] * 10)
QUANTITIES = RegressionReport(np.arange(9.0), np.stack([np.arange(9.0)] * 3, axis=1), 0.9)
LOW_OF_COMPARISON = Comparison(100, 0.1, 0.11, -0.06, 0.04, None, None, None, identical=False)


@pytest.mark.parametrize(
    ("ask", "gate", "figures"),
    [
        (lambda: gates.holdout_is_whole(HOLDOUT, HOLDOUT[3:]), "holdout_is_whole", {"missing": 3}),
        (
            lambda: gates.contract_is_versioned(BREAKING, "1.0.0", "2.0.0"),
            "contract_is_versioned",
            {"breaking": 1, "compatible": 1},
        ),
        (
            lambda: gates.contract_is_versioned(WORDING, "1.0.0", "1.0.0"),
            "contract_is_versioned",
            {"breaking": 0, "compatible": 0},
        ),
        (lambda: gates.contract_is_versioned(None, None, "1.0.0"), "contract_is_versioned", {}),
        (
            lambda: gates.quality(report_with(27, 30), 0.9),
            "quality",
            {**report_with(27, 30).to_dict(), "threshold": 0.9},
        ),
        (
            lambda: gates.better_than_trivial(
                QUANTITIES, QUANTITIES.answers, QUANTITIES.actual, NONE
            ),
            "better_than_trivial",
            {"low": 1.0, "high": 1.0},
        ),
        (
            lambda: gates.better_than_trivial(evaluate(CLASSES, SURE, CODES), SURE, CODES, CODES),
            "better_than_trivial",
            {"accuracy": 1.0, "trivial": 0.5, "p": pytest.approx(0.5**10)},
        ),
        (
            lambda: gates.interval_coverage(QUANTITIES, 0.05),
            "interval_coverage",
            {"covered": 1.0, "wanted": 0.9, "tolerance": 0.05, "p": pytest.approx(0.9**9)},
        ),
        (lambda: gates.worst_slice(CLASSES, [], 0.05, 0.15), "worst_slice", {"slices": 0}),
        (lambda: gates.answers_are_valid(CLASSES, SURE), "answers_are_valid", {"wrong": 0}),
        (lambda: gates.deterministic(SURE, SURE), "deterministic", {"different": 0}),
        (
            lambda: gates.deterministic(TWO_OF_THREE, TWO_OF_THREE[:, ::-1]),
            "deterministic",
            {"different": 2},
        ),
        (
            lambda: gates.column_order(TWO_OF_THREE, TWO_OF_THREE[:, ::-1]),
            "column_order",
            {"different": 2},
        ),
        (
            lambda: gates.robustness(0.2, 0.1, 0.01),
            "robustness",
            {"changed": 0.2, "limit": 0.1, "noise": 0.01},
        ),
        (
            lambda: gates.no_input_is_the_target(table(AMOUNT), CODES[:, None] * 1.0, CODES),
            "no_input_is_the_target",
            {"amount": 1.0},
        ),
        (
            lambda: gates.parity("parity", Parity(150, 0.5, 2)),
            "parity",
            {"rows": 150, "largest_difference": 0.5, "different_classes": 2},
        ),
        (
            lambda: judged(None, left_out=30),
            "not_worse_than_champion",
            {"rows": 0, "left_out": 30, "fewest": 20},
        ),
        (lambda: gates.budget("size", 10, None, 3.0, "B"), "size", {}),
    ],
)
def test_every_verdict_has_the_name_and_the_figures_of_its_gate(
    ask: Callable[[], gates.Verdict], gate: str, figures: dict[str, float]
) -> None:
    verdict = ask()
    assert (verdict.gate, verdict.figures) == (gate, figures)
    assert isinstance(verdict.accepted, bool | np.bool)


@pytest.mark.parametrize(
    ("comparison", "accepted"),
    [
        (comparison_of(won=20, lost=18, rows=1000), True),
        (replace(comparison_of(won=0, lost=0, rows=30), identical=True), True),
        (comparison_of(won=10, lost=110, rows=1000), False),
        (LOW_OF_COMPARISON, False),
    ],
)
def test_every_verdict_on_a_challenger_has_its_name_and_figures(
    comparison: Comparison, accepted: bool
) -> None:
    verdict = judged(comparison)
    assert (verdict.gate, verdict.accepted) == ("not_worse_than_champion", accepted)
    assert verdict.figures["low"] == comparison.low


def test_a_figure_that_is_no_number_is_written_as_none() -> None:
    written = gates.robustness(nan, 0.1, 0.01).to_dict()["figures"]
    assert written == {"changed": None, "limit": 0.1, "noise": 0.01}


def test_a_hold_out_of_one_row_is_one() -> None:
    assert gates.holdout_is_unseen(HOLDOUT[:1], TRAINING).accepted
    assert gates.holdout_is_whole(HOLDOUT[:1], HOLDOUT).accepted


@pytest.mark.parametrize(("change", "old"), [(BREAKING, None), (None, "1.0.0")])
def test_half_a_champion_has_no_contract_to_keep(
    change: ContractChange | None, old: str | None
) -> None:
    verdict = gates.contract_is_versioned(change, old, "1.0.0")
    assert verdict.accepted
    assert verdict.reason == "there is no champion whose contract to keep"


def test_every_change_is_told() -> None:
    change = ContractChange(breaking=("x is gone", "y is new"))
    assert "x is gone; y is new" in gates.contract_is_versioned(change, "1.0.0", "2.0.0").reason


def test_the_most_frequent_class_wins_rows_back() -> None:
    actual = np.repeat([0, 1], 20)
    answered = actual.copy()
    answered[:4], answered[27:] = 1, 0  # 7 of the rarer class are won, 4 of the other lost
    verdict = beats_trivial(CLASSES, probabilities(answered), actual, np.zeros(1, np.int64))
    assert not verdict.accepted
    assert verdict.figures["p"] == pytest.approx(562 / 2048)  # P(7 or more of 11)
    assert verdict.reason == "accuracy 0.575, the most frequent class has 0.500 (p = 0.27)"


def test_a_model_that_has_learned_from_no_row_is_compared_with_the_first_class() -> None:
    nothing = np.zeros(0, np.int64)
    assert beats_trivial(CLASSES, SURE, CODES, nothing).figures["trivial"] == 0.5


def test_a_regression_tells_its_interval_beside_the_mean() -> None:
    verdict = beats_trivial(REGRESSION, QUANTITIES.answers, QUANTITIES.actual, NONE)
    assert verdict.reason == "R² 1.000 (95 % interval 1.000 to 1.000), the mean has 0"


class AtTheMean(RegressionReport):
    """A regression of which it is not certain that it is better than the mean."""

    interval = (0.0, 0.5)


def test_a_regression_whose_interval_begins_at_the_mean_is_refused() -> None:
    report = AtTheMean(QUANTITIES.actual, QUANTITIES.answers, 0.9)
    assert not gates.better_than_trivial(report, report.answers, report.actual, NONE).accepted


def test_slices_of_too_few_rows_are_all_named() -> None:
    few = [slice_report(np.nan, name, rows=3) for name in ("rare", "rarer")]
    assert gates.worst_slice(CLASSES, few, 0.05, 0.15).reason.endswith("rare (3), rarer (3)")


def test_a_slice_at_the_level_is_refused() -> None:
    assert not gates.worst_slice(CLASSES, [slice_report(0.05)], 0.05, 0.15).accepted


def test_a_probability_above_1_is_refused_though_its_sum_is_near_1() -> None:
    assert not gates.answers_are_valid(CLASSES, np.array([[1.00005, 0.0]])).accepted


def test_the_rows_of_no_quantity_are_counted_one_by_one() -> None:
    answers = np.array([[5, 4, 6], [np.nan, 1, 2], [5, 4, 6]])
    assert gates.answers_are_valid(REGRESSION, answers).figures == {"wrong": 1}


def test_a_leak_is_found_in_numbers_and_categories_of_either_task() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(2, size=200)
    spec = table(Category("box", ("small", "large")), Number("weight", "", -9, 9))
    encoded = np.stack([target, rng.normal(size=200)], axis=1).astype(np.float32)
    verdict = gates.no_input_is_the_target(spec, encoded, target)
    assert not verdict.accepted
    assert verdict.reason.startswith("box alone")
    rent = replace(spec, output=REGRESSION.output)
    quantity = encoded[:, 1].astype(np.float64)
    assert gates.no_input_is_the_target(rent, encoded, quantity).reason.startswith("weight alone")
    assert not gates.no_input_is_the_target(rent, encoded, quantity).accepted


def test_a_text_is_no_input_that_can_be_the_target() -> None:
    spec = ModelSpec("reviews", (Text("review", 9),), Classes(("bad", "good")))
    verdict = gates.no_input_is_the_target(spec, np.array([["a"], ["b"]], object), np.arange(2))
    assert verdict == gates.Verdict(
        "no_input_is_the_target", True, "no input is a single number or word"
    )


def test_no_row_of_a_champion_is_left_out_unless_that_is_said() -> None:
    verdict = gates.not_worse_than_champion(None, 0.05, 20, champion="1.0")
    assert verdict.accepted is False
    assert verdict.reason.startswith("0 of 0 hold-out rows were left out")


def test_a_challenger_is_told_whether_it_is_worse_or_too_little_known() -> None:
    assert judged(LOW_OF_COMPARISON).reason.startswith("too few rows")
    at_margin = replace(LOW_OF_COMPARISON, champion=0.0, challenger=0.05)
    assert judged(at_margin).reason.startswith("worse by more than the margin")
    nothing = replace(LOW_OF_COMPARISON, champion=inf, challenger=inf, low=-inf, high=-inf)
    assert judged(nothing).reason.startswith("worse by more than the margin")


def test_a_budget_that_is_just_met_is_accepted() -> None:
    assert gates.budget("size", 3, 1, 3.0, "B").accepted
    assert gates.budget("latency", 1e-3, 1e-3, 3.0, "s").reason.startswith("1 ms, the champion")
