"""Which version was champion, and what was deployed where, at a time: what the ledger tells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from application.ports.ledger import LedgerEntry
from application.ports.registry import ModelVersion


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


@dataclass(frozen=True)
class Disagreement:
    """How registry and ledger disagree on the champion of a model.

    Attributes:
        suspicious: whether somebody must have changed one of them by other means; another clone's
            ledger is not.
    """

    reason: str
    suspicious: bool = True


def ledger_disagreement(
    noted: str | None, versions: Sequence[ModelVersion], entries: Sequence[LedgerEntry]
) -> Disagreement | None:
    """How registry and ledger disagree on a model; None where they agree, or where nothing was
    promoted yet.

    Args:
        noted: hashes of the ledger's first and latest entry at the last promotion, with a colon
            between them, as the registry noted them.
        versions: of the model, newest first; at least one.
        entries: of the ledger, oldest first.
    """
    if noted is None:
        return None
    name = versions[0].model_name
    first, _, latest = noted.rpartition(":")
    if not entries or entries[0].hash != first:
        reason = f"the last promotion of {name} was recorded in another ledger"
        return Disagreement(reason, suspicious=False)
    if latest not in {entry.hash for entry in entries}:
        return Disagreement(f"the ledger has lost the entry of the last promotion of {name}")
    recorded = champion_of(entries, name)
    champion = next((v.package_version for v in versions if "champion" in v.aliases), "none")
    if recorded != champion:
        return Disagreement(f"champion is {champion}; by the ledger it is {recorded}")
    return None
