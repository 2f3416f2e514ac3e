"""The output of a model: what it predicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from domain.contract.encoding import parse_formatted, parse_number, parse_word


@dataclass(frozen=True, slots=True)
class Classes:
    """One of several classes, with a probability for each.

    Attributes:
        names: of the classes; the number of a class is its position.
        name: of the variable that is predicted, such as ``species``.
        positive: of two classes, the one to find, such as ``malignant``; empty for the second.
        threshold: of two classes, the probability from which `positive` is predicted, between 0 and
            1; None to predict the most probable class.
    """

    task: ClassVar[str] = "classification"

    names: tuple[str, ...]
    name: str = "class"
    positive: str = ""
    threshold: float | None = None

    @property
    def positive_code(self) -> int:
        """Number of the positive class, of two classes."""
        return self.names.index(self.positive) if self.positive else 1

    def parse(self, field: str) -> str | None:
        """The class in a field of a CSV file; None if it is missing."""
        return parse_word(field, self.names)

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """The number of the predicted class of each row, shape (n_rows,).

        Without a threshold, the first of equally probable classes. A threshold is compared in
        float32, as probabilities are served, so that native and served models decide alike.

        Args:
            probabilities: shape (n_rows, n_classes).
        """
        if self.threshold is None:
            return probabilities.argmax(axis=1)
        code = self.positive_code
        is_positive = probabilities[:, code].astype(np.float32, copy=False) >= self.threshold
        return (is_positive if code else ~is_positive).astype(np.intp)

    @property
    def description(self) -> str:
        """Name, classes and threshold, for people."""
        text = f"{self.name}, one of {', '.join(self.names)}"
        if self.threshold is None:
            return text
        positive = self.names[self.positive_code]
        return f"{text}: {positive} where its probability is at least {self.threshold:g}"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with a prediction interval.

    Attributes:
        name: of the variable that is predicted.
        unit: its unit; empty if there is none.
        coverage: share of the true values that the interval should contain.
        decimal: decimal mark of text in files that is read as a number, as of a `Number`.
    """

    task: ClassVar[str] = "regression"

    name: str
    unit: str = ""
    coverage: float = 0.9
    decimal: Literal["", ".", ","] = ""

    def parse(self, field: str) -> float | str | None:
        """The value in a field of a CSV file; None if it is missing, the text if not a number."""
        return parse_formatted(field, self.decimal) if self.decimal else parse_number(field)


@dataclass(frozen=True, slots=True)
class Transcript:
    """A transcription: text, language, and segments with their times."""

    task: ClassVar[str] = "transcription"

    name: str = "text"


Output = Classes | Quantity | Transcript
