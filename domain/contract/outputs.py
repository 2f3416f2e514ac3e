"""The output of a model: what an answer says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Classes:
    """The answer is one of some classes, with a probability for each.

    Attributes:
        names: names of the classes; a class's number is its position.
        name: what the classes are classes of, such as ``species``.
    """

    task: ClassVar[str] = "classification"

    names: tuple[str, ...]
    name: str = "class"


@dataclass(frozen=True, slots=True)
class Quantity:
    """The answer is a number with an interval.

    Attributes:
        name: what is predicted.
        unit: its unit; empty where it has none.
        coverage: share of the true values that the interval is to hold.
    """

    task: ClassVar[str] = "regression"

    name: str
    unit: str = ""
    coverage: float = 0.9


@dataclass(frozen=True, slots=True)
class Transcript:
    """The answer is what was said: text, language, and segments with their times."""

    task: ClassVar[str] = "transcription"

    name: str = "text"


Output = Classes | Quantity | Transcript
