"""Measuring: interleaved repetitions, medians, and ratios with their spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tqdm import tqdm


@dataclass(frozen=True)
class Measured:
    """Figures of one contestant: one for each round."""

    figures: list[float]

    @property
    def median(self) -> float:
        """The middle figure."""
        return statistics.median(self.figures)

    def times(self, base: Measured) -> Measured:
        """How many times the base, round by round."""
        return Measured([a / b for a, b in zip(self.figures, base.figures, strict=True)])

    def ratio(self, base: Measured) -> str:
        """How many times the base: the middle of the rounds' ratios, with the range of its
        middle half."""
        ratios = self.times(base).figures
        if len(ratios) < 4:
            return f"{statistics.median(ratios):.2f}"
        low, middle, high = statistics.quantiles(ratios, n=4)
        return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def interleave(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Measured]:
    """Let each contestant run once in every round, so that a busy moment hits all of them.

    Args:
        contestants: by name, what runs once and says its figure.
    """
    figures: dict[str, list[float]] = {name: [] for name in contestants}
    for run in contestants.values():
        run()  # the first time is another: files are cached, databases made
    for _ in tqdm(range(rounds), "rounds", leave=False, disable=None):
        for name, run in contestants.items():
            figures[name].append(run())
    return {name: Measured(values) for name, values in figures.items()}
