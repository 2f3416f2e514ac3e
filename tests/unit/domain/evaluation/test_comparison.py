"""Comparison of champion and challenger, and how often it is wrong."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf, isnan, nan

import numpy as np
import pytest
from scipy.special import expit, logit  # pylint: disable=no-name-in-module
from scipy.stats import binomtest, multinomial, t

from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.evaluation.comparison import Comparison, compare, tango_interval
from domain.evaluation.intervals import auc_interval
from domain.evaluation.measures import Measure, names_of, placements
from tests.equal_challengers import RUNS, SETTINGS, Setting, exceeded_bounds, rates

INPUTS = (Number("x", "", 0, 1),)
CLASSES = ModelSpec("classes", INPUTS, Classes(("a", "b")))
SPECIES = ModelSpec("species", INPUTS, Classes(("a", "b", "c")))
QUANTITY = ModelSpec("quantity", INPUTS, Quantity("y"))
ACCURACY, ERROR = Measure(CLASSES, "accuracy"), Measure(QUANTITY, "neg_mean_absolute_error")
AUC, FIRST = Measure(CLASSES, "roc_auc"), np.array([1.0, 0.0])


def of_counts(both: int, won: int, lost: int, neither: int = 0) -> Comparison:
    """The comparison in which so many rows are right by both, by one and by neither."""
    truth = np.zeros(both + won + lost + neither, np.int64)
    champion = np.repeat([0, 1, 0, 1], [both, won, lost, neither])
    challenger = np.repeat([0, 0, 1, 1], [both, won, lost, neither])
    return compare(ACCURACY, np.eye(2)[champion], np.eye(2)[challenger], truth, 1 - FIRST)


def quantities(predicted: np.ndarray) -> np.ndarray:
    """Predictions with intervals of ± 1, shape (n_rows, 3)."""
    return np.stack([predicted, predicted - 1, predicted + 1], axis=1)


def of_errors(champion: np.ndarray, challenger: np.ndarray) -> Comparison:
    """The comparison of errors of shape (n_rows,); the constant prediction is wrong by 1."""
    actual = np.resize([1.0, -1.0], len(champion))
    old, new = (quantities(actual + errors) for errors in (champion, challenger))
    return compare(ERROR, old, new, actual, np.zeros(3))


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """Extreme cases must not cause NumPy warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize(
    ("won", "lost", "rows", "z", "low", "high"),
    [
        (0, 1, 44, 1.645, -0.096, None),  # T. Tango, 1998, section 6.1: soft contact lenses
        # contingencytables, the R package of Fagerland, Lydersen and Laake, "Statistical analysis
        # of contingency tables", 2017, chapter 8: response before and after consolidation
        (6, 16, 161, 1.959964, -0.1240, -0.0054),
    ],
)
def test_the_interval_of_classes_matches_published_values(
    won: int, lost: int, rows: int, z: float, low: float, high: float | None
) -> None:
    found = tango_interval(won, lost, rows, z)
    digits = 5e-4 if high is None else 5e-5
    assert found[0] == pytest.approx(low, abs=digits)
    assert high is None or found[1] == pytest.approx(high, abs=digits)


def test_at_a_difference_of_zero_the_interval_is_the_mcnemar_test() -> None:
    low, _ = tango_interval(16, 6, 161, (16 - 6) / np.sqrt(16 + 6))
    assert low == pytest.approx(0, abs=1e-9)


def test_the_interval_of_classes_is_symmetric() -> None:
    for won, lost, rows in ((7, 1, 21), (0, 0, 30), (30, 0, 30), (3, 27, 30), (1, 0, 1)):
        low, high = tango_interval(won, lost, rows)
        assert tango_interval(lost, won, rows) == pytest.approx((-high, -low), abs=1e-9)
        assert -1 <= low <= (won - lost) / rows <= high <= 1


def test_without_differing_rows_the_interval_shrinks_with_more_rows() -> None:
    z = 1.644854
    for rows in (1, 30, 1000):
        limit = z**2 / (rows + z**2)
        assert tango_interval(0, 0, rows) == pytest.approx((-limit, limit))


