"""Measuring: interleaved repetitions, medians, and ratios with their spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tqdm import tqdm


@dataclass(frozen=True)
class Measured:
    """Measurements of one contestant, one per round."""

    figures: list[float]

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.figures)

    def times(self, base: Measured) -> Measured:
        """Ratios to the base, by round."""
        return Measured([a / b for a, b in zip(self.figures, base.figures, strict=True)])

    def ratio(self, base: Measured) -> str:
        """Median and interquartile range of the ratios to the base."""
        ratios = self.times(base).figures
        if len(ratios) < 4:
            return f"{statistics.median(ratios):.2f}"
        low, middle, high = statistics.quantiles(ratios, n=4)
        return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def interleave(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Measured]:
    """Run each contestant once per round, so that a busy moment affects all of them.

    Args:
        contestants: functions that run once and return a measurement, by name.
    """
    figures: dict[str, list[float]] = {name: [] for name in contestants}
    for run in contestants.values():
        run()  # the first run fills caches and creates databases
    for _ in tqdm(range(rounds), "rounds", leave=False, disable=None):
        for name, run in contestants.items():
            figures[name].append(run())
    return {name: Measured(values) for name, values in figures.items()}
