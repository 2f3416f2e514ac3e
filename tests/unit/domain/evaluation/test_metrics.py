"""Metrics, compared with those of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.evaluation.intervals import score_interval, wilson_interval
from domain.evaluation.measures import Measure, default_measure, names_of
from domain.evaluation.metrics import ClassificationReport, RegressionReport, Score, evaluate

INPUTS = (Number("x", "", 0, 1),)
BINARY = ModelSpec("churn", INPUTS, Classes(("no", "yes")))
SPECIES = ModelSpec("species", INPUTS, Classes(("a", "b", "c")))
PRICES = ModelSpec("prices", INPUTS, Quantity("price", coverage=0.9))


def random_labels(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Actual and predicted class numbers; in most cases, one of them lacks a class."""
    rng = np.random.default_rng(seed)
    n_classes, rows = int(rng.integers(2, 7)), int(rng.integers(1, 40))
    weights = rng.dirichlet(np.full(n_classes, 0.4), size=2)
    actual, predicted = (rng.choice(n_classes, size=rows, p=weight) for weight in weights)
    return actual, predicted, n_classes


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.filterwarnings("ignore:y_pred contains classes", "ignore:A single label was found")
def test_metrics_match_scikit_learn(seed: int) -> None:
    actual, predicted, n_classes = random_labels(seed)
    precision, recall, f1_score, _ = metrics.precision_recall_fscore_support(
        actual, predicted, average="macro", zero_division=0
    )
    assert ClassificationReport.of(actual, predicted, n_classes).to_dict() == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(actual, predicted),
            "balanced_accuracy": metrics.balanced_accuracy_score(actual, predicted),
            "precision_macro": precision,
            "recall_macro": recall,
            "f1_macro": f1_score,
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_figures_of_each_class_match_scikit_learn(seed: int) -> None:
    actual, predicted, n_classes = random_labels(seed)
    *figures, _ = metrics.precision_recall_fscore_support(
        actual, predicted, labels=range(n_classes), zero_division=0
    )
    found = ClassificationReport.of(actual, predicted, n_classes).of_each_class
    assert list(found) == ["precision", "recall", "f1"]
    assert np.array(list(found.values())) == pytest.approx(np.array(figures))


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
    assert ClassificationReport.of(labels, labels, 9).macro("f1") == 1.0


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


def test_details_are_the_confusion_matrix_and_the_figures_of_each_class() -> None:
    report = ClassificationReport(np.array([[3, 1], [0, 4]]))
    assert report.details() == {
        "confusion_matrix": [[3, 1], [0, 4]],
        "of_each_class": {
            "precision": [1.0, 0.8],
            "recall": [0.75, 1.0],
            "f1": pytest.approx([6 / 7, 8 / 9]),
        },
    }


