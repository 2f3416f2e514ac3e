"""How many words of a transcript are wrong; numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from domain.evaluation.comparison import Comparison

_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class WordErrors:
    """What it takes to turn the words that were recognised into those that were said.

    Attributes:
        words: how many were said.
        substitutions: words that were taken for others.
        deletions: words that were missed.
        insertions: words that nobody said.
    """

    words: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        """All three together."""
        return self.substitutions + self.deletions + self.insertions


@dataclass(frozen=True)
class WordErrorReport:
    """Word errors of several utterances, each of which counts with its length.

    >>> report = WordErrorReport((WordErrors(8, 1, 0, 0), WordErrors(2, 0, 0, 1)))
    >>> report.rate
    0.2
    """

    measure: ClassVar[str] = "word_accuracy"

    utterances: Sequence[WordErrors]

    def __str__(self) -> str:
        return (
            f"word error rate {self.rate:.3f} ({self.errors} errors in {self.words} words of "
            f"{len(self.utterances)} utterances, {self._told_interval()})"
        )

    @property
    def words(self) -> int:
        """How many words were said."""
        return sum(item.words for item in self.utterances)

    @property
    def errors(self) -> int:
        """How many errors were made."""
        return sum(item.errors for item in self.utterances)

    @property
    def rate(self) -> float:
        """Errors ÷ words said; above 1 where more was invented than said."""
        return self.errors / self.words

    @property
    def score(self) -> float:
        """Word accuracy, 1 − rate, where more is better."""
        return 1 - self.rate

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % bootstrap interval of the rate over utterances; None where there is only one.

        Words of an utterance are wrong together, so utterances are drawn, not words.

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

    def _told_interval(self) -> str:
        if self.interval is None:
            return "no interval from one"
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
    """Word error rates in the same utterances, with a paired bootstrap of their difference.

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
        said = drawn @ words
        low, high = np.quantile((drawn @ fewer)[said > 0] / said[said > 0], [0.05, 0.95])
    total = max(int(words.sum()), 1)
    return Comparison(
        count,
        before / total,
        after / total,
        float(low),
        float(high),
        won=None,
        lost=None,
        p=None,
        identical=list(champion) == list(challenger),
    )
