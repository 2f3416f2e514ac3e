"""Word error rate of transcripts. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from domain.evaluation.comparison import Comparison

_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Word errors of one transcript, compared with its reference.

    Attributes:
        words: number of words in the reference.
        substitutions: words that were recognised as another word.
        deletions: words that were not recognised.
        insertions: recognised words that the reference does not have.
    """

    words: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        """Sum of substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions


@dataclass(frozen=True)
class WordErrorReport:
    """Word errors of several utterances, weighted by their length.

    >>> report = WordErrorReport((WordErrors(8, 1, 0, 0), WordErrors(2, 0, 0, 1)))
    >>> report.rate
    0.2
    """

    measure: ClassVar[str] = "word_accuracy"

    utterances: Sequence[WordErrors]

    def __str__(self) -> str:
        return (
            f"word error rate {self.rate:.3f} ({self.errors} errors in {self.words} words of "
            f"{len(self.utterances)} utterances, {self._interval_text()})"
        )

    @property
    def words(self) -> int:
        """Number of words in the references."""
        return sum(item.words for item in self.utterances)

    @property
    def errors(self) -> int:
        """Number of errors."""
        return sum(item.errors for item in self.utterances)

    @property
    def rate(self) -> float:
        """Errors ÷ words; above 1 if insertions outnumber the correct words."""
        return self.errors / self.words

    @property
    def score(self) -> float:
        """Word accuracy, 1 − rate; higher is better."""
        return 1 - self.rate

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % bootstrap interval of the rate; None for a single utterance.

        Errors within an utterance are correlated, so utterances are drawn, not words.

        References:
            M. Bisani and H. Ney, "Bootstrap estimates for confidence intervals in ASR performance
            evaluation", 2004.
        """
        count = len(self.utterances)
        if count < 2:
            return None
        generator = np.random.default_rng(0)
        counts = generator.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)
        errors = counts @ np.array([item.errors for item in self.utterances])
        words = counts @ np.array([item.words for item in self.utterances])
        rates = errors[words > 0] / words[words > 0]  # an utterance of silence has no words
        low, high = np.quantile(rates, [0.025, 0.975])
        return float(low), float(high)

    def _interval_text(self) -> str:
        if self.interval is None:
            return "too few for an interval"
        return f"95 % interval {self.interval[0]:.3f} to {self.interval[1]:.3f}"

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "word_error_rate": self.rate,
            "word_error_rate_interval": self.interval,
            "words": self.words,
            "substitutions": sum(item.substitutions for item in self.utterances),
            "deletions": sum(item.deletions for item in self.utterances),
            "insertions": sum(item.insertions for item in self.utterances),
        }


def compare_errors(champion: Sequence[WordErrors], challenger: Sequence[WordErrors]) -> Comparison:
    """Compare word accuracies, 1 − word error rate, on the same utterances: a paired bootstrap.

    Args:
        champion, challenger: errors in each utterance, in the same order.

    References:
        M. Bisani and H. Ney, "Bootstrap estimates for confidence intervals in ASR performance
        evaluation", 2004.
    """
    count = len(champion)
    before, after = (sum(item.errors for item in side) for side in (champion, challenger))
    words = np.array([item.words for item in challenger])
    fewer = np.array([c.errors - d.errors for c, d in zip(champion, challenger, strict=True)])
    low = high = np.nan
    if count > 1:
        drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), _RESAMPLES)
        total_words = drawn @ words
        spoken = total_words > 0  # an utterance of silence has no words
        low, high = np.quantile((drawn @ fewer)[spoken] / total_words[spoken], [0.05, 0.95])
    total = max(int(words.sum()), 1)
    return Comparison(
        "word_accuracy",
        count,
        1 - before / total,
        1 - after / total,
        baseline=0.0,  # of an empty text
        low=float(low),
        high=float(high),
        identical=list(champion) == list(challenger),
    )
