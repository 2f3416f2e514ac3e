"""Gates on the performance of a model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from domain import gates
from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.evaluation.comparison import Comparison, compare
from domain.evaluation.measures import Measure, default_measure, format_score, names_of
from domain.evaluation.metrics import ClassificationReport, RegressionReport, Score, evaluate
from domain.evaluation.slices import SliceReport

REGRESSION = ModelSpec("rents", (Number("area", "m²", 0, 500),), Quantity("rent", coverage=0.9))
CLASSES = ModelSpec("flowers", (Number("length", "cm", 0, 9),), Classes(("small", "large")))
SURE = np.eye(2)[[0, 1] * 10]
CODES = np.array([0, 1] * 10)
COSTS = {"small": {"large": 1.0}, "large": {"small": 5.0}}


def report_with(correct: int, rows: int) -> ClassificationReport:
    """A report of two classes with so many correct predictions."""
    return ClassificationReport(np.array([[correct, rows - correct], [0, 0]]))


def probabilities(codes: np.ndarray) -> np.ndarray:
    """Predictions with a probability of 1, shape (n_rows, 2)."""
    return np.eye(2)[codes]


def against_baseline(
    measure: Measure, predictions: np.ndarray, actual: np.ndarray, learned: np.ndarray
) -> Comparison:
    """The comparison with the constant prediction that is best for the learned rows."""
    baseline = measure.constant(learned)
    constant = np.tile(baseline, (len(actual), 1))
    return compare(measure, constant, predictions, actual, baseline)


def baseline_verdict(
    spec: ModelSpec, predictions: np.ndarray, actual: np.ndarray, learned: np.ndarray
) -> gates.Verdict:
    """The gate's verdict by accuracy, or by R²."""
    found = against_baseline(default_measure(spec), predictions, actual, learned)
    return gates.beats_baseline(found)


def slice_report(p: float, name: str = "north", rows: int = 30, score: float = 0.6) -> SliceReport:
    """The report of a slice."""
    return SliceReport(name, rows, score, 0.25, 0.58, p, declared=False)


def test_an_accuracy_at_the_threshold_is_accepted() -> None:
    assert gates.quality(report_with(27, 30), 0.9, 0.5, 1).accepted


def test_an_accuracy_just_below_the_threshold_is_refused_with_its_figures() -> None:
    verdict = gates.quality(report_with(26, 30), 0.9, 0.5, 1)
    assert not verdict.accepted
    assert "accuracy 0.867 (26 of 30" in verdict.reason
    assert "threshold 0.900" in verdict.reason


@pytest.mark.parametrize("correct", range(31))
def test_quality_refuses_exactly_the_scores_below_the_threshold(correct: int) -> None:
    accepted = gates.quality(report_with(correct, 30), 0.85, 0.5, 1).accepted
    assert accepted == (correct >= 26)


def test_quality_shows_the_interval_of_the_accuracy() -> None:
    assert "95 % interval 0.744 to 0.965" in gates.quality(report_with(27, 30), 0.9, 0.5, 1).reason


@pytest.mark.parametrize(("error", "accepted"), [(1.0, True), (2.0, True), (2.1, False)])
def test_a_regression_is_judged_by_its_r2(error: float, accepted: bool) -> None:
    actual = np.array([0.0, 4.0, 8.0, 12.0, 16.0])  # variance 32
    predictions = np.stack([actual + error * np.array([1, -1, 1, -1, 1])] * 3, axis=1)
    verdict = gates.quality(evaluate(Measure(REGRESSION, "r2"), predictions, actual), 0.875, 0, 1)
    assert verdict.accepted is accepted
    assert f"r2 {1 - error**2 / 32:.3f} (95 % interval" in verdict.reason
    assert ", 5 rows, " in verdict.reason


def test_a_nan_quality_is_refused() -> None:
    report = RegressionReport(np.arange(3.0), np.zeros((3, 3)), 0.9, Score("r2", np.nan, (0, 0)))
    assert not gates.quality(report, -1e9, 0, 1).accepted


def test_a_decision_threshold_that_predicts_one_class_only_is_refused() -> None:
    report = ClassificationReport(np.array([[90, 0], [10, 0]]), Score("roc_auc", 0.95, (0, 1)))
    assert gates.quality(report, 0.9, 0.5, 1).accepted
    verdict = gates.quality(report, 0.9, 0.5, 1, "no")
    assert not verdict.accepted
    assert "the decision threshold predicts no for every row" in verdict.reason


