"""Which version was champion, and what was deployed where, at a time: what the ledger tells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from application.ports.ledger import LedgerEntry


@dataclass(frozen=True)
class Tenure:
    """Something that held at a time, and the entry since which it did."""

    model_name: str
    version: str
    since: LedgerEntry


@dataclass
class State:
    """What held at a time.

    Attributes:
        champions: by model.
        deployed: by environment.
    """

    champions: dict[str, Tenure] = field(default_factory=dict)
    deployed: dict[str, Tenure] = field(default_factory=dict)


def parse_time(text: str) -> datetime:
    """A time as people write it, ``2026-11-20 14:00``, or ISO 8601; local unless it has a zone.

    Raises:
        ValueError: it is no time.

    >>> parse_time("2026-11-20 14:00+01:00").isoformat()
    '2026-11-20T13:00:00+00:00'
    """
    at = datetime.fromisoformat(text.strip())
    try:
        return at.astimezone(UTC) if at.tzinfo else at.astimezone()
    except OverflowError as error:
        raise ValueError(f"{text} is before or after all times") from error


def champion_of(entries: Iterable[LedgerEntry], model_name: str) -> str | None:
    """Version of the package that was made the champion last; None where no entry tells."""
    end = datetime.max.replace(tzinfo=UTC)
    held = state_at(entries, end).champions.get(model_name)
    return held.version if held else None


def state_at(entries: Iterable[LedgerEntry], at: datetime) -> State:
    """What held at a time, by entries of a ledger, oldest first."""
    state = State()
    for entry in entries:
        if entry.at > at:
            break
        tenure = Tenure(entry.model_name, entry.version, entry)
        environment = entry.details.get("env")
        if entry.event == "stop":
            state.deployed.pop(str(environment), None)
        elif entry.event in ("promote", "rollback", "deploy"):
            if environment is None:
                state.champions[entry.model_name] = tenure
            else:
                state.deployed[str(environment)] = tenure
    return state
