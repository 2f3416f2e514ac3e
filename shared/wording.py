"""Words and times of messages."""

from __future__ import annotations

from datetime import datetime


def inflected(count: float, singular: str, plural: str) -> str:
    """The form of a word for this count.

    >>> [f"{n} of 2 predictions {inflected(n, 'is', 'are')} invalid" for n in (1, 2)]
    ['1 of 2 predictions is invalid', '2 of 2 predictions are invalid']
    """
    return singular if count == 1 else plural


def local_time(at: datetime) -> str:
    """A time in the local time zone, to the second."""
    return at.astimezone().isoformat(" ", "seconds")