def binary(rows: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and classes, of which about 15 % are positive."""
    rng = np.random.default_rng(seed)
    actual = (rng.random(rows) < 0.15).astype(int)
    positive = 0.3 * actual + 0.7 * rng.random(rows)
    return np.stack([1 - positive, positive], axis=1), actual


def test_other_measures_of_two_classes_stand_beside_the_chosen_one() -> None:
    predictions, actual = binary()
    found = evaluate(Measure(BINARY, "average_precision"), predictions, actual).to_dict()
    predicted, positive = predictions.argmax(axis=1), predictions[:, 1]
    assert next(iter(found)) == "average_precision"
    assert found == pytest.approx(
        {
            "average_precision": metrics.average_precision_score(actual, positive),
            "accuracy": metrics.accuracy_score(actual, predicted),
            "balanced_accuracy": metrics.balanced_accuracy_score(actual, predicted),
            "roc_auc": metrics.roc_auc_score(actual, positive),
            "log_loss": metrics.log_loss(actual, positive),
            "brier_score": metrics.brier_score_loss(actual, positive),
            "precision": metrics.precision_score(actual, predicted),
            "recall": metrics.recall_score(actual, predicted),
            "f1": metrics.f1_score(actual, predicted),
            "precision_macro": metrics.precision_score(actual, predicted, average="macro"),
            "recall_macro": metrics.recall_score(actual, predicted, average="macro"),
            "f1_macro": metrics.f1_score(actual, predicted, average="macro"),
        }
    )


@pytest.mark.parametrize("name", ["accuracy", "roc_auc", "f1", "neg_log_loss", "precision_at_top"])
def test_the_chosen_measure_gives_score_and_interval(name: str) -> None:
    predictions, actual = binary()
    measure = Measure(BINARY, name, top=20)
    report = evaluate(measure, predictions, actual)
    assert (report.measure, report.score) == (name, measure.score(actual, predictions))
    assert report.interval == score_interval(measure, actual, predictions)
    assert report.to_dict()[name] == report.score


def test_three_classes_have_macro_averages_and_no_positive_class() -> None:
    rng = np.random.default_rng(0)
    predictions, actual = rng.dirichlet(np.ones(3), size=90), rng.integers(3, size=90)
    found = evaluate(default_measure(SPECIES), predictions, actual).to_dict()
    assert {"precision", "recall", "f1"}.isdisjoint(found)
    assert {"precision_macro", "recall_macro", "f1_macro", "log_loss", "roc_auc"} <= found.keys()


def test_rows_of_one_class_have_no_measure_of_ranks() -> None:
    predictions, _ = binary(30)
    report = evaluate(default_measure(BINARY), predictions, np.zeros(30, int))
    assert {"roc_auc", "average_precision"}.isdisjoint(report.to_dict())
    assert "log_loss" in report.to_dict()


def test_a_report_with_another_measure_than_accuracy_reads_as_both() -> None:
    confusion = np.array([[13, 2], [1, 14]])
    report = ClassificationReport(confusion, Score("roc_auc", 0.97, (0.91, 0.99)))
    assert str(report) == (
        "roc_auc 0.970 (95 % interval 0.910 to 0.990), accuracy 0.900 (27 of 30)"
    )


def random_quantities(seed: int, rows: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Predictions with errors of standard deviation 2 and intervals of ± 3, and true values."""
    rng = np.random.default_rng(seed)
    actual = rng.normal(50, 10, size=rows)
    predicted = actual + rng.normal(0, 2, size=rows)
    return np.stack([predicted, predicted - 3, predicted + 3], axis=1), actual


def of_quantities(
    predictions: np.ndarray, actual: np.ndarray, name: str = "r2"
) -> RegressionReport:
    """The report of a quantity."""
    report = evaluate(Measure(PRICES, name), predictions, actual)
    assert isinstance(report, RegressionReport)
    return report


@pytest.mark.parametrize("seed", range(10))
def test_metrics_of_a_regression_match_scikit_learn(seed: int) -> None:
    predictions, actual = random_quantities(seed)
    report = of_quantities(predictions, actual)
    predicted = predictions[:, 0]
    assert report.to_dict() == pytest.approx(
        {
            "r2": metrics.r2_score(actual, predicted),
            "mean_absolute_error": metrics.mean_absolute_error(actual, predicted),
            "root_mean_squared_error": metrics.root_mean_squared_error(actual, predicted),
            "median_absolute_error": metrics.median_absolute_error(actual, predicted),
            "interval_coverage": np.mean(np.abs(actual - predicted) <= 3),
            "interval_width": 6.0,
        }
    )
    assert (report.measure, report.score) == ("r2", report.to_dict()["r2"])


@pytest.mark.parametrize("name", names_of(PRICES))
def test_the_chosen_measure_of_a_quantity_comes_first(name: str) -> None:
    predictions, actual = random_quantities(0)
    report, measure = of_quantities(predictions, actual, name), Measure(PRICES, name)
    assert next(iter(report.to_dict().items())) == (name, measure.score(actual, predictions))
    assert report.interval == score_interval(measure, actual, predictions)
    assert name.removeprefix("neg_") not in report.to_dict() or name == "r2"


@pytest.mark.parametrize("predicted", [[5.0, 5.0, 5.0], [5.0, 5.0, 6.0]])
def test_r2_of_constant_values_matches_scikit_learn(predicted: list[float]) -> None:
    actual = np.full(3, 5.0)
    predictions = np.stack([predicted] * 3, axis=1)
    assert of_quantities(predictions, actual).score == metrics.r2_score(actual, predicted)


def test_always_predicting_the_mean_has_an_r2_of_zero() -> None:
    actual = np.array([1.0, 2.0, 6.0])
    assert of_quantities(np.full((3, 3), 3.0), actual).score == pytest.approx(0)


def test_a_value_on_the_limit_of_its_interval_is_covered() -> None:
    predictions = np.array([[5.0, 4.0, 6.0]] * 4)
    report = of_quantities(predictions, np.array([4.0, 6.0, 3.999, 6.001]))
    assert report.covered == 0.5
    assert report.covered_interval == wilson_interval(2, 4)
    assert report.details() == {"interval_coverage_interval": wilson_interval(2, 4)}


def test_a_regression_report_reads_as_score_rows_error_and_coverage() -> None:
    report = of_quantities(*random_quantities(0))
    low, high = report.interval
    assert str(report).startswith(
        f"r2 {report.score:.3f} (95 % interval {low:.3f} to {high:.3f}), 80 rows, mean absolute "
    )
    assert str(report).endswith(f"interval coverage {report.covered:.3f} (target 0.90)")


def test_the_output_in_the_contract_decides_how_predictions_are_evaluated() -> None:
    predictions, actual = np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1])
    report = evaluate(default_measure(BINARY), predictions, actual)
    assert isinstance(report, ClassificationReport)
    assert report.confusion.tolist() == [[1, 0], [1, 0]]
    assert report.positive == 1
    spec = ModelSpec("q", INPUTS, Quantity("y", coverage=0.7))
    quantity = evaluate(default_measure(spec), *random_quantities(0))
    assert isinstance(quantity, RegressionReport)
    assert quantity.coverage == 0.7


def test_quality_and_losses_follow_the_decision_threshold() -> None:
    measure = default_measure(ModelSpec("m", INPUTS, Classes(("no", "yes"), threshold=0.2)))
    predictions, actual = np.array([[0.9, 0.1], [0.7, 0.3], [0.6, 0.4]]), np.array([0, 1, 0])
    report = evaluate(measure, predictions, actual)
    assert isinstance(report, ClassificationReport)
    assert report.confusion.tolist() == [[1, 1], [0, 1]]
    assert measure.losses(actual, predictions).tolist() == [0, 0, 1]
