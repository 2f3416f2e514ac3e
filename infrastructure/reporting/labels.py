"""Names as labels in figures: short, in one line, and drawn literally."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

LONGEST_LABEL = 24


@contextmanager
def literal_text(style: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Keep matplotlib from parsing ``$`` as mathematics and from warning about missing glyphs.

    Args:
        style: further matplotlib parameters for the block.
    """
    # pylint: disable-next=import-outside-toplevel  # slow to import, and only figures need it
    from matplotlib import rc_context

    parameters: dict[Any, Any] = {"text.parse_math": False, **(style or {})}
    with rc_context(parameters), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def short_label(name: str, longest: int = LONGEST_LABEL) -> str:
    """A name in one line, without characters that XML does not allow."""
    label = "".join(letter if letter.isprintable() else " " for letter in name)
    return label if len(label) <= longest else f"{label[:longest - 1]}…"
