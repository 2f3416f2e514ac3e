"""Quality of a model on labelled rows. NumPy only, since the server uses it too."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from domain.contract import ModelSpec

_RESAMPLES = 1000


@dataclass(frozen=True)
class ClassificationReport:
    """Quality of a classifier on labelled rows.

    Attributes:
        confusion: int64 array of shape (n_classes, n_classes); row: true, column: predicted class.
    """

    measure: ClassVar[str] = "accuracy"

    confusion: np.ndarray

    @classmethod
    def of(cls, actual: np.ndarray, predicted: np.ndarray, n_classes: int) -> ClassificationReport:
        """Count pairs of class numbers; both arrays have shape (n_rows,)."""
        pairs = np.asarray(actual, np.int64) * n_classes + np.asarray(predicted, np.int64)
        counts = np.bincount(pairs, minlength=n_classes * n_classes)
        return cls(counts.reshape(n_classes, n_classes))

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"accuracy {self.accuracy:.3f} ({self.correct} of {self.rows}, "
            f"95 % interval {low:.3f} to {high:.3f})"
        )

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
    def score(self) -> float:
        """The accuracy, which is compared with the threshold."""
        return self.accuracy

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the accuracy (Wilson)."""
        return wilson_interval(self.correct, self.rows)

    @property
    def precision(self) -> float:
        """Mean over classes of correct ÷ predicted."""
        return self._mean(self.confusion.sum(axis=0))

    @property
    def recall(self) -> float:
        """Mean over classes of correct ÷ actual."""
        return self._mean(self.confusion.sum(axis=1))

    @property
    def f1_score(self) -> float:
        """Mean over classes of 2 · correct ÷ (actual + predicted)."""
        return self._mean((self.confusion.sum(axis=0) + self.confusion.sum(axis=1)) / 2)

    def _mean(self, whole: np.ndarray) -> float:
        """Mean of correct ÷ whole over classes that occur or are predicted; 0 ÷ 0 counts as 0."""
        used = self.confusion.sum(axis=0) + self.confusion.sum(axis=1) > 0
        return float((np.diag(self.confusion) / np.maximum(whole, 0.5))[used].mean())

    def to_dict(self) -> dict[str, float]:
        """The four figures by name."""
        return {
            "accuracy": self.accuracy,
            "precision": self.precision,
            "recall": self.recall,
            "f1_score": self.f1_score,
        }

    def details(self) -> dict[str, Any]:
        """What `to_dict` leaves out, as plain data."""
        return {"confusion_matrix": self.confusion.tolist()}


@dataclass(frozen=True)
class RegressionReport:
    """Quality of a regression and of its intervals.

    Attributes:
        actual: true values, shape (n_rows,).
        predictions: prediction, lower and upper limit of each row, shape (n_rows, 3).
        coverage: share of the true values that the intervals should contain.
    """

    measure: ClassVar[str] = "r2"

    actual: np.ndarray
    predictions: np.ndarray
    coverage: float

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"R² {self.score:.3f} ({self.rows} rows, 95 % interval {low:.3f} to {high:.3f}), "
            f"mean absolute error {self.mean_absolute_error:.3g}, "
            f"interval coverage {self.covered:.3f} (target {self.coverage:.2f})"
        )

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.actual)

    @cached_property
    def residuals(self) -> np.ndarray:
        """True minus predicted, shape (n_rows,)."""
        return np.asarray(self.actual, np.float64) - self.predictions[:, 0]

    @property
    def score(self) -> float:
        """R²: 1 is perfect, 0 is as good as always predicting the mean."""
        return _r2(np.asarray(self.actual, np.float64), self.residuals)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of R² (percentile bootstrap over rows, with a fixed seed).

        References:
            B. Efron and R. Tibshirani, "An introduction to the bootstrap", 1993, chapter 13.
        """
        rng = np.random.default_rng(0)
        actual, residuals = np.asarray(self.actual, np.float64), self.residuals
        drawn = (rng.integers(self.rows, size=self.rows) for _ in range(_RESAMPLES))
        scores = [_r2(actual[rows], residuals[rows]) for rows in drawn]
        low, high = np.quantile(scores, [0.025, 0.975])
        return float(low), float(high)

    @property
    def mean_absolute_error(self) -> float:
        """Mean of |true − predicted|, in the unit of the quantity."""
        return float(np.abs(self.residuals).mean())

    @property
    def root_mean_squared_error(self) -> float:
        """Root of the mean of (true − predicted)², in the unit of the quantity."""
        return float(np.sqrt(np.square(self.residuals).mean()))

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
        """The figures by name."""
        return {
            "r2": self.score,
            "mean_absolute_error": self.mean_absolute_error,
            "root_mean_squared_error": self.root_mean_squared_error,
            "interval_coverage": self.covered,
            "interval_width": self.mean_width,
        }

    def details(self) -> dict[str, Any]:
        """What `to_dict` leaves out, as plain data."""
        return {"interval_coverage_interval": self.covered_interval}


Report = ClassificationReport | RegressionReport


def evaluate(spec: ModelSpec, predictions: np.ndarray, actual: np.ndarray) -> Report:
    """Quality of predictions, shape (n_rows, n_columns), given class numbers or values."""
    if spec.classes:
        return ClassificationReport.of(actual, spec.decide(predictions), len(spec.classes))
    return RegressionReport(actual, predictions, getattr(spec.output, "coverage"))


def losses(spec: ModelSpec, predictions: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Loss of each row, float64 of shape (n_rows,).

    Classes: 1 where the predicted class is wrong, otherwise 0. A quantity: |true − predicted|
    in standard deviations of the true values, or in the quantity's unit if those are all equal. A
    prediction that is not finite counts as a wrong class, or has an infinite loss.

    Args:
        predictions: shape (n_rows, n_columns).
        actual: class numbers or values, shape (n_rows,).
    """
    if spec.classes:
        right = (spec.decide(predictions) == actual) & np.isfinite(predictions).all(axis=1)
        return 1.0 - right
    true = np.asarray(actual, np.float64)
    errors = np.abs(true - predictions[:, 0]) / (true.std() or 1.0)
    return np.where(np.isfinite(errors), errors, np.inf)


def _r2(actual: np.ndarray, residuals: np.ndarray) -> float:
    total, remaining = np.square(actual - actual.mean()).sum(), np.square(residuals).sum()
    if total == 0:  # scikit-learn's convention for values that are all equal
        return float(remaining == 0)
    return float(1 - remaining / total)


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Confidence interval of a proportion; `z` = 1.96 gives 95 %.

    References:
        E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    >>> [round(limit, 3) for limit in wilson_interval(27, 30)]
    [0.744, 0.965]
    """
    share, spread = successes / trials, z * z / trials
    centre = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def log_loss(actual: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean negative log-likelihood, in nats.

    Args:
        actual: int array of shape (n_rows,), class numbers.
        probabilities: array of shape (n_rows, n_classes).
    """
    likelihood = probabilities[np.arange(len(actual)), actual]
    return float(-np.log(np.clip(likelihood, 1e-15, 1)).mean())
