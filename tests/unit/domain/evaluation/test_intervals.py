"""Confidence intervals: published values, independent formulas and coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.evaluation.intervals import resamples, score_interval, variance_of, wilson_interval
from domain.evaluation.measures import Measure, placements

INPUTS = (Number("x", "", 0, 1),)
BINARY = ModelSpec("churn", INPUTS, Classes(("no", "yes")))
SPECIES = ModelSpec("species", INPUTS, Classes(("a", "b", "c")))
PRICES = ModelSpec("prices", INPUTS, Quantity("price"))
AUC = Measure(BINARY, "roc_auc")


def of_ranks(ranks: np.ndarray) -> np.ndarray:
    """Probabilities of two classes, shape (n_rows, 2)."""
    return np.stack([1 - ranks, ranks], axis=1)


def binormal(
    rng: np.random.Generator, rows: int, share: float, separation: float
) -> tuple[np.ndarray, np.ndarray]:
    """Classes with a fixed share of positive ones, and the probabilities that belong to scores of
    which the means of the classes are `separation` standard deviations apart."""
    actual = (np.arange(rows) < share * rows).astype(int)
    scores = rng.normal(size=rows) + separation * actual
    odds = share / (1 - share) * np.exp(separation * scores - separation**2 / 2)
    return actual, of_ranks(odds / (1 + odds))


def prices(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Values with a standard deviation of 10, and predictions with errors of 2."""
    actual = rng.normal(50, 10, rows)
    return actual, (actual + rng.normal(0, 2, rows))[:, None] + [0, -3, 3]


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # R. G. Newcombe, 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0000),
    ],
)
def test_the_wilson_interval_matches_published_values(
    successes: int, trials: int, low: float, high: float
) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_the_wilson_interval_contains_the_share_and_stays_within_0_and_1() -> None:
    for trials in (1, 2, 30, 1000):
        for successes in range(0, trials + 1, max(1, trials // 10)):
            low, high = wilson_interval(successes, trials)
            assert 0 <= low <= successes / trials + 1e-12
            assert successes / trials - 1e-12 <= high <= 1


def test_more_rows_make_the_wilson_interval_narrower() -> None:
    widths = [high - low for low, high in (wilson_interval(9 * n, 10 * n) for n in (1, 3, 10, 99))]
    assert widths == sorted(widths, reverse=True)


def test_accuracy_has_a_wilson_interval() -> None:
    actual, predicted = np.repeat([0, 1], 15), np.repeat([0, 1, 0, 1], [13, 2, 1, 14])
    found = score_interval(Measure(BINARY, "accuracy"), actual, np.eye(2)[predicted])
    assert found == wilson_interval(27, 30)


def naive_delong(positive: np.ndarray, ranks: np.ndarray) -> tuple[float, float]:
    """Area and its variance by the formulas of DeLong et al., 1988, pair by pair."""
    pairs = [[(x > y) + (x == y) / 2 for y in ranks[~positive]] for x in ranks[positive]]
    wins = np.array(pairs, np.float64)
    of_rows, of_columns = wins.mean(axis=1), wins.mean(axis=0)
    area = wins.mean()
    variance = sum(
        np.square(each - area).sum() / (len(each) - 1) / len(each) for each in (of_rows, of_columns)
    )
    return float(area), float(variance)


@pytest.mark.parametrize("digits", [1, 8])  # with many ties, and with none
def test_the_interval_of_the_roc_auc_is_that_of_delong_on_the_logit_scale(digits: int) -> None:
    actual, predictions = binormal(np.random.default_rng(0), 150, 0.2, 1.2)
    predictions = of_ranks(predictions[:, 1].round(digits))
    area, variance = naive_delong(actual == 1, predictions[:, 1])
    assert AUC.score(actual, predictions) == pytest.approx(area)
    of_positive, of_negative = placements(actual == 1, predictions[:, 1])
    assert variance_of(of_positive) + variance_of(of_negative) == pytest.approx(variance)
    logit, error = np.log(area / (1 - area)), np.sqrt(variance) / (area * (1 - area))
    expected = 1 / (1 + np.exp(-(logit + norm.ppf([0.025, 0.975]) * error)))
    assert score_interval(AUC, actual, predictions) == pytest.approx(tuple(expected))


def test_the_interval_of_a_perfect_auc_is_as_wide_as_the_smaller_class_allows() -> None:
    actual = np.repeat([0, 1], [90, 10])
    perfect = of_ranks(actual * 1.0)
    assert score_interval(AUC, actual, perfect) == wilson_interval(10, 10)
    assert score_interval(AUC, actual, perfect[:, ::-1]) == wilson_interval(0, 10)
    assert score_interval(AUC, np.repeat([0, 1], [99, 1]), perfect) == wilson_interval(1, 1)


def test_a_constant_prediction_has_an_auc_of_exactly_one_half() -> None:
    constant = np.tile([0.9, 0.1], (100, 1))
    assert score_interval(AUC, np.repeat([0, 1], [90, 10]), constant) == (0.5, 0.5)


def test_a_score_that_is_not_defined_has_no_interval() -> None:
    one_class = np.zeros(20, int)
    for name in ("roc_auc", "average_precision"):
        found = score_interval(Measure(BINARY, name), one_class, np.tile([0.9, 0.1], (20, 1)))
        assert np.isnan(found).all()


def test_an_infinite_score_has_no_interval() -> None:
    predictions = np.array([[1.0, 0, 2], [np.nan, 0, 2], [3, 0, 4]])
    assert np.isnan(score_interval(Measure(PRICES, "r2"), np.arange(3.0), predictions)).all()


def test_resamples_keep_the_number_of_rows_of_each_class() -> None:
    actual = np.array([0] * 30 + [2] * 5 + [1] * 12)
    drawn = list(resamples(Measure(SPECIES, "f1_macro"), actual, np.random.default_rng(0)))
    assert len(drawn) == 1000
    for rows in drawn[:50]:
        assert np.bincount(actual[rows]).tolist() == [30, 12, 5]
    assert len({tuple(sorted(rows)) for rows in drawn}) > 990
    ever = np.unique(np.concatenate(drawn))
    assert len(ever) == len(actual)


def test_resamples_of_values_are_drawn_from_all_rows() -> None:
    drawn = list(resamples(Measure(PRICES, "r2"), np.arange(40.0), np.random.default_rng(0)))
    assert {len(rows) for rows in drawn} == {40}
    assert len(np.unique(np.concatenate(drawn))) == 40


@pytest.mark.parametrize(("rows", "times"), [(5_000, 1_000), (10_000, 500), (200_000, 200)])
def test_many_rows_have_fewer_resamples(rows: int, times: int) -> None:
    generator = np.random.default_rng(0)
    drawn = resamples(Measure(PRICES, "r2"), np.zeros(rows), generator)
    assert sum(1 for _ in drawn) == times


def test_the_variance_of_a_mean_needs_two_values() -> None:
    assert variance_of(np.array([1.0, 3.0, 5.0])) == pytest.approx(4 / 3)
    assert variance_of(np.array([7.0])) == 0


@pytest.mark.parametrize("name", ["average_precision", "f1", "neg_log_loss"])
def test_the_interval_of_classes_is_repeatable_contains_the_score_and_shrinks(name: str) -> None:
    measure, widths = Measure(BINARY, name), []
    for rows in (100, 1_000, 4_000):
        actual, predictions = binormal(np.random.default_rng(1), rows, 0.3, 1.5)
        low, high = score_interval(measure, actual, predictions)
        assert (low, high) == score_interval(measure, actual.copy(), predictions.copy())
        assert low < measure.score(actual, predictions) < high
        widths.append(high - low)
    assert widths[2] < widths[1] < widths[0] / 2


def test_the_interval_of_a_quantity_is_repeatable_contains_the_score_and_shrinks() -> None:
    measure, widths = Measure(PRICES, "r2"), []
    for rows in (20, 200, 2_000):
        actual, predictions = prices(np.random.default_rng(1), rows)
        low, high = score_interval(measure, actual, predictions)
        assert (low, high) == score_interval(measure, actual.copy(), predictions.copy())
        assert low < measure.score(actual, predictions) < high < 1
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert widths[2] < widths[0] / 5


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_the_interval_of_very_few_values_is_finite(rows: int) -> None:
    actual = np.arange(rows, dtype=float)
    predictions = np.stack([actual + 0.1] * 3, axis=1)
    low, high = score_interval(Measure(PRICES, "r2"), actual, predictions)
    assert -1e3 < low <= high <= 1


def truth(measure: Measure) -> float:
    """The score on so many rows that it hardly varies."""
    return measure.score(*binormal(np.random.default_rng(99), 2_000_000, 0.2, 1.5))


@pytest.mark.parametrize(
    "name", ["roc_auc", "balanced_accuracy", "f1", "average_precision", "neg_log_loss"]
)
def test_the_interval_of_classes_has_about_its_nominal_coverage(name: str, nightly: bool) -> None:
    measure, runs = Measure(BINARY, name), 500 if nightly else 100
    true, rng, held = truth(measure), np.random.default_rng(0), 0
    for _ in range(runs):
        low, high = score_interval(measure, *binormal(rng, 300, 0.2, 1.5))
        held += low <= true <= high
    assert 0.88 * runs <= held


@pytest.mark.parametrize(
    ("name", "true"),
    [
        ("r2", 1 - 2**2 / 10**2),
        ("neg_mean_absolute_error", -2 * np.sqrt(2 / np.pi)),
        ("neg_root_mean_squared_error", -2.0),
        ("neg_median_absolute_error", -2 * norm.ppf(0.75)),
    ],
)
def test_the_interval_of_a_quantity_has_about_its_nominal_coverage(
    name: str, true: float, nightly: bool
) -> None:
    measure, runs = Measure(PRICES, name), 500 if nightly else 100
    rng, held = np.random.default_rng(0), 0
    for _ in range(runs):
        low, high = score_interval(measure, *prices(rng, 200))
        held += low <= true <= high
    assert 0.88 * runs <= held
