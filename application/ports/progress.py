"""Reports of the steps of a run."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, str], None]
"""Told the name of a step that is done and what came of it."""