@pytest.mark.parametrize("rows", [20, 30, 60])
@pytest.mark.parametrize("margin", [0.05, 0.15])
@pytest.mark.parametrize("more", [0.0, 0.05, 0.15])
def test_classes_that_are_worse_by_the_margin_pass_one_time_in_twenty(
    rows: int, margin: float, more: float
) -> None:
    lost, won = margin + more / 2, more / 2
    tables = [(w, l) for w in range(rows + 1) for l in range(rows + 1 - w)]
    shares = [won, lost, 1 - won - lost]
    chances = multinomial.pmf([(w, l, rows - w - l) for w, l in tables], rows, shares)
    passed = sum(
        chance
        for (w, l), chance in zip(tables, chances, strict=True)
        if chance > 1e-6 and tango_interval(w, l, rows)[0] > -margin
    )
    assert passed < 0.055


def test_classes_are_compared_by_the_rows_that_only_one_has_right() -> None:
    found = of_counts(both=130, won=6, lost=4, neither=3)
    assert (found.rows, found.won, found.lost) == (143, 6, 4)
    assert (found.measure, found.baseline) == ("accuracy", 0)
    assert found.champion == pytest.approx(134 / 143)
    assert found.challenger == pytest.approx(136 / 143)
    assert found.difference == pytest.approx(2 / 143)
    assert (found.low, found.high) == tango_interval(6, 4, 143)
    assert found.p == pytest.approx(binomtest(6, 10).pvalue)
    assert not found.identical


def test_a_comparison_shows_scores_difference_and_counts() -> None:
    assert str(of_counts(both=130, won=6, lost=4, neither=3)) == (
        "accuracy 0.951, champion 0.937, 143 rows; difference +0.014 (better), "
        "90 % interval −0.025 to +0.055; rows that only the challenger has right: 6, "
        "only the champion: 4 (two-sided p = 0.75)"
    )
    assert str(of_errors(np.zeros(30), np.full(30, 0.5))) == (
        "neg_mean_absolute_error −0.500, champion 0.000, 30 rows; difference −0.500 (worse), "
        "90 % interval −0.500 to −0.500"
    )


@pytest.mark.parametrize(
    ("challenger", "text"),
    [
        (0.6, "difference +0.100 (better)"),
        (0.4, "difference −0.100 (worse)"),
        (0.5, "difference +0.000 (equal)"),
        (0.4996, "difference +0.000 (equal)"),
        (-inf, "difference −inf (worse)"),
        (nan, "difference +nan (unknown)"),
    ],
)
def test_a_comparison_says_whether_the_challenger_is_better_or_worse(
    challenger: float, text: str
) -> None:
    found = Comparison("r2", 30, 0.5, challenger, 0.0, -0.1, 0.1)
    assert text in str(found)


def test_equally_accurate_classes_have_no_difference_even_if_not_identical() -> None:
    actual = np.zeros(40, np.int64)
    champion, challenger = np.tile([0.9, 0.1], (40, 1)), np.tile([0.8, 0.2], (40, 1))
    found = compare(ACCURACY, champion, challenger, actual, FIRST)
    assert (found.won, found.lost, found.p, found.difference) == (0, 0, 1.0, 0.0)
    assert not found.identical
    assert compare(ACCURACY, champion, champion.copy(), actual, FIRST).identical


def test_classes_that_differ_everywhere_are_certainly_better_or_worse() -> None:
    assert of_counts(0, won=30, lost=0).low > 0.8
    assert of_counts(0, won=0, lost=30).high < -0.8


def test_a_nan_probability_is_a_wrong_class() -> None:
    right, nothing = np.tile([1.0, 0.0], (30, 1)), np.full((30, 2), nan)
    found = compare(ACCURACY, right, nothing, np.zeros(30, np.int64), FIRST)
    assert (found.won, found.lost) == (0, 30)
    both = compare(ACCURACY, nothing, nothing, np.zeros(30, np.int64), FIRST)
    assert (both.won, both.lost, both.identical) == (0, 0, False)