@pytest.mark.parametrize(
    ("measure", "threshold", "accepted"),
    [("roc_auc", 0.9, True), ("roc_auc", 0.96, False), ("neg_log_loss", -0.2, False)],
)
def test_the_threshold_is_in_the_unit_of_the_chosen_measure(
    measure: str, threshold: float, accepted: bool
) -> None:
    score = {"roc_auc": 0.95, "neg_log_loss": -0.3}[measure]
    report = ClassificationReport(np.eye(2, dtype=int), Score(measure, score, (0, 1)))
    verdict = gates.quality(report, threshold, 0.5, 1)
    assert verdict.accepted is accepted
    assert f"{measure} {format_score(score)} (95 % interval" in verdict.reason
    assert verdict.figures[measure] == score


@pytest.mark.parametrize(
    ("correct", "rows", "baseline", "pointed_out"),
    [
        (1999, 2000, 0.5, True),
        (1999, 2000, 0.92, False),  # 99.4 % of what a perfect model gains
        (2000, 2000, 0.92, True),
        (1994, 2000, 0.5, False),
        (99, 99, 0.5, False),  # too few rows to be surprised
        (100, 100, 0.5, True),
        (2000, 2000, 1.0, False),
    ],
)
def test_a_score_that_is_almost_perfect_is_pointed_out_and_accepted(
    correct: int, rows: int, baseline: float, pointed_out: bool
) -> None:
    verdict = gates.quality(report_with(correct, rows), 0.85, baseline, 1)
    assert verdict.accepted
    assert ("almost perfect: look for an input that gives the target" in verdict.reason) is (
        pointed_out
    )


def test_a_measure_whose_best_is_zero_can_be_almost_perfect_too() -> None:
    confusion = np.array([[100, 0], [0, 100]])
    for score, pointed_out in ((-0.003, True), (-0.01, False)):
        report = ClassificationReport(confusion, Score("neg_log_loss", score, (-1, 0)))
        reason = gates.quality(report, -1, baseline=-0.69, best=0).reason
        assert ("almost perfect" in reason) is pointed_out


def test_a_model_that_always_predicts_the_most_frequent_class_is_refused() -> None:
    actual, learned = np.array([0] * 60 + [1] * 40), np.array([0] * 6 + [1] * 4)
    constant = probabilities(np.zeros(100, np.int64))
    verdict = baseline_verdict(CLASSES, constant, actual, learned)
    assert not verdict.accepted
    assert verdict.figures["score"] == verdict.figures["baseline"] == 0.6


@pytest.mark.parametrize(("won", "accepted"), [(4, False), (5, True)])
def test_beats_baseline_requires_more_than_chance(won: int, accepted: bool) -> None:
    actual = np.array([0] * 20 + [1] * 10)
    predicted = actual.copy()
    predicted[20 + won :] = 0  # finds so many rows of the rarer class, and no row is lost
    verdict = baseline_verdict(CLASSES, probabilities(predicted), actual, actual)
    assert verdict.accepted is accepted
    assert f"(one-sided p = {0.5**won:.2g})" in verdict.reason


def test_a_regression_must_beat_the_mean_with_its_whole_interval() -> None:
    rng = np.random.default_rng(0)
    actual = rng.normal(size=100)

    def predictions(share: float) -> np.ndarray:
        middle = share * actual
        return np.stack([middle, middle - 1, middle + 1], axis=1)

    assert baseline_verdict(REGRESSION, predictions(0.8), actual, actual).accepted
    assert not baseline_verdict(REGRESSION, predictions(0.0), actual, actual).accepted
    assert not baseline_verdict(REGRESSION, predictions(-1.0), actual, actual).accepted


def test_rows_lost_to_the_baseline_count_too() -> None:
    actual = np.repeat([0, 1], 20)
    predicted = actual.copy()
    predicted[:4], predicted[27:] = 1, 0  # wins 7 rows of the rarer class, loses 4 of the other
    verdict = baseline_verdict(CLASSES, probabilities(predicted), actual, np.zeros(1, np.int64))
    assert not verdict.accepted
    assert verdict.reason == (
        "accuracy 0.575, baseline (best constant prediction) 0.500; difference +0.075, 90 % "
        "interval −0.066 to +0.217 (one-sided p = 0.27)"  # P(7 or more of 11)
    )


