"""Packages whose digest is known from the registry."""

from __future__ import annotations

from pathlib import Path

from infrastructure.packaging.model_package import MANIFEST, ModelPackage
from shared.digests import sha256_of


def open_recorded(folder: Path) -> ModelPackage:
    """Open a package with the digest of its manifest, as if the registry had recorded it."""
    return ModelPackage(folder, recorded=sha256_of(folder / MANIFEST))
