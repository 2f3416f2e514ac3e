"""Receipts of finished steps: make's targets, from which the next step starts."""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path
from typing import Any

from domain.errors import BuildError
from shared.files import write_atomically


def read_build(path: Path) -> dict[str, Any]:
    """The contents of a receipt of bento-build, with at least ``version`` and ``bento_tag``.

    Raises:
        BuildError: the file does not exist or is not such a receipt.
    """
    return read_receipt(path, "bento-build", {"version", "bento_tag"})


def read_receipt(path: Path, step: str, names: Set[str]) -> dict[str, Any]:
    """The contents of a receipt.

    Args:
        step: the make target that writes it.
        names: what it must have.

    Raises:
        BuildError: the file does not exist or is not such a receipt.
    """
    try:
        contents: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if names <= contents.keys():
            return contents
    except FileNotFoundError as error:
        raise BuildError(f"{path} does not exist: run make {step}") from error
    except (OSError, ValueError, AttributeError):
        pass
    raise BuildError(f"{path} is not a receipt of {step}: run make {step} again")


def write_receipt(path: Path, **contents: Any) -> None:
    """Write a receipt atomically."""
    write_atomically(path, json.dumps(contents, indent=2) + "\n")
