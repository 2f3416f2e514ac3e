"""Metrics, compared with those of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.evaluation.metrics import (
    ClassificationReport,
    RegressionReport,
    evaluate,
    log_loss,
    losses,
    wilson_interval,
)


def random_labels(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Actual and predicted class numbers; in most cases, one of them lacks a class."""
    rng = np.random.default_rng(seed)
    n_classes, rows = int(rng.integers(2, 7)), int(rng.integers(1, 40))
    weights = rng.dirichlet(np.full(n_classes, 0.4), size=2)
    actual, predicted = (rng.choice(n_classes, size=rows, p=weight) for weight in weights)
    return actual, predicted, n_classes


@pytest.mark.parametrize("seed", range(40))
def test_metrics_match_scikit_learn(seed: int) -> None:
    actual, predicted, n_classes = random_labels(seed)
    precision, recall, f1_score, _ = metrics.precision_recall_fscore_support(
        actual, predicted, average="macro", zero_division=0
    )
    assert ClassificationReport.of(actual, predicted, n_classes).to_dict() == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(actual, predicted),
            "precision": precision,
            "recall": recall,
            "f1_score": f1_score,
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_confusion_matrix_matches_scikit_learn(seed: int) -> None:
    actual, predicted, n_classes = random_labels(seed)
    report = ClassificationReport.of(actual, predicted, n_classes)
    reference = metrics.confusion_matrix(actual, predicted, labels=range(n_classes))
    assert report.confusion.tolist() == reference.tolist()
    assert report.rows == len(actual)
    assert report.correct == (actual == predicted).sum()


def test_rows_of_the_confusion_matrix_are_true_and_columns_predicted() -> None:
    report = ClassificationReport.of(np.array([0, 0, 2]), np.array([1, 1, 2]), 3)
    assert report.confusion.tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 1]]


def test_every_metric_of_a_perfect_model_is_one() -> None:
    labels = np.array([0, 1, 2, 2])
    assert set(ClassificationReport.of(labels, labels, 3).to_dict().values()) == {1.0}


def test_every_metric_of_a_model_that_is_always_wrong_is_zero() -> None:
    report = ClassificationReport.of(np.array([0, 1]), np.array([1, 0]), 3)
    assert set(report.to_dict().values()) == {0.0}


