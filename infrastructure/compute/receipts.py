"""Receipts of finished steps: make's targets, from which the next step starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from domain.errors import BuildError
from shared.files import write_atomically


def read_build(path: Path) -> dict[str, Any]:
    """The contents of a receipt of bento-build, with at least ``version`` and ``bento_tag``.

    Raises:
        BuildError: the file does not exist or is not such a receipt.
    """
    try:
        built: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if {"version", "bento_tag"} <= built.keys():
            return built
    except FileNotFoundError as error:
        raise BuildError(f"{path} does not exist: run make bento-build") from error
    except (OSError, ValueError, AttributeError):
        pass
    raise BuildError(f"{path} is not a receipt of bento-build: run make bento-build again")


def write_receipt(path: Path, **contents: Any) -> None:
    """Write a receipt atomically."""
    write_atomically(path, json.dumps(contents, indent=2) + "\n")