def test_a_regression_shows_its_interval_and_the_baseline() -> None:
    actual = np.arange(9.0)
    verdict = baseline_verdict(REGRESSION, np.stack([actual] * 3, axis=1), actual, actual)
    assert verdict.reason.startswith(
        "r2 1.000, baseline (best constant prediction) 0.000; difference +1.000, 90 % interval +"
    )


@pytest.mark.parametrize(("low", "accepted"), [(0.0, False), (1e-9, True), (np.nan, False)])
def test_the_whole_interval_must_be_above_the_baseline(low: float, accepted: bool) -> None:
    found = Comparison("r2", 30, 0.0, 0.5, 0.0, low, 0.9)
    assert gates.beats_baseline(found).accepted is accepted


@pytest.mark.parametrize(
    ("chance", "accepted"), [(-np.inf, True), (0.36, True), (0.46, True), (0.48, False)]
)
def test_a_model_must_be_better_than_chance_where_that_is_better_than_a_constant(
    chance: float, accepted: bool
) -> None:
    found = Comparison("f1_macro", 30, 0.37, 0.6, 0.37, 0.1, 0.3)
    verdict = gates.beats_baseline(found, chance)
    assert verdict.accepted is accepted
    better_than_constant = "; the same predictions in random order 0.4" in verdict.reason
    assert better_than_constant is (chance > 0.37)


@pytest.mark.parametrize(("p", "accepted"), [(0.1, True), (0.11, False)])
def test_accuracy_must_pass_the_exact_test_too(p: float, accepted: bool) -> None:
    found = Comparison("accuracy", 30, 0.5, 0.7, 0.5, 0.1, 0.3, 5, 1, p)
    assert gates.beats_baseline(found).accepted is accepted