def test_a_quantity_is_compared_by_its_mean_loss() -> None:
    rng = np.random.default_rng(0)
    champion, challenger = rng.normal(size=(2, 200)) * [[1.0], [0.5]]
    found = of_errors(champion, challenger)
    assert found.champion == pytest.approx(-np.abs(champion).mean())
    assert found.challenger == pytest.approx(-np.abs(challenger).mean())
    assert found.baseline == -1
    assert 0 < found.low < found.difference < found.high < 1
    assert (found.won, found.lost, found.p) == (None, None, None)
    assert found == of_errors(champion.copy(), challenger.copy())


def test_the_interval_of_a_quantity_has_the_width_of_its_standard_error() -> None:
    rng = np.random.default_rng(0)
    champion, challenger = rng.normal(size=(2, 40_000))
    found = of_errors(champion, challenger)
    error = (np.abs(champion) - np.abs(challenger)).std() / 200
    assert found.difference - found.low == pytest.approx(1.645 * error, rel=0.06)
    assert found.high - found.difference == pytest.approx(1.645 * error, rel=0.06)


def plain_interval(champion: np.ndarray, challenger: np.ndarray) -> tuple[float, float]:
    """The bootstrap-t interval of losses, one resample after the other."""
    rows, differences = len(champion), champion - challenger
    mean, spread = differences.mean(), differences.std()
    scores = []
    for places in np.random.default_rng(0).integers(rows, size=(2000, rows)):
        drawn = differences[places]
        scores.append((drawn.mean() - mean) / max(drawn.std(), spread / 4))
    below, above = np.quantile(scores, [0.05, 0.95])
    student = t.ppf(0.95, rows - 1) * np.sqrt(1 / (rows - 1))
    return mean - max(above, student) * spread, mean + max(-below, student) * spread


