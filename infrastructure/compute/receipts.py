"""Receipts of finished steps: make's targets, from which the next step starts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_receipt(path: Path, **contents: Any) -> None:
    """Write a receipt at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")
    os.replace(draft, path)
