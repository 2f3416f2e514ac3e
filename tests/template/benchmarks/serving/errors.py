"""Errors that stop the benchmark or exclude one contestant."""

from __future__ import annotations


class ContestantError(Exception):
    """A contestant cannot be installed or started, or gives wrong predictions."""


class BenchmarkError(Exception):
    """Nothing can be measured here."""
