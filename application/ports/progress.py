"""Progress of a run."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, str], None]
"""Reports a step: its name and its result."""
