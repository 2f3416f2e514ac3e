"""Names in figures: short, in one line, and drawn letter by letter, whatever is in them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

LONGEST_LABEL = 24


@contextmanager
def literal_text(style: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Have matplotlib take no dollar for mathematics, and say nothing of letters that its font has
    not.

    Args:
        style: further parameters of matplotlib, for as long as the block lasts.
    """
    # pylint: disable-next=import-outside-toplevel  # slow to import, and only figures need it
    from matplotlib import rc_context

    parameters: dict[Any, Any] = {"text.parse_math": False, **(style or {})}
    with rc_context(parameters), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def short_label(name: str, longest: int = LONGEST_LABEL) -> str:
    """A name in one line, without characters that XML cannot hold."""
    plain = "".join(letter if letter.isprintable() else " " for letter in name)
    return plain if len(plain) <= longest else f"{plain[:longest - 1]}…"
