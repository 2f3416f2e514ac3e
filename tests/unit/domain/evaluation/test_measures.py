"""Measures: scikit-learn's values, constants, and rows for which they are not defined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.errors import ConfigError
from domain.evaluation.measures import Measure, cost_matrix, default_measure, names_of, repeat

INPUTS = (Number("x", "", 0, 1),)
BINARY = ModelSpec("churn", INPUTS, Classes(("no", "yes"), "churned"))
SPECIES = ModelSpec("species", INPUTS, Classes(("a", "b", "c"), "species"))
PRICES = ModelSpec("prices", INPUTS, Quantity("price", "EUR"))
COSTS = {"yes": {"no": 5.0}, "no": {"yes": 1.0}}


def binary(rows: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Classes, of which 15 % are positive, and probabilities with ties."""
    rng = np.random.default_rng(seed)
    actual = (rng.random(rows) < 0.15).astype(int)
    positive = (0.3 * actual + 0.7 * rng.random(rows)).round(2)
    return actual, np.stack([1 - positive, positive], axis=1)


def species(rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Three classes with probabilities."""
    rng = np.random.default_rng(1)
    actual = rng.choice(3, rows, p=(0.6, 0.3, 0.1))
    odds = rng.random((rows, 3)) + np.eye(3)[actual]
    return actual, odds / odds.sum(axis=1, keepdims=True)


def prices(rows: int = 301) -> tuple[np.ndarray, np.ndarray]:
    """Values and predictions with an interval."""
    rng = np.random.default_rng(2)
    actual = rng.gamma(2, 50, rows)
    predicted = actual + rng.normal(0, 20, rows)
    return actual, np.stack([predicted, predicted - 30, predicted + 30], axis=1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", lambda y, p: metrics.accuracy_score(y, p.argmax(axis=1))),
        ("balanced_accuracy", lambda y, p: metrics.balanced_accuracy_score(y, p.argmax(axis=1))),
        ("f1", lambda y, p: metrics.f1_score(y, p.argmax(axis=1))),
        ("f1_macro", lambda y, p: metrics.f1_score(y, p.argmax(axis=1), average="macro")),
        ("roc_auc", lambda y, p: metrics.roc_auc_score(y, p[:, 1])),
        ("average_precision", lambda y, p: metrics.average_precision_score(y, p[:, 1])),
        ("neg_log_loss", lambda y, p: -metrics.log_loss(y, p)),
        ("neg_brier_score", lambda y, p: -metrics.brier_score_loss(y, p[:, 1])),
    ],
)
def test_measures_of_two_classes_equal_those_of_scikit_learn(
    name: str, expected: Callable[[Any, Any], float]
) -> None:
    actual, predictions = binary()
    assert Measure(BINARY, name).score(actual, predictions) == pytest.approx(
        expected(actual, predictions)
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("balanced_accuracy", lambda y, p: metrics.balanced_accuracy_score(y, p.argmax(axis=1))),
        ("f1_macro", lambda y, p: metrics.f1_score(y, p.argmax(axis=1), average="macro")),
        ("roc_auc", lambda y, p: metrics.roc_auc_score(y, p, multi_class="ovr")),
        ("average_precision", lambda y, p: metrics.average_precision_score(np.eye(3)[y], p)),
        ("neg_log_loss", lambda y, p: -metrics.log_loss(y, p)),
        ("neg_brier_score", lambda y, p: -np.square(p - np.eye(3)[y]).sum(axis=1).mean()),
    ],
)
def test_measures_of_three_classes_equal_those_of_scikit_learn(
    name: str, expected: Callable[[Any, Any], float]
) -> None:
    actual, predictions = species()
    assert Measure(SPECIES, name).score(actual, predictions) == pytest.approx(
        expected(actual, predictions)
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("r2", metrics.r2_score),
        ("neg_mean_absolute_error", lambda y, p: -metrics.mean_absolute_error(y, p)),
        ("neg_root_mean_squared_error", lambda y, p: -metrics.root_mean_squared_error(y, p)),
        ("neg_median_absolute_error", lambda y, p: -metrics.median_absolute_error(y, p)),
        (
            "neg_mean_absolute_percentage_error",
            lambda y, p: -metrics.mean_absolute_percentage_error(y, p),
        ),
        ("neg_mean_pinball_loss", lambda y, p: -metrics.mean_pinball_loss(y, p, alpha=0.8)),
    ],
)
@pytest.mark.parametrize("rows", [301, 300])
def test_measures_of_a_quantity_equal_those_of_scikit_learn(
    name: str, expected: Callable[[Any, Any], float], rows: int
) -> None:
    actual, predictions = prices(rows)
    measure = Measure(PRICES, name, quantile=0.8)
    assert measure.score(actual, predictions) == pytest.approx(expected(actual, predictions[:, 0]))


def test_weights_count_rows_several_times() -> None:
    rng = np.random.default_rng(0)
    for spec, (actual, predictions) in ((BINARY, binary(60)), (PRICES, prices(60))):
        # the area under the ROC curve has no weights: those of a class are equal
        for name in set(names_of(spec)) - {"roc_auc", "neg_expected_cost", "r2"}:
            measure = Measure(spec, name, top=1000)
            times = rng.integers(1, 4, len(actual))
            repeated = np.repeat(np.arange(len(actual)), times)
            assert measure.score(actual, predictions, times) == pytest.approx(
                measure.score(actual[repeated], predictions[repeated])
            ), name


def test_recall_is_the_largest_at_which_the_precision_is_reached() -> None:
    positive = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    actual = np.array([1, 1, 0, 1, 0, 1])
    predictions = np.stack([1 - positive, positive], axis=1)
    recalls = {p: Measure(BINARY, "recall_at_precision", precision=p) for p in (1, 0.75, 0.5)}
    assert {p: each.score(actual, predictions) for p, each in recalls.items()} == {
        1: 0.5,  # the first two rows
        0.75: 0.75,  # the first four
        0.5: 1.0,  # all six have 4 ÷ 6
    }
    assert Measure(BINARY, "recall_at_precision", precision=1).score(
        1 - actual, predictions
    ) == pytest.approx(0)


def test_precision_at_the_top_shares_rows_with_equal_probability() -> None:
    positive = np.array([0.9, 0.5, 0.5, 0.5, 0.1])
    actual = np.array([1, 1, 0, 0, 0])
    predictions = np.stack([1 - positive, positive], axis=1)
    scores = [
        Measure(BINARY, "precision_at_top", top=n).score(actual, predictions) for n in (1, 2, 9)
    ]
    assert scores == pytest.approx([1, (1 + 1 / 3) / 2, 2 / 5])


def test_the_expected_cost_is_the_mean_cost_of_a_row() -> None:
    measure = Measure(BINARY, "neg_expected_cost", costs=COSTS)
    predictions = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.2, 0.8]])
    assert measure.score(np.array([0, 1, 0, 1]), predictions) == pytest.approx(-(5 + 1) / 4)


@pytest.mark.parametrize(
    ("spec", "name", "constant", "score"),
    [
        (BINARY, "accuracy", [0.9, 0.1], 0.9),
        (BINARY, "balanced_accuracy", [0.9, 0.1], 0.5),
        (BINARY, "f1", [0, 1], 2 * 0.1 / 1.1),
        (BINARY, "roc_auc", [0.9, 0.1], 0.5),
        (BINARY, "average_precision", [0.9, 0.1], 0.1),
        (BINARY, "neg_brier_score", [0.9, 0.1], -0.09),
        (BINARY, "neg_log_loss", [0.9, 0.1], 0.1 * np.log(0.1) + 0.9 * np.log(0.9)),
        (BINARY, "neg_expected_cost", [0.9, 0.1], -0.5),
        (BINARY, "recall_at_precision", [0.9, 0.1], 0.0),
        (BINARY, "precision_at_top", [0.9, 0.1], 0.1),
        (PRICES, "r2", [4, 4, 4], 0.0),
        (PRICES, "neg_mean_absolute_error", [2, 2, 2], -8 / 3),
        (PRICES, "neg_median_absolute_error", [1.5, 1.5, 1.5], -0.5),
        (PRICES, "neg_mean_absolute_percentage_error", [1, 1, 1], -(0.5 + 8 / 9) / 3),
        (PRICES, "neg_mean_pinball_loss", [9, 9, 9], -(7 + 8) * 0.05 / 3),
    ],
)
def test_the_best_constant_prediction_suits_the_measure(
    spec: ModelSpec, name: str, constant: list[float], score: float
) -> None:
    actual = np.array([0] * 9 + [1]) if spec is BINARY else np.array([1.0, 2.0, 9.0])
    measure = Measure(spec, name, costs=COSTS if "cost" in name else {}, quantile=0.95)
    found = measure.constant(actual)
    assert measure.score(actual, repeat(found, len(actual))) == pytest.approx(score)
    assert found == pytest.approx(constant)


def test_zero_is_the_best_constant_of_relative_errors_if_some_values_are_zero() -> None:
    measure = Measure(PRICES, "neg_mean_absolute_percentage_error")
    assert measure.constant(np.array([0.0, 1.0, 2.0])) == pytest.approx([0, 0, 0])


def test_the_middle_of_the_shortest_half_has_the_smallest_median_error() -> None:
    values = np.random.default_rng(0).lognormal(size=501)
    measure = Measure(PRICES, "neg_median_absolute_error")
    constant = measure.constant(values)[0]
    grid = np.linspace(0, 3, 3001)
    errors = np.median(np.abs(values - grid[:, None]), axis=1)
    assert np.median(np.abs(values - constant)) <= errors.min() + 1e-9
    assert np.median(np.abs(values - np.median(values))) > errors.min() + 0.01


@pytest.mark.parametrize(("spec", "draw"), [(BINARY, binary), (SPECIES, species)])
def test_macro_f1_by_chance_is_that_of_the_predictions_in_random_order(
    spec: ModelSpec, draw: Callable[[], tuple[np.ndarray, np.ndarray]]
) -> None:
    rng, (actual, predictions) = np.random.default_rng(0), draw()
    measure = Measure(spec, "f1_macro")
    scores = [measure.score(actual, rng.permutation(predictions)) for _ in range(200)]
    assert measure.chance(actual, predictions) == pytest.approx(np.mean(scores), abs=0.01)
    constant = measure.score(actual, repeat(measure.constant(actual), len(actual)))
    assert measure.chance(actual, predictions) > constant - 0.01


def test_recall_at_a_precision_by_chance_is_that_of_the_predictions_in_random_order() -> None:
    rng, (actual, predictions) = np.random.default_rng(1), binary()
    measure = Measure(BINARY, "recall_at_precision", precision=actual.mean() + 0.02)
    scores = [measure.score(actual, rng.permutation(predictions)) for _ in range(500)]
    assert 0.05 < np.mean(scores) < 1
    spread = np.std(scores) / np.sqrt(50)
    assert measure.chance(actual, predictions) == pytest.approx(np.mean(scores), abs=3 * spread)
    assert measure.chance(actual, predictions) == measure.chance(actual, predictions)


@pytest.mark.parametrize("name", sorted({*names_of(BINARY)} - {"f1_macro", "recall_at_precision"}))
def test_a_constant_is_as_good_as_chance_under_every_other_measure(name: str) -> None:
    rng, (actual, predictions) = np.random.default_rng(0), binary()
    measure = Measure(BINARY, name, costs=COSTS if "cost" in name else {})
    assert measure.chance(actual, predictions) == -np.inf
    scores = [measure.score(actual, rng.permutation(predictions)) for _ in range(50)]
    constant = measure.score(actual, repeat(measure.constant(actual), len(actual)))
    assert np.mean(scores) <= constant + 0.02


def test_rows_of_one_class_have_no_area_under_the_curve() -> None:
    actual, predictions = binary()
    one = actual == 0
    for name in ("roc_auc", "average_precision", "recall_at_precision"):
        assert np.isnan(Measure(BINARY, name).score(actual[one], predictions[one]))


@pytest.mark.parametrize("name", names_of(BINARY))
def test_a_prediction_that_is_not_finite_never_improves_a_measure(name: str) -> None:
    actual, predictions = binary()
    measure = Measure(BINARY, name, costs=COSTS)
    broken = predictions.copy()
    broken[:50] = np.nan
    assert not measure.score(actual, broken) > measure.score(actual, predictions)


def test_losses_give_the_score() -> None:
    for spec, (actual, predictions) in ((BINARY, binary()), (PRICES, prices())):
        for name in names_of(spec):
            measure = Measure(spec, name, costs=COSTS if spec is BINARY else {})
            if measure.has_losses:
                losses = measure.losses(actual, predictions)
                assert (losses >= 0).all()
                assert measure.best - losses.mean() == measure.score(actual, predictions)


def test_the_loss_of_a_wrong_class_is_one() -> None:
    predictions = np.array([[0.9, 0.1], [0.9, 0.1], [0.5, 0.5]], np.float32)
    found = Measure(BINARY, "accuracy").losses(np.array([0, 1, 0]), predictions)
    assert found.tolist() == [0, 1, 0]
    assert found.dtype == np.float64


def test_the_loss_of_r2_is_the_squared_error_as_a_multiple_of_the_variance() -> None:
    predictions = np.array([[4.0, 0, 9], [4, 0, 9], [9, 0, 9], [8, 0, 9]])
    found = Measure(PRICES, "r2").losses(np.array([2, 4, 4, 6]), predictions)
    assert found == pytest.approx(np.array([4, 0, 25, 4]) / 2)


def test_a_certain_prediction_has_no_log_loss_if_right_and_a_large_finite_one_if_wrong() -> None:
    losses = Measure(BINARY, "neg_log_loss").losses(np.array([0, 0]), np.eye(2))
    assert losses[0] == 0
    assert 30 < losses[1] < 40


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf])
def test_a_prediction_that_is_not_finite_is_a_wrong_class_or_has_an_infinite_loss(
    nothing: float,
) -> None:
    predictions = np.array([[nothing, 1.0], [nothing, nothing], [1.0, nothing]])
    for actual in (0, 1):
        wrong = Measure(BINARY, "accuracy").losses(np.full(3, actual), predictions)
        assert wrong.tolist() == [1, 1, 1]
    costs = Measure(BINARY, "neg_expected_cost", costs=COSTS)
    assert costs.losses(np.zeros(3, int), predictions).tolist() == [5, 5, 5]
    values = np.array([[nothing, 0, 1], [1, 0, 2]])
    for name in names_of(PRICES):
        measure = Measure(PRICES, name)
        assert measure.score(np.array([0.0, 2.0]), values) == -np.inf
        if measure.has_losses:
            for actual in (np.array([0.0, 2.0]), np.array([1.0, 1.0])):
                losses = measure.losses(actual, values)
                assert losses[0] == np.inf
                assert losses[1] < np.inf


def test_a_measure_that_does_not_fit_is_refused_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match="'r2' does not fit churn: choose one of accuracy, "):
        Measure(BINARY, "r2")
    with pytest.raises(ConfigError, match="'f1' does not fit species: choose one of accuracy, "):
        Measure(SPECIES, "f1")
    with pytest.raises(ConfigError, match="costs name 'maybe', which is not a class of churn"):
        Measure(BINARY, "neg_expected_cost", costs={"yes": {"maybe": 1.0}})
    with pytest.raises(ConfigError, match="neg_expected_cost needs costs"):
        Measure(BINARY, "neg_expected_cost")


def test_accuracy_and_r2_are_the_defaults() -> None:
    assert default_measure(SPECIES).name == "accuracy"
    assert default_measure(PRICES).name == "r2"


def test_costs_that_are_not_given_are_0() -> None:
    assert cost_matrix(("no", "yes"), {"yes": {"no": 5.0}}).tolist() == [[0, 0], [5, 0]]
