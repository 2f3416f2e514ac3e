"""What stops a benchmark, and what ends one contestant only."""

from __future__ import annotations


class ContestantError(Exception):
    """A contestant cannot be installed, started or believed: it is told with this reason."""


class BenchmarkError(Exception):
    """Nothing can be measured here."""
