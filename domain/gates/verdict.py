"""The verdict of a gate on a candidate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Verdict:
    """The verdict of one gate.

    Attributes:
        reason: why, with the figures that decided, for people.
        figures: the same figures, for programs.
        skipped: whether the configuration skips the gate, so that it does not refuse.
    """

    gate: str
    accepted: bool
    reason: str
    figures: Mapping[str, float] = field(default_factory=dict)
    skipped: bool = False

    @property
    def word(self) -> str:
        """The verdict as one word."""
        if self.skipped:
            return "skipped"
        return "accepted" if self.accepted else "REFUSED"

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain data; None for a figure that is not finite."""
        figures = {
            name: value if np.isfinite(value) else None for name, value in self.figures.items()
        }
        return {**asdict(self), "figures": figures}
