"""What a gate says of a candidate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Verdict:
    """What one gate says.

    Attributes:
        reason: why, with the figures that it judged by, for people.
        figures: those figures, for programs.
        skipped: it refuses nothing, since the configuration says so.
    """

    gate: str
    accepted: bool
    reason: str
    figures: Mapping[str, float] = field(default_factory=dict)
    skipped: bool = False

    @property
    def word(self) -> str:
        """The verdict in a word."""
        if self.skipped:
            return "skipped"
        return "accepted" if self.accepted else "REFUSED"

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain data; None for a figure that is no number."""
        figures = {
            name: value if np.isfinite(value) else None for name, value in self.figures.items()
        }
        return {**asdict(self), "figures": figures}