def few_differ(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Losses, one in ten of which is not 0."""
    return rng.exponential(size=rows) * (rng.random(rows) < 0.1)


def skewed(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Losses, a few of which are large."""
    return rng.exponential(size=rows) ** 2


@pytest.mark.parametrize("draw", [few_differ, skewed])
@pytest.mark.parametrize("rows", [2, 20, 300])  # 300 are drawn in batches, the last one is shorter
@pytest.mark.parametrize("scale", [1.0, -1.0])
def test_the_interval_of_a_quantity_matches_a_plain_bootstrap(
    draw: Callable[[np.random.Generator, int], np.ndarray], rows: int, scale: float
) -> None:
    rng = np.random.default_rng(rows)
    losses = 100 + scale * draw(rng, rows)
    losses[0] -= scale
    found = of_errors(losses, np.full(rows, 100.0))
    assert (found.low, found.high) == pytest.approx(plain_interval(losses, np.full(rows, 100.0)))


def test_equal_predictions_of_a_quantity_are_identical() -> None:
    errors = np.linspace(-1, 1, 30)
    assert of_errors(errors, errors.copy()).identical is True


def test_losses_that_all_differ_equally_have_an_interval_of_width_zero() -> None:
    found = of_errors(np.zeros(4), np.full(4, 0.5))
    assert (found.low, found.high) == (-0.5, -0.5)


def test_one_differing_loss_has_finite_limits() -> None:
    challenger = np.zeros(20)
    challenger[3] = 1.0
    found = of_errors(np.zeros(20), challenger)
    assert -1 < found.low < -0.05 < found.high < 0.1


def test_one_row_of_a_quantity_proves_nothing() -> None:
    found = of_errors(np.ones(1), np.zeros(1))
    assert (found.low, found.high) == (-inf, inf)


def test_a_nan_quantity_is_never_better() -> None:
    errors, holed = np.linspace(-1, 1, 30), np.linspace(-1, 1, 30)
    holed[7] = nan
    found = of_errors(errors, holed)
    assert (found.low, found.high, found.difference) == (-inf, -inf, -inf)
    both = of_errors(holed, holed)
    assert (both.low, both.high) == (-inf, -inf) and isnan(both.difference)
    assert not both.identical
    assert of_errors(holed, errors).low == inf


@pytest.mark.parametrize(
    ("share", "margin", "rows"), [(0.1, 0.05, 274), (0.04, 0.05, 146), (0.1, 0.15, 41)]
)
def test_the_rows_that_a_margin_needs_give_it_a_power_of_four_in_five(
    share: float, margin: float, rows: int
) -> None:
    one_side = round(share * 5000)
    found = of_counts(both=9000 - 2 * one_side, won=one_side, lost=one_side, neither=1000)
    assert found.rows_needed(margin) == pytest.approx(rows, abs=0.5)
    refused = rates(Setting("accuracy", rows, share, margin, 1.0)).false_refusal
    assert 0.12 < refused < 0.28


def test_the_rows_that_a_quantity_needs_follow_from_its_spread() -> None:
    rng = np.random.default_rng(0)
    champion, challenger = rng.normal(0, 0.7, size=(2, 40_000))
    spread = (np.abs(champion) - np.abs(challenger)).std()
    needed = of_errors(champion, challenger).rows_needed(0.05)
    assert needed == pytest.approx((2.486 * spread / 0.05) ** 2, rel=0.25)


@pytest.mark.parametrize(("won", "lost", "room"), [(12, 18, 0.03), (18, 12, 0.05)])
def test_the_rows_that_classes_need_follow_from_the_difference_and_the_margin(
    won: int, lost: int, room: float
) -> None:
    found = of_counts(both=270, won=won, lost=lost)  # worse, or better, by 0.02

    def likelihood(share: np.ndarray) -> np.ndarray:
        """Log-likelihood if the share lost exceeds the share won by the margin."""
        same = 1 - 2 * share + 0.05
        return won * np.log(share - 0.05) + lost * np.log(share) + 270 * np.log(same)

    shares = np.linspace(0.0501, 0.2, 100_000)
    at_margin = 2 * shares[likelihood(shares).argmax()] - 0.05 - 0.05**2
    seen = 0.1 - 0.02**2
    needed = ((1.644854 * at_margin**0.5 + 0.841621 * seen**0.5) / room) ** 2
    assert found.rows_needed(0.05) == pytest.approx(needed, rel=1e-3)


def test_no_rows_are_enough_at_the_margin_itself() -> None:
    found = of_counts(both=76, won=2, lost=2)
    assert found.rows_needed(0.0) == inf
    assert of_errors(np.zeros(2), np.array([0.0, 0.5])).rows_needed(0.25) == inf


def test_a_difference_beyond_the_margin_is_not_fixed_by_more_rows() -> None:
    assert of_counts(both=80, won=0, lost=20).rows_needed(0.05) == inf
    assert of_errors(np.ones(1), np.zeros(1)).rows_needed(0.05) == inf


def ranked(rng: np.random.Generator, rows: int = 120, noise: float = 0.5) -> np.ndarray:
    """Probabilities of two classes, of which the last quarter of the rows is the second."""
    positive = np.clip(0.4 * (np.arange(rows) >= 0.75 * rows) + noise * rng.random(rows), 0, 1)
    return np.stack([1 - positive, positive], axis=1)


def test_two_areas_under_the_curve_have_an_interval_with_delongs_covariances() -> None:
    rng, actual = np.random.default_rng(0), np.repeat([0, 1], [90, 30])
    old, new = ranked(rng).round(1), ranked(rng).round(1)
    found = compare(AUC, old, new, actual, FIRST)
    wins = [
        np.array([[(x > y) + (x == y) / 2 for y in each[:90, 1]] for x in each[90:, 1]])
        for each in (old, new)
    ]
    areas = [each.mean() for each in wins]
    assert (found.champion, found.challenger) == pytest.approx(areas)
    assert found.baseline == 0.5
    # DeLong et al., 1988: covariances of the structural components, class by class
    covariances = sum(
        np.cov([each.mean(axis=axis) for each in wins]) / rows for axis, rows in ((1, 30), (0, 90))
    )
    # Zou and Yue, 2013: distances to the limits of each area on the scale of its logit
    errors, limits = np.sqrt(np.diag(covariances)), []
    for area, error in zip(areas, errors):
        half = t.ppf(0.95, 29) * error / (area * (1 - area))
        logits = logit(area) - half, logit(area) + half
        limits.append((area - expit(logits[0]), expit(logits[1]) - area))
    correlation = covariances[0, 1] / errors.prod()

    def distance(one: float, other: float) -> float:
        return float(np.sqrt(one**2 + other**2 - 2 * correlation * one * other))

    assert found.difference - found.low == pytest.approx(distance(limits[1][0], limits[0][1]))
    assert found.high - found.difference == pytest.approx(distance(limits[1][1], limits[0][0]))
    delong = t.ppf(0.95, 29) * np.sqrt([-1, 1] @ covariances @ [-1, 1])
    assert (found.high - found.low) / 2 == pytest.approx(delong, rel=0.1)
    assert (found.won, found.lost, found.p) == (None, None, None)


def test_other_measures_have_a_bootstrap_that_is_never_narrower_than_students_interval() -> None:
    rng, actual = np.random.default_rng(0), np.repeat([0, 1], [90, 30])
    old, new = ranked(rng), ranked(rng, noise=0.6)
    measure = Measure(CLASSES, "average_precision")
    found = compare(measure, old, new, actual, FIRST)
    assert found == compare(measure, old.copy(), new.copy(), actual.copy(), FIRST)
    assert found.baseline == pytest.approx(0.25)
    differences = []
    for _ in range(300):
        rows = np.concatenate([rng.integers(90, size=90), rng.integers(90, 120, size=30)])
        pair = (measure.score(actual[rows], each[rows]) for each in (new, old))
        differences.append(next(pair) - next(pair))
    half = t.ppf(0.95, 29) * np.std(differences)
    assert found.difference - found.low >= half * 0.9
    assert found.high - found.difference >= half * 0.9
    assert found.high - found.low < 3 * half


@pytest.mark.parametrize("name", names_of(CLASSES))
def test_the_same_predictions_have_no_difference_under_any_measure(name: str) -> None:
    costs = {"a": {"b": 1.0}, "b": {"a": 4.0}} if "cost" in name else {}
    measure = Measure(CLASSES, name, costs=costs)
    same = ranked(np.random.default_rng(0))
    found = compare(measure, same, same.copy(), np.repeat([0, 1], [90, 30]), FIRST)
    assert (found.difference, found.identical) == (0, True)
    assert found.low <= 0 <= found.high


def test_a_single_row_of_a_class_proves_nothing_about_ranks() -> None:
    rng, actual = np.random.default_rng(0), np.repeat([0, 1], [119, 1])
    found = compare(AUC, ranked(rng), ranked(rng), actual, FIRST)
    assert (found.low, found.high) == (-inf, inf)


def test_a_ranking_model_is_better_than_a_constant_by_its_own_interval() -> None:
    rng, actual = np.random.default_rng(0), np.repeat([0, 1], [90, 30])
    constant, new = np.tile(FIRST, (120, 1)), ranked(rng)
    found = compare(AUC, constant, new, actual, FIRST)
    own = auc_interval(*placements(actual == 1, new[:, 1]), t.ppf(0.95, 29))
    assert (0.5 + found.low, 0.5 + found.high) == pytest.approx(own)
    assert found.low > 0


def test_the_default_margin_is_smaller_if_the_champions_gain_is_uncertain() -> None:
    rng, margins = np.random.default_rng(0), {}
    for rows in (120, 12_000):
        actual = (np.arange(rows) >= 0.75 * rows).astype(int)
        old = ranked(rng, rows)
        new = 0.99 * old + 0.01 * ranked(rng, rows)  # so similar that the gain is less certain
        found = compare(AUC, old, new, actual, FIRST)
        margins[rows] = found.margin(None) / found.gain
        lost = (np.sqrt(found.relative_variance) - 1) * (found.difference - found.low)
        assert found.relative_variance > 1
        assert found.margin(None) == pytest.approx(found.gain / 4 - lost)
    assert 0 <= margins[120] < margins[12_000] < 0.25
    assert margins[12_000] > 0.24


def test_the_relative_variance_is_that_of_the_difference_and_a_quarter_of_the_gain() -> None:
    rng = np.random.default_rng(0)
    champion, challenger = rng.normal(size=(2, 500)) * 0.5
    found = of_errors(champion, challenger)
    losses = np.abs([champion, challenger])
    difference, gain = losses[0] - losses[1], 1 - losses[0]
    expected = (difference + gain / 4).var() / difference.var()
    assert found.relative_variance == pytest.approx(expected)


def test_three_classes_are_compared_by_the_mean_of_their_areas() -> None:
    rng, actual = np.random.default_rng(0), np.repeat([0, 1, 2], 20)
    old, new = (rng.random((60, 3)) + 0.5 * np.eye(3)[actual] for _ in range(2))
    measure = Measure(SPECIES, "roc_auc")
    found = compare(measure, old, new, actual, np.full(3, 1 / 3))
    assert found.difference == measure.score(actual, new) - measure.score(actual, old)
    assert found.low < found.difference < found.high
    assert found.baseline == 0.5


def test_rows_of_one_class_decide_nothing_about_ranks() -> None:
    rng, actual = np.random.default_rng(0), np.zeros(120, int)
    found = compare(AUC, ranked(rng), ranked(rng), actual, FIRST)
    assert isnan(found.low) and isnan(found.high) and found.outcome == "unknown"


@pytest.mark.parametrize(
    ("configured", "margin"), [(None, 0.05), (0.02, 0.02), (0.1, 0.1), (0.11, 0.1), (1.0, 0.1)]
)
def test_the_margin_is_a_quarter_of_the_champions_gain_or_as_configured_up_to_half(
    configured: float | None, margin: float
) -> None:
    found = Comparison("roc_auc", 30, 0.7, 0.6, 0.5, -0.2, 0.1)
    assert found.gain == pytest.approx(0.2)
    assert found.margin(configured) == pytest.approx(margin)


@pytest.mark.parametrize("champion", [0.5, 0.4, nan, -inf])
def test_a_champion_that_gains_nothing_leaves_no_margin(champion: float) -> None:
    found = Comparison("roc_auc", 30, champion, 0.6, 0.5, -0.2, 0.1)
    assert (found.gain, found.margin(None), found.margin(0.3)) == (0, 0, 0)


@pytest.mark.parametrize(
    "setting", SETTINGS, ids=lambda each: f"{each.description}, {each.rows}, {each.margin}"
)
def test_the_gate_keeps_its_stated_error_rate_over_many_challengers(
    setting: Setting, nightly: bool
) -> None:
    runs = RUNS if nightly else RUNS // (50 if setting.is_resampled else 5)
    assert not exceeded_bounds(setting, rates(setting, runs=runs), runs)


def test_champion_and_challenger_are_each_decided_by_their_own_threshold() -> None:
    spec = ModelSpec("m", (Number("x", "", 0, 1),), Classes(("a", "b")))
    measure = Measure(replace(spec, output=Classes(("a", "b"), threshold=0.2)), "accuracy")
    probabilities, actual = np.tile([0.7, 0.3], (40, 1)), np.ones(40, np.int64)
    constant = np.array([1.0, 0.0])
    found = compare(measure, probabilities, probabilities, actual, constant, spec)
    assert (found.won, found.lost, found.identical) == (40, 0, False)
    assert compare(measure, probabilities, probabilities, actual, constant).identical


@pytest.mark.parametrize("threshold", [None, 0.3])
def test_another_positive_class_changes_the_score_of_both_sides(threshold: float | None) -> None:
    rng = np.random.default_rng(0)
    actual = (rng.random(400) < 0.1).astype(int)
    positive = np.clip(0.1 + 0.3 * actual + 0.1 * rng.normal(size=400), 0.01, 0.99)
    predictions = np.stack([1 - positive, positive], axis=1)
    champion = replace(CLASSES, output=Classes(("a", "b"), threshold=threshold))
    limit = None if threshold is None else 1 - threshold
    spec = replace(CLASSES, output=Classes(("a", "b"), positive="a", threshold=limit))
    for name in ("average_precision", "f1", "accuracy"):
        measure = Measure(spec, name)
        found = compare(measure, predictions, predictions, actual, np.array([1.0, 0]), champion)
        assert found.champion == found.challenger == measure.score(actual, predictions)
        assert found.identical