def test_a_class_that_never_occurs_does_not_lower_the_metrics() -> None:
    labels = np.array([0, 1, 1])
    assert ClassificationReport.of(labels, labels, 9).f1_score == 1.0


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
def test_the_interval_matches_published_values(
    successes: int, trials: int, low: float, high: float
) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_the_interval_contains_the_share_and_stays_within_0_and_1() -> None:
    for trials in (1, 2, 30, 1000):
        for successes in range(0, trials + 1, max(1, trials // 10)):
            low, high = wilson_interval(successes, trials)
            assert 0 <= low <= successes / trials + 1e-12
            assert successes / trials - 1e-12 <= high <= 1


def test_more_rows_make_the_interval_narrower() -> None:
    widths = [high - low for low, high in (wilson_interval(9 * n, 10 * n) for n in (1, 3, 10, 99))]
    assert widths == sorted(widths, reverse=True)


def test_the_report_has_the_interval_of_its_accuracy() -> None:
    report = ClassificationReport(np.array([[13, 2], [1, 14]]))
    assert report.interval == wilson_interval(27, 30)
    assert report.interval == pytest.approx((0.7438, 0.9654), abs=5e-5)


def test_the_report_reads_as_accuracy_counts_and_interval() -> None:
    report = ClassificationReport(np.array([[13, 2], [1, 14]]))
    assert str(report) == "accuracy 0.900 (27 of 30, 95 % interval 0.744 to 0.965)"


def test_the_score_of_classes_is_their_accuracy() -> None:
    report = ClassificationReport(np.array([[13, 2], [1, 14]]))
    assert (report.measure, report.score) == ("accuracy", 0.9)


def random_quantities(seed: int, rows: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """True values, and predictions with errors of standard deviation 2 and intervals of ± 3."""
    rng = np.random.default_rng(seed)
    actual = rng.normal(50, 10, size=rows)
    predicted = actual + rng.normal(0, 2, size=rows)
    return actual, np.stack([predicted, predicted - 3, predicted + 3], axis=1)


@pytest.mark.parametrize("seed", range(10))
def test_metrics_of_a_regression_match_scikit_learn(seed: int) -> None:
    actual, predictions = random_quantities(seed)
    report = RegressionReport(actual, predictions, 0.9)
    assert report.to_dict() == pytest.approx(
        {
            "r2": metrics.r2_score(actual, predictions[:, 0]),
            "mean_absolute_error": metrics.mean_absolute_error(actual, predictions[:, 0]),
            "root_mean_squared_error": metrics.root_mean_squared_error(actual, predictions[:, 0]),
            "interval_coverage": np.mean(np.abs(actual - predictions[:, 0]) <= 3),
            "interval_width": 6.0,
        }
    )
    assert (report.measure, report.score) == ("r2", report.to_dict()["r2"])


@pytest.mark.parametrize("predicted", [[5.0, 5.0, 5.0], [5.0, 5.0, 6.0]])
def test_r2_of_constant_values_matches_scikit_learn(predicted: list[float]) -> None:
    actual = np.full(3, 5.0)
    report = RegressionReport(actual, np.stack([predicted] * 3, axis=1), 0.9)
    assert report.score == metrics.r2_score(actual, predicted)


def test_always_predicting_the_mean_has_an_r2_of_zero() -> None:
    actual = np.array([1.0, 2.0, 6.0])
    assert RegressionReport(actual, np.full((3, 3), 3.0), 0.9).score == pytest.approx(0)


def test_a_value_on_the_limit_of_its_interval_is_covered() -> None:
    predictions = np.array([[5.0, 4.0, 6.0]] * 4)
    report = RegressionReport(np.array([4.0, 6.0, 3.999, 6.001]), predictions, 0.9)
    assert report.covered == 0.5
    assert report.covered_interval == wilson_interval(2, 4)
    assert report.details() == {"interval_coverage_interval": wilson_interval(2, 4)}


def test_the_bootstrap_interval_is_repeatable_and_contains_the_score() -> None:
    actual, predictions = random_quantities(0)
    low, high = RegressionReport(actual, predictions, 0.9).interval
    assert (low, high) == RegressionReport(actual.copy(), predictions.copy(), 0.9).interval
    assert low < RegressionReport(actual, predictions, 0.9).score < high < 1


def test_the_bootstrap_interval_shrinks_with_more_rows() -> None:
    widths = []
    for rows in (20, 200, 2000):
        low, high = RegressionReport(*random_quantities(1, rows), 0.9).interval
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert widths[2] < widths[0] / 5


def test_the_bootstrap_interval_has_about_its_nominal_coverage() -> None:
    true = 1 - 2**2 / 10**2  # errors have a standard deviation of 2, values one of 10
    held = 0
    for seed in range(100):
        low, high = RegressionReport(*random_quantities(seed, 200), 0.9).interval
        held += low <= true <= high
    assert held >= 85


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_the_interval_of_very_few_rows_is_wide_and_finite(rows: int) -> None:
    actual = np.arange(rows, dtype=float)
    report = RegressionReport(actual, np.stack([actual + 0.1] * 3, axis=1), 0.9)
    assert -1e3 < report.interval[0] <= report.interval[1] <= 1
    assert len(str(report)) < 150


def test_a_regression_report_reads_as_r2_error_and_coverage() -> None:
    report = RegressionReport(*random_quantities(0), 0.9)
    assert str(report).startswith(f"R² {report.score:.3f} (80 rows, 95 % interval ")
    assert str(report).endswith(f"interval coverage {report.covered:.3f} (target 0.90)")


def test_the_output_in_the_contract_decides_how_predictions_are_evaluated() -> None:
    inputs = (Number("x", "", 0, 1),)
    classes = ModelSpec("c", inputs, Classes(("a", "b")))
    report = evaluate(classes, np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]))
    assert isinstance(report, ClassificationReport)
    assert report.confusion.tolist() == [[1, 0], [1, 0]]
    actual, predictions = random_quantities(0)
    quantity = evaluate(ModelSpec("q", inputs, Quantity("y", coverage=0.7)), predictions, actual)
    assert isinstance(quantity, RegressionReport)
    assert quantity.coverage == 0.7
    assert quantity.score == RegressionReport(actual, predictions, 0.7).score


@pytest.mark.parametrize("seed", range(10))
def test_log_loss_matches_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(4), size=50)
    actual = rng.integers(4, size=50)
    reference = metrics.log_loss(actual, probabilities, labels=range(4))
    assert log_loss(actual, probabilities) == pytest.approx(reference)


