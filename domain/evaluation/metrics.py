"""Quality of a model on labelled rows. NumPy only, since the server uses it too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from domain.evaluation.intervals import score_interval, wilson_interval
from domain.evaluation.measures import Measure, decided, format_score

_OF_PROBABILITIES = ("roc_auc", "average_precision", "neg_log_loss", "neg_brier_score")
_OF_VALUES = (
    *("r2", "neg_mean_absolute_error", "neg_root_mean_squared_error"),
    "neg_median_absolute_error",
)


@dataclass(frozen=True)
class Score:
    """The score of the measure that the configuration chooses.

    Attributes:
        measure: its name.
        interval: 95 % confidence interval.
        title: its name with the number that it depends on; empty for its name.
    """

    measure: str
    value: float
    interval: tuple[float, float]
    title: str = ""

    def __str__(self) -> str:
        low, high = map(format_score, self.interval)
        title = self.title or self.measure
        return f"{title} {format_score(self.value)} (95 % interval {low} to {high})"


@dataclass(frozen=True)
class ClassificationReport:
    """Quality of a classifier on labelled rows.

    Attributes:
        confusion: int64 array of shape (n_classes, n_classes); row: true, column: predicted class.
        chosen: the score of the chosen measure; None for accuracy.
        positive: number of the positive class of a binary classifier.
        others: other measures that need probabilities, by name; losses without ``neg_``.
    """

    confusion: np.ndarray
    chosen: Score | None = None
    positive: int | None = None
    others: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, actual: np.ndarray, predicted: np.ndarray, n_classes: int) -> ClassificationReport:
        """Count pairs of class numbers; both arrays have shape (n_rows,)."""
        pairs = np.asarray(actual, np.int64) * n_classes + np.asarray(predicted, np.int64)
        counts = np.bincount(pairs, minlength=n_classes * n_classes)
        return cls(counts.reshape(n_classes, n_classes))

    def __str__(self) -> str:
        low, high = wilson_interval(self.correct, self.rows)
        accuracy = f"accuracy {self.accuracy:.3f} ({self.correct} of {self.rows}"
        if self.measure == "accuracy":
            return f"{accuracy}, 95 % interval {low:.3f} to {high:.3f})"
        return f"{self.chosen}, {accuracy})"

    @property
    def rows(self) -> int:
        """Number of labelled rows."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """Number of rows predicted correctly."""
        return int(np.trace(self.confusion))

    @property
    def accuracy(self) -> float:
        """Share of rows predicted correctly."""
        return self.correct / self.rows

    @property
    def measure(self) -> str:
        """Name of the chosen measure."""
        return self.chosen.measure if self.chosen else "accuracy"

    @property
    def score(self) -> float:
        """The score of the chosen measure, which is compared with the threshold."""
        return self.chosen.value if self.chosen else self.accuracy

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the score."""
        return self.chosen.interval if self.chosen else wilson_interval(self.correct, self.rows)

    @cached_property
    def of_each_class(self) -> dict[str, np.ndarray]:
        """Precision, recall and F1 of each class, shape (n_classes,); 0 ÷ 0 counts as 0."""
        correct, actual = np.diag(self.confusion), self.confusion.sum(axis=1)
        predicted = self.confusion.sum(axis=0)
        wholes = {"precision": predicted, "recall": actual, "f1": (actual + predicted) / 2}
        return {name: correct / np.maximum(whole, 0.5) for name, whole in wholes.items()}

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that occur."""
        return float(self.of_each_class["recall"][self.confusion.sum(axis=1) > 0].mean())

    def macro(self, name: str) -> float:
        """Mean of a figure of `of_each_class` over the classes that occur or are predicted."""
        used = self.confusion.sum(axis=0) + self.confusion.sum(axis=1) > 0
        return float(self.of_each_class[name][used].mean())

    def to_dict(self) -> dict[str, float]:
        """All scores by name, that of the chosen measure first."""
        scores = {
            self.measure: self.score,
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            **self.others,
        }
        if self.positive is not None:
            scores |= {
                name: float(each[self.positive]) for name, each in self.of_each_class.items()
            }
        return scores | {f"{name}_macro": self.macro(name) for name in self.of_each_class}

    def details(self) -> dict[str, Any]:
        """What `to_dict` leaves out, as plain data."""
        return {
            "confusion_matrix": self.confusion.tolist(),
            "of_each_class": {name: each.tolist() for name, each in self.of_each_class.items()},
        }


@dataclass(frozen=True)
class RegressionReport:
    """Quality of a regression and of its intervals.

    Attributes:
        actual: true values, shape (n_rows,).
        predictions: prediction, lower and upper limit of each row, shape (n_rows, 3).
        coverage: share of the true values that the intervals should contain.
        chosen: the score of the chosen measure.
        others: other measures, by name; losses without ``neg_``.
    """

    actual: np.ndarray
    predictions: np.ndarray
    coverage: float
    chosen: Score
    others: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.chosen}, {self.rows} rows, "
            f"mean absolute error {self.mean_absolute_error:.3g}, "
            f"interval coverage {self.covered:.3f} (target {self.coverage:.2f})"
        )

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.actual)

    @property
    def measure(self) -> str:
        """Name of the chosen measure."""
        return self.chosen.measure

    @property
    def score(self) -> float:
        """The score of the chosen measure, which is compared with the threshold."""
        return self.chosen.value

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the score."""
        return self.chosen.interval

    @cached_property
    def residuals(self) -> np.ndarray:
        """True minus predicted, shape (n_rows,)."""
        return np.asarray(self.actual, np.float64) - self.predictions[:, 0]

    @property
    def mean_absolute_error(self) -> float:
        """Mean of |true − predicted|, in the unit of the quantity."""
        return float(np.abs(self.residuals).mean())

    @property
    def covered(self) -> float:
        """Share of the true values that lie in their interval."""
        _, lower, upper = self.predictions.T
        return float(((self.actual >= lower) & (self.actual <= upper)).mean())

    @property
    def covered_interval(self) -> tuple[float, float]:
        """95 % confidence interval of `covered` (Wilson)."""
        return wilson_interval(round(self.covered * self.rows), self.rows)

    @property
    def mean_width(self) -> float:
        """Mean width of the intervals, in the unit of the quantity."""
        return float((self.predictions[:, 2] - self.predictions[:, 1]).mean())

    def to_dict(self) -> dict[str, float]:
        """All scores by name, that of the chosen measure first, and what the intervals cover."""
        return {
            self.measure: self.score,
            **self.others,
            "interval_coverage": self.covered,
            "interval_width": self.mean_width,
        }

    def details(self) -> dict[str, Any]:
        """What `to_dict` leaves out, as plain data."""
        return {"interval_coverage_interval": self.covered_interval}


Report = ClassificationReport | RegressionReport


def evaluate(measure: Measure, predictions: np.ndarray, actual: np.ndarray) -> Report:
    """Quality of predictions by the chosen measure, with the other measures that need no options.

    Args:
        predictions: shape (n_rows, n_columns).
        actual: class numbers or values, shape (n_rows,).
    """
    spec = measure.spec
    value, interval = measure.score(actual, predictions), score_interval(
        measure, actual, predictions
    )
    chosen = Score(measure.name, value, interval, measure.title)
    others = {}
    for name in _OF_PROBABILITIES if spec.classes else _OF_VALUES:
        if name != measure.name:
            other = Measure(spec, name).score(actual, predictions)
            if not np.isnan(other):  # rows of one class have no curve
                others[name.removeprefix("neg_")] = -other if name.startswith("neg_") else other
    if not spec.classes:
        coverage = getattr(spec.output, "coverage")
        return RegressionReport(actual, predictions, coverage, chosen, others)
    codes, n_classes = decided(spec, predictions), len(spec.classes)
    report = ClassificationReport.of(actual, np.where(codes < 0, 0, codes), n_classes)
    binary = measure.positive if n_classes == 2 else None
    return replace(report, chosen=chosen, positive=binary, others=others)
