"""The output of a model: what it predicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Classes:
    """One of several classes, with a probability for each.

    Attributes:
        names: of the classes; the number of a class is its position.
        name: of the variable that is predicted, such as ``species``.
    """

    task: ClassVar[str] = "classification"

    names: tuple[str, ...]
    name: str = "class"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with a prediction interval.

    Attributes:
        name: of the variable that is predicted.
        unit: its unit; empty if there is none.
        coverage: share of the true values that the interval should contain.
    """

    task: ClassVar[str] = "regression"

    name: str
    unit: str = ""
    coverage: float = 0.9


@dataclass(frozen=True, slots=True)
class Transcript:
    """A transcription: text, language, and segments with their times."""

    task: ClassVar[str] = "transcription"

    name: str = "text"


Output = Classes | Quantity | Transcript