def test_log_loss_of_a_certain_and_right_model_is_zero() -> None:
    assert log_loss(np.array([0, 1]), np.eye(2)) == 0


def test_log_loss_of_a_certain_and_wrong_model_is_large_but_finite() -> None:
    loss = log_loss(np.array([1, 0]), np.eye(2))
    assert 30 < loss < 40


CLASSES = ModelSpec("c", (Number("x", "", 0, 1),), Classes(("a", "b")))
QUANTITY = ModelSpec("q", (Number("x", "", 0, 1),), Quantity("y"))


def test_the_loss_of_a_wrong_class_is_one() -> None:
    predictions = np.array([[0.9, 0.1], [0.9, 0.1], [0.5, 0.5]], np.float32)
    found = losses(CLASSES, predictions, np.array([0, 1, 0]))
    assert found.tolist() == [0, 1, 0]
    assert found.dtype == np.float64


def test_the_mean_loss_of_classes_is_one_minus_the_accuracy() -> None:
    rng = np.random.default_rng(0)
    predictions, actual = rng.dirichlet([1, 1], size=50), rng.integers(2, size=50)
    accuracy = evaluate(CLASSES, predictions, actual).score
    assert losses(CLASSES, predictions, actual).mean() == pytest.approx(1 - accuracy)


def test_the_loss_of_a_quantity_is_its_error_in_standard_deviations() -> None:
    predictions = np.array([[4.0, 0, 9], [4, 0, 9], [9, 0, 9], [8, 0, 9]])
    assert losses(QUANTITY, predictions, np.array([2, 4, 4, 6])) == pytest.approx(
        np.array([2, 0, 5, 2]) / np.sqrt(2)
    )


def test_the_loss_of_a_constant_quantity_is_in_its_unit() -> None:
    predictions = np.array([[4.0, 0, 9], [7, 0, 9]])
    assert losses(QUANTITY, predictions, np.array([5.0, 5.0])).tolist() == [1, 2]


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf])
def test_a_nan_prediction_is_never_right(nothing: float) -> None:
    predictions = np.array([[nothing, 1.0], [nothing, nothing], [1.0, nothing]])
    for actual in (0, 1):
        assert losses(CLASSES, predictions, np.full(3, actual)).tolist() == [1, 1, 1]
    predictions = np.array([[nothing, 0, 1], [1, 0, 2]])
    assert losses(QUANTITY, predictions, np.array([0.0, 2.0])).tolist() == [np.inf, 1]


def test_quality_and_losses_follow_the_decision_threshold() -> None:
    spec = ModelSpec("m", (Number("x", "", 0, 1),), Classes(("no", "yes"), threshold=0.2))
    predictions, actual = np.array([[0.9, 0.1], [0.7, 0.3], [0.6, 0.4]]), np.array([0, 1, 0])
    report = evaluate(spec, predictions, actual)
    assert isinstance(report, ClassificationReport)
    assert report.confusion.tolist() == [[1, 1], [0, 1]]
    assert losses(spec, predictions, actual).tolist() == [0, 0, 1]
