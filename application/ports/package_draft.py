"""A model package while it is being written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class PackageDraft(Protocol):
    """A package that is being written; it becomes visible with `seal`."""

    folder: Path
    version: str

    def write_json(self, name: str, data: Mapping[str, Any]) -> None:
        """Write a JSON file into the package."""

    def write_native(self, estimator: Any) -> None:
        """Write the native model."""

    def seal(self) -> Path:
        """Write the manifest, move the package to its final folder, and return that folder."""