def ranked(rows: int = 1000, shift: float = 1.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities of two classes and the classes, of which a tenth are positive."""
    actual = (np.arange(rows) < rows / 10).astype(int)
    scores = np.random.default_rng(seed).normal(size=rows) + shift * actual
    positive = 1 / (1 + 9 * np.exp(shift**2 / 2 - shift * scores))
    return np.stack([1 - positive, positive], axis=1), actual


def options_of(name: str) -> Measure:
    """A measure with the options that it needs for these rows."""
    return Measure(CLASSES, name, precision=0.3, costs=COSTS if "cost" in name else {})


@pytest.mark.parametrize("name", sorted({*names_of(CLASSES)} - {"accuracy"}))
def test_a_model_that_ranks_beats_the_baseline_under_each_measure_and_a_constant_does_not(
    name: str,
) -> None:
    measure, (predictions, actual) = options_of(name), ranked()
    assert gates.beats_baseline(against_baseline(measure, predictions, actual, actual)).accepted
    for constant in ([0.9, 0.1], [0.0, 1.0], [1.0, 0.0], [0.4, 0.6]):
        same = np.tile(constant, (len(actual), 1))
        verdict = gates.beats_baseline(against_baseline(measure, same, actual, actual))
        assert not verdict.accepted, constant


@pytest.mark.parametrize("name", names_of(CLASSES))
def test_shuffled_predictions_do_not_beat_the_baseline(name: str) -> None:
    predictions, actual = ranked()
    shuffled = np.random.default_rng(1).permutation(predictions)
    found = against_baseline(options_of(name), shuffled, actual, actual)
    assert not gates.beats_baseline(found).accepted


@pytest.mark.parametrize(("share", "precision"), [(0.08, 0.1), (0.3, 0.32)])
def test_random_scores_seldom_reach_a_precision_just_above_the_share_of_positives(
    share: float, precision: float
) -> None:
    measure = Measure(CLASSES, "recall_at_precision", precision=precision)
    actual = (np.arange(200) < 200 * share).astype(int)
    accepted, above_constant = 0, 0
    for seed in range(40):
        scores = np.random.default_rng(seed).random(200)
        predictions = np.stack([1 - scores, scores], axis=1)
        found = against_baseline(measure, predictions, actual, actual)
        accepted += gates.beats_baseline(found, measure.chance(actual, predictions)).accepted
        above_constant += gates.beats_baseline(found).accepted
    assert accepted <= 4 < above_constant  # 5 % of 40 are 2


def test_a_measure_that_a_constant_satisfies_is_named_with_what_to_do() -> None:
    predictions, actual = ranked()
    for precision, satisfied in ((0.1, True), (0.11, False)):
        measure = Measure(CLASSES, "recall_at_precision", precision=precision)
        verdict = gates.beats_baseline(against_baseline(measure, predictions, actual, actual))
        assert verdict.accepted is not satisfied
        assert ("a precision above the share of the positive class" in verdict.reason) is satisfied


@pytest.mark.parametrize("name", names_of(REGRESSION))
def test_a_quantity_must_beat_the_best_constant_under_each_measure(name: str) -> None:
    rng, measure = np.random.default_rng(0), Measure(REGRESSION, name)
    actual = rng.gamma(3, 100, 500)
    for spread, accepted in ((20, True), (2_000, False)):
        predictions = np.stack([actual + rng.normal(0, spread, 500)] * 3, axis=1)
        verdict = gates.beats_baseline(against_baseline(measure, predictions, actual, actual))
        assert verdict.accepted is accepted
    constant = np.tile(measure.constant(actual), (500, 1))
    assert not gates.beats_baseline(against_baseline(measure, constant, actual, actual)).accepted


@pytest.mark.parametrize(("p", "accepted"), [(0.011, False), (0.0126, True), (1.0, True)])
def test_the_worst_of_four_slices_is_judged_at_a_quarter_of_the_level(
    p: float, accepted: bool
) -> None:
    reports = [slice_report(p)] + [slice_report(1.0, "south")] * 3
    verdict = gates.worst_slice(reports, "accuracy", 0.95, 0.15)
    assert verdict.accepted is accepted
    assert verdict.reason == (
        "the worst of 4 slices, north: accuracy 0.600 on 30 rows, 0.950 overall, "
        f"margin 0.150 (p = {min(1, 4 * p):.2g})"
    )
    assert verdict.figures == {
        "slices": 4,
        "rows": 30,
        "score": 0.6,
        "overall": 0.95,
        "margin": 0.15,
        "p": min(1, 4 * p),
    }


def test_the_worst_slice_is_shown_in_the_unit_of_the_measure() -> None:
    reports = [slice_report(0.2, score=-0.8)]
    reason = gates.worst_slice(reports, "neg_log_loss", -0.5, 0.15).reason
    assert "north: neg_log_loss −0.800 on 30 rows, −0.500 overall" in reason


def test_a_slice_of_too_few_rows_is_named_and_does_not_count() -> None:
    few = slice_report(np.nan, "rare", rows=3)
    verdict = gates.worst_slice([slice_report(0.04), few], "accuracy", 0.95, 0.15)
    assert not verdict.accepted  # 0.04 is not doubled
    assert verdict.reason.endswith("(p = 0.04); too few rows to judge rare (3)")
    alone = gates.worst_slice([few], "accuracy", 0.95, 0.15)
    assert alone.accepted
    assert alone.reason == "no slice has enough rows; too few rows to judge rare (3)"


def test_a_model_without_slices_is_accepted_with_a_note() -> None:
    verdict = gates.worst_slice([], "accuracy", 0.95, 0.15)
    assert verdict.accepted
    assert verdict.reason == "no slice has enough rows"


def test_slices_of_too_few_rows_are_all_named() -> None:
    few = [slice_report(np.nan, name, rows=3) for name in ("rare", "rarer")]
    assert gates.worst_slice(few, "accuracy", 0.95, 0.15).reason.endswith("rare (3), rarer (3)")


def test_a_slice_at_the_level_is_refused() -> None:
    assert not gates.worst_slice([slice_report(0.05)], "accuracy", 0.95, 0.15).accepted


@pytest.mark.parametrize(
    ("call", "gate", "figures"),
    [
        (
            lambda: gates.quality(report_with(27, 30), 0.9, 0.5, 1),
            "quality",
            {**report_with(27, 30).to_dict(), "threshold": 0.9},
        ),
        (
            lambda: gates.beats_baseline(Comparison("r2", 30, 0.0, 0.5, 0.0, 0.3, 0.7)),
            "beats_baseline",
            {"score": 0.5, "baseline": 0.0, "low": 0.3, "high": 0.7},
        ),
        (lambda: gates.worst_slice([], "accuracy", 0.95, 0.15), "worst_slice", {"slices": 0}),
    ],
)
def test_every_verdict_has_the_name_and_figures_of_its_gate(
    call: Callable[[], gates.Verdict], gate: str, figures: dict[str, float]
) -> None:
    verdict = call()
    assert (verdict.gate, verdict.figures) == (gate, figures)
    assert isinstance(verdict.accepted, bool | np.bool)
