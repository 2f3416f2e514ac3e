"""Receipts of finished steps: make's targets, from which the next step starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shared.files import write_atomically


def write_receipt(path: Path, **contents: Any) -> None:
    """Write a receipt atomically."""
    write_atomically(path, json.dumps(contents, indent=2) + "\n")
