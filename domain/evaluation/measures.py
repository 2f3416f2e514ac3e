"""Measures of quality, by the names of scikit-learn's scorers. NumPy only, as the server uses them.

Of every measure higher is better, so the names of losses start with ``neg_``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from domain.contract import ModelSpec
from domain.errors import ConfigError

_TINY = 2.0**-52  # smallest probability in a logarithm, as scikit-learn's
_ORDERS = 50  # random ones, whose mean score is that of chance
_DEFAULTS = {"classification": "accuracy", "regression": "r2"}


@dataclass(frozen=True)
class Measure:
    """How the quality of a model is measured.

    Attributes:
        name: one of `names_of` the contract's task.
        precision: of ``recall_at_precision``: the precision that must be reached.
        top: of ``precision_at_top``: number of rows with the highest probability.
        quantile: of ``neg_mean_pinball_loss``: the quantile that is predicted.
        costs: of ``neg_expected_cost``: by actual class, the cost of each predicted class; 0 if not
            listed.

    Raises:
        ConfigError: the measure is unknown or does not fit the contract.
    """

    spec: ModelSpec
    name: str
    precision: float = 0.9
    top: int = 100
    quantile: float = 0.5
    costs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = names_of(self.spec)
        if self.name not in known:
            raise ConfigError(
                f"validation.measure: {self.name!r} does not fit {self.spec.name}: choose one of "
                f"{', '.join(known)}"
            )
        words = set(self.costs).union(*self.costs.values())
        unknown = sorted(words.difference(self.spec.classes))
        if unknown:
            raise ConfigError(
                f"validation.measure: costs name {unknown[0]!r}, which is not a class of "
                f"{self.spec.name}: {', '.join(self.spec.classes)}"
            )
        if self.name == "neg_expected_cost" and not np.any(self.cost_matrix):
            raise ConfigError(
                "validation.measure: neg_expected_cost needs costs, such as "
                '{"yes": {"no": 5}, "no": {"yes": 1}}: what each wrong prediction costs, by actual '
                "and predicted class"
            )

    @property
    def title(self) -> str:
        """Name, with the number that it depends on, as in ``precision_at_top(100)``."""
        options = {
            "recall_at_precision": self.precision,
            "precision_at_top": self.top,
            "neg_mean_pinball_loss": self.quantile,
        }
        return f"{self.name}({options[self.name]:g})" if self.name in options else self.name

    @property
    def options(self) -> dict[str, Any]:
        """Name and options as plain data."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "spec"}

    @property
    def cost_matrix(self) -> np.ndarray:
        """Costs, float64 of shape (n_classes, n_classes); row: actual, column: predicted class."""
        return cost_matrix(self.spec.classes, self.costs)

    @property
    def positive(self) -> int:
        """Number of the positive class of a binary classifier."""
        return getattr(self.spec.output, "positive_code")

    @property
    def has_losses(self) -> bool:
        """Whether the score is a constant minus the mean of a loss of each row."""
        return self.name in _LOSSES

    @property
    def needs_probabilities(self) -> bool:
        """Whether the predicted classes alone do not decide the score."""
        return self.name in _OF_PROBABILITIES

    @property
    def best(self) -> float:
        """The score of a perfect model."""
        return 0.0 if self.name.startswith("neg_") else 1.0

    def losses(self, actual: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """Loss of each row, float64 of shape (n_rows,), not negative; `score` is `best` minus its
        mean. Infinite where a prediction is not finite, except that its class counts as wrong.

        Args:
            actual, predictions: as for `score`.
        """
        return _LOSSES[self.name](self, actual, np.asarray(predictions, np.float64))

    def score(
        self, actual: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None
    ) -> float:
        """Quality of predictions; higher is better. NaN if it is not defined for these rows, such
        as the area under a curve for rows of one class.

        Args:
            actual: class numbers or values, shape (n_rows,).
            predictions: probabilities, shape (n_rows, n_classes), or value, lower and upper limit,
                shape (n_rows, 3).
            weights: of the rows, shape (n_rows,); None for equal ones.
        """
        if self.has_losses:
            return self.best - float(np.average(self.losses(actual, predictions), weights=weights))
        given = np.ones(len(actual)) if weights is None else np.asarray(weights, np.float64)
        return _SCORES[self.name](self, np.asarray(actual), np.asarray(predictions), given)

    def constant(self, target: np.ndarray) -> np.ndarray:
        """The constant prediction with the best score on these values, shape (n_columns,).

        Candidates are each class with certainty and the shares of the classes; of a quantity 0, the
        mean, the median, the median weighted by 1 ÷ |value|, the quantile, and the middle of the
        shortest half of the values.

        Args:
            target: class numbers or values, shape (n_rows,).
        """
        if self.spec.classes:
            n_classes = len(self.spec.classes)
            shares = np.bincount(target, minlength=n_classes) / len(target)
            candidates = [shares, *np.eye(n_classes)]
        else:
            values = np.asarray(target, np.float64)
            nonzero = values[values != 0] if np.any(values) else values
            candidates = [
                np.full(3, value)
                for value in (
                    0.0,
                    values.mean(),
                    np.median(values),
                    _weighted_median(nonzero, 1 / np.maximum(np.abs(nonzero), _TINY)),
                    np.quantile(values, self.quantile, method="inverted_cdf"),
                    _middle_of_half(values),
                )
            ]
        scores = [self.score(target, repeat(each, len(target))) for each in candidates]
        return np.asarray(candidates[int(np.nanargmax(scores))], np.float64)

    def chance(self, actual: np.ndarray, predictions: np.ndarray) -> float:
        """The mean score that the same predictions would have if they were independent of the
        rows; −∞ for measures of which the best constant prediction is hardly ever worse: all but
        macro F1 and recall at a precision. The latter is the best of all thresholds, and the best
        of many is above 0 by chance: it is measured with the predictions in random order.

        Args:
            actual, predictions: as for `score`.
        """
        if self.name == "recall_at_precision":
            rng = np.random.default_rng(0)
            orders = (rng.permutation(len(actual)) for _ in range(_ORDERS))
            return float(np.mean([self.score(actual, predictions[order]) for order in orders]))
        if self.name != "f1_macro":
            return -np.inf
        _, whole, predicted = _class_weights(self, actual, predictions, np.ones(len(actual)))
        with np.errstate(invalid="ignore"):  # a class that neither occurs nor is predicted
            scores = 2 * whole * predicted / len(actual) / (whole + predicted)
        return float(np.nanmean(scores))

    def of_interest(
        self, actual: np.ndarray, predictions: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """For measures that rank rows: whether each row is of a class, bool, and its probability.

        One pair for the positive class of a binary classifier, else one for each class that occurs.
        """
        finite = np.where(np.isfinite(predictions), predictions, -1.0)
        if len(self.spec.classes) == 2:
            codes = [self.positive]
        else:
            codes = np.unique(actual).tolist()
        return [(actual == code, finite[:, code]) for code in codes]


def names_of(spec: ModelSpec) -> list[str]:
    """The measures that fit a contract, the default first."""
    if not spec.classes:
        return list(_QUANTITY)
    return [*_CLASSES, *(_BINARY if len(spec.classes) == 2 else ())]


def default_measure(spec: ModelSpec) -> Measure:
    """Accuracy, or R² of a quantity."""
    return Measure(spec, _DEFAULTS[spec.task])


def decided(spec: ModelSpec, predictions: np.ndarray) -> np.ndarray:
    """Number of the predicted class of each row, shape (n_rows,); −1 if it is not finite."""
    return np.where(np.isfinite(predictions).all(axis=1), spec.decide(predictions), -1)


def cost_matrix(names: Sequence[str], costs: Mapping[str, Mapping[str, float]]) -> np.ndarray:
    """Costs of each actual (row) and predicted class (column), float64 of shape (n_classes,
    n_classes); 0 if not given."""
    return np.array([[costs.get(actual, {}).get(name, 0.0) for name in names] for actual in names])


def repeat(prediction: np.ndarray, rows: int) -> np.ndarray:
    """The same prediction for each row, shape (rows, n_columns)."""
    return np.tile(np.asarray(prediction, np.float64), (rows, 1))


# losses of each row


def format_score(value: float) -> str:
    """A score with three decimals; with a minus sign, not a hyphen."""
    return f"{value:.3f}".replace("-", "−")


def signed(value: float) -> str:
    """A number with its sign and three decimals; with a minus sign, not a hyphen."""
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", "−")  # + 0.0: no negative zero


def _wrong(measure: Measure, actual: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    return (decided(measure.spec, predictions) != actual).astype(np.float64)


def _log_losses(_: Measure, actual: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    likelihood = predictions[np.arange(len(actual)), actual]
    losses = -np.log(np.clip(likelihood, _TINY, 1))
    return _infinite_if_invalid(losses)


def _brier_losses(measure: Measure, actual: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    n_classes = len(measure.spec.classes)
    squares = np.square(predictions - np.eye(n_classes)[actual]).sum(axis=1)
    return _infinite_if_invalid(squares / 2 if n_classes == 2 else squares)


def _costs(measure: Measure, actual: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    codes, matrix = decided(measure.spec, predictions), measure.cost_matrix
    return np.where(codes < 0, matrix.max(), matrix[actual, codes])


def _errors(actual: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Actual minus predicted values, shape (n_rows,)."""
    return np.asarray(actual, np.float64) - predictions[:, 0]


def _squared_losses(_: Measure, actual: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    squares = _infinite_if_invalid(np.square(_errors(actual, predictions)))
    variance = np.var(actual, dtype=np.float64)
    if variance == 0:  # scikit-learn's convention for values that are all equal
        return np.where(np.isfinite(squares), float(squares.any()), np.inf)
    return squares / variance


def _absolute_losses(_: Measure, actual: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    return _infinite_if_invalid(np.abs(_errors(actual, predictions)))


def _percentage_losses(_: Measure, actual: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    size = np.maximum(np.abs(actual), sys.float_info.epsilon)  # as scikit-learn
    return _infinite_if_invalid(np.abs(_errors(actual, predictions)) / size)


def _pinball_losses(measure: Measure, actual: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    errors, quantile = _errors(actual, predictions), measure.quantile
    return _infinite_if_invalid(np.maximum(quantile * errors, (quantile - 1) * errors))


def _infinite_if_invalid(losses: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(losses), losses, np.inf)


# scores of all rows


def _class_weights(
    measure: Measure, actual: np.ndarray, predictions: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight of the correct rows, the actual rows and the predicted rows of each class."""
    codes, n_classes = decided(measure.spec, predictions), len(measure.spec.classes)
    valid = codes >= 0
    correct = np.bincount(actual, weights * (codes == actual), n_classes)
    predicted = np.bincount(codes[valid], weights[valid], n_classes)
    return correct, np.bincount(actual, weights, n_classes), predicted


def _balanced_accuracy(
    measure: Measure, actual: np.ndarray, predictions: np.ndarray, weights: np.ndarray
) -> float:
    correct, whole, _ = _class_weights(measure, actual, predictions, weights)
    return float((correct[whole > 0] / whole[whole > 0]).mean())


def _f1_of_each(
    measure: Measure, actual: np.ndarray, predictions: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """F1 of each class, NaN if it neither occurs nor is predicted."""
    correct, whole, predicted = _class_weights(measure, actual, predictions, weights)
    with np.errstate(invalid="ignore"):
        return 2 * correct / (whole + predicted)


def _f1_macro(
    measure: Measure, actual: np.ndarray, predictions: np.ndarray, weights: np.ndarray
) -> float:
    return float(np.nanmean(_f1_of_each(measure, actual, predictions, weights)))


def _f1(
    measure: Measure, actual: np.ndarray, predictions: np.ndarray, weights: np.ndarray
) -> float:
    return float(_f1_of_each(measure, actual, predictions, weights)[measure.positive])


def _roc_auc(
    measure: Measure, actual: np.ndarray, predictions: np.ndarray, weights: np.ndarray
) -> float:
    """Weights within a class are equal, so they do not matter."""
    del weights
    areas = [
        placements(positive, ranks)[0].mean()
        for positive, ranks in measure.of_interest(actual, predictions)
        if 0 < positive.sum() < len(positive)
    ]
    return float(np.mean(areas)) if areas else np.nan


def _average_precision(
    measure: Measure, actual: np.ndarray, predictions: np.ndarray, weights: np.ndarray
) -> float:
    means = []
    for positive, ranks in measure.of_interest(actual, predictions):
        recall, precision = recall_and_precision(positive, ranks, weights)
        means.append(float((np.diff(recall, prepend=0) * precision).sum()))
    return float(np.mean(means)) if means else np.nan


def _recall_at_precision(
    measure: Measure, actual: np.ndarray, predictions: np.ndarray, weights: np.ndarray
) -> float:
    ((positive, ranks),) = measure.of_interest(actual, predictions)
    recall, precision = recall_and_precision(positive, ranks, weights)
    if np.isnan(recall).any():
        return np.nan
    return float(recall[precision >= measure.precision].max(initial=0))


def _precision_at_top(
    measure: Measure, actual: np.ndarray, predictions: np.ndarray, weights: np.ndarray
) -> float:
    """Of rows with equal probability at the limit, the expected share is counted."""
    ((positive, ranks),) = measure.of_interest(actual, predictions)
    chosen, hits = _cumulated(positive, ranks, weights)
    top = min(float(measure.top), chosen[-1])
    return float(np.interp(top, np.append(0, chosen), np.append(0, hits)) / top)


def _root_mean_squared_error(
    _: Measure, actual: np.ndarray, predictions: np.ndarray, weights: np.ndarray
) -> float:
    squares = _infinite_if_invalid(np.square(_errors(actual, predictions)))
    return -float(np.sqrt(np.average(squares, weights=weights)))


def _median_absolute_error(
    _: Measure, actual: np.ndarray, predictions: np.ndarray, weights: np.ndarray
) -> float:
    return -_weighted_median(_infinite_if_invalid(np.abs(_errors(actual, predictions))), weights)


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """The mean of the values between which half of the weight lies."""
    order = np.argsort(values)
    ordered, reached = values[order], np.cumsum(weights[order])
    half = reached[-1] / 2
    below = int(np.searchsorted(reached, half * (1 - 1e-12)))
    above = int(np.searchsorted(reached, half * (1 + 1e-12), "right"))
    return float((ordered[below] + ordered[min(above, len(ordered) - 1)]) / 2)


def _middle_of_half(values: np.ndarray) -> float:
    """Middle of the shortest interval with half of the values: the constant with the smallest
    median absolute error."""
    ordered, half = np.sort(values), len(values) // 2 + 1
    widths = ordered[half - 1 :] - ordered[: len(values) - half + 1]
    start = int(widths.argmin())
    return float((ordered[start] + ordered[start + half - 1]) / 2)


def _cumulated(
    positive: np.ndarray, ranks: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weight of all rows, and of the positive ones, at or above each distinct probability, the
    highest first."""
    order = np.argsort(-ranks, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(ranks[order])), len(order) - 1)
    weight = weights[order]
    return np.cumsum(weight)[ends], np.cumsum(weight * positive[order])[ends]


def recall_and_precision(
    positive: np.ndarray, ranks: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision if all rows at or above a probability are predicted positive.

    Args:
        positive: whether each row is positive, bool of shape (n_rows,).
        ranks: probability of each row, shape (n_rows,).

    Returns:
        Both for each distinct probability, the highest first; the recall is NaN if no row is
        positive.
    """
    chosen, hits = _cumulated(positive, ranks, weights)
    with np.errstate(invalid="ignore"):
        return hits / hits[-1], hits / chosen


def placements(positive: np.ndarray, ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each positive row the share of negative rows with a lower probability, and for each
    negative row the share of positive rows with a higher one; equal ones count half. The mean of
    either is the area under the ROC curve.

    References:
        E. R. DeLong et al., "Comparing the areas under two or more correlated receiver operating
        characteristic curves: a nonparametric approach", 1988.
        X. Sun and W. Xu, "Fast implementation of DeLong's algorithm", 2014.
    """
    whole, above, below = _midranks(ranks), _midranks(ranks[positive]), _midranks(ranks[~positive])
    return (
        (whole[positive] - above) / len(below),
        1 - (whole[~positive] - below) / len(above),
    )


def _midranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


_LOSSES: dict[str, Callable[[Measure, np.ndarray, np.ndarray], np.ndarray]] = {
    "accuracy": _wrong,
    "neg_log_loss": _log_losses,
    "neg_brier_score": _brier_losses,
    "neg_expected_cost": _costs,
    "r2": _squared_losses,
    "neg_mean_absolute_error": _absolute_losses,
    "neg_mean_absolute_percentage_error": _percentage_losses,
    "neg_mean_pinball_loss": _pinball_losses,
}
_SCORES: dict[str, Callable[[Measure, np.ndarray, np.ndarray, np.ndarray], float]] = {
    "balanced_accuracy": _balanced_accuracy,
    "f1_macro": _f1_macro,
    "f1": _f1,
    "roc_auc": _roc_auc,
    "average_precision": _average_precision,
    "recall_at_precision": _recall_at_precision,
    "precision_at_top": _precision_at_top,
    "neg_root_mean_squared_error": _root_mean_squared_error,
    "neg_median_absolute_error": _median_absolute_error,
}
_CLASSES = (
    *("accuracy", "balanced_accuracy", "f1_macro", "roc_auc", "average_precision"),
    *("neg_log_loss", "neg_brier_score", "neg_expected_cost"),
)
_OF_PROBABILITIES = (
    *("roc_auc", "average_precision", "neg_log_loss", "neg_brier_score"),
    *("recall_at_precision", "precision_at_top"),
)
_BINARY = ("f1", "recall_at_precision", "precision_at_top")
_QUANTITY = (
    *("r2", "neg_mean_absolute_error", "neg_root_mean_squared_error"),
    *("neg_median_absolute_error", "neg_mean_absolute_percentage_error", "neg_mean_pinball_loss"),
)
