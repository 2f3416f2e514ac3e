"""Quality of a classifier on labelled rows; numpy only, since the serving image uses it too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClassificationReport:
    """Quality on labelled rows.

    Attributes:
        confusion: int64 array of shape (n_classes, n_classes); rows are true, columns predicted.
    """

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
        """Number of rows predicted right."""
        return int(np.trace(self.confusion))

    @property
    def accuracy(self) -> float:
        """Share of rows predicted right."""
        return self.correct / self.rows

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the accuracy (Wilson)."""
        return wilson_interval(self.correct, self.rows)

    @property
    def precision(self) -> float:
        """Mean over classes of right ÷ predicted."""
        return self._mean(self.confusion.sum(axis=0))

    @property
    def recall(self) -> float:
        """Mean over classes of right ÷ actual."""
        return self._mean(self.confusion.sum(axis=1))

    @property
    def f1_score(self) -> float:
        """Mean over classes of 2 · right ÷ (actual + predicted)."""
        return self._mean((self.confusion.sum(axis=0) + self.confusion.sum(axis=1)) / 2)

    def _mean(self, whole: np.ndarray) -> float:
        """Mean of right ÷ whole over the classes that occur or are predicted; 0 ÷ 0 counts as 0."""
        met = self.confusion.sum(axis=0) + self.confusion.sum(axis=1) > 0
        return float((np.diag(self.confusion) / np.maximum(whole, 0.5))[met].mean())

    def to_dict(self) -> dict[str, float]:
        """The four figures by name."""
        return {
            "accuracy": self.accuracy,
            "precision": self.precision,
            "recall": self.recall,
            "f1_score": self.f1_score,
        }


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
