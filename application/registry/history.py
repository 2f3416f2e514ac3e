"""Reads from the ledger which version was champion at a given time, and what was deployed where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from application.ports.ledger import LedgerEntry
from application.ports.registry import ModelVersion


@dataclass(frozen=True)
class Tenure:
    """A version in a role, such as champion, and the ledger entry that put it there."""

    model_name: str
    version: str
    since: LedgerEntry


@dataclass
class State:
    """Champions and deployments at a time.

    Attributes:
        champions: by model.
        deployed: by environment.
        canaries: by environment; the entry's details have the share.
    """

    champions: dict[str, Tenure] = field(default_factory=dict)
    deployed: dict[str, Tenure] = field(default_factory=dict)
    canaries: dict[str, Tenure] = field(default_factory=dict)


def parse_time(text: str) -> datetime:
    """Parse a time such as ``2026-11-20 14:00``, or in ISO 8601; local unless it has a time zone.

    Raises:
        ValueError: not a valid time.

    >>> parse_time("2026-11-20 14:00+01:00").isoformat()
    '2026-11-20T13:00:00+00:00'
    """
    at = datetime.fromisoformat(text.strip())
    try:
        return at.astimezone(UTC) if at.tzinfo else at.astimezone()
    except OverflowError as error:
        raise ValueError(f"{text} is out of the range of dates") from error


def champion_of(entries: Iterable[LedgerEntry], model_name: str) -> str | None:
    """Package version of the latest champion in the ledger; None if the ledger has none."""
    tenure = state_at(entries).champions.get(model_name)
    return tenure.version if tenure else None


def environments_of(entries: Iterable[LedgerEntry], model_name: str) -> list[str]:
    """The environments in which a model is deployed, by name."""
    deployed = state_at(entries).deployed
    return sorted(name for name, tenure in deployed.items() if tenure.model_name == model_name)


def effective_time(entry: LedgerEntry) -> datetime:
    """When something happened, which may have been before it was entered."""
    since = entry.details.get("since")
    return datetime.fromisoformat(str(since)) if since else entry.at


def state_at(
    entries: Iterable[LedgerEntry], at: datetime = datetime.max.replace(tzinfo=UTC)
) -> State:
    """Champions and deployments at a time, by default the latest, from the entries of a ledger,
    oldest first."""
    state = State()
    for entry in entries:
        if effective_time(entry) > at:
            continue
        tenure = Tenure(entry.model_name, entry.version, entry)
        environment = entry.details.get("env")
        if entry.event not in ("promote", "rollback", "deploy", "canary", "stop"):
            continue
        if environment is None:
            state.champions[entry.model_name] = tenure
            continue
        name = str(environment)
        state.canaries.pop(name, None)  # another release, or another share
        if entry.event == "stop":
            state.deployed.pop(name, None)
        elif entry.event != "canary":
            state.deployed[name] = tenure
        elif entry.details.get("share"):
            state.canaries[name] = tenure
    return state


@dataclass(frozen=True)
class Disagreement:
    """A disagreement of registry and ledger on the champion of a model.

    Attributes:
        suspicious: whether somebody must have changed one of them by other means; not so if the
            ledger is that of another clone.
    """

    reason: str
    suspicious: bool = True


def ledger_disagreement(
    noted: str | None, versions: Sequence[ModelVersion], entries: Sequence[LedgerEntry]
) -> Disagreement | None:
    """Compare registry and ledger; None if they agree, or nothing was promoted yet.

    Args:
        noted: hashes of the ledger's first and latest entry at the last promotion, separated by a
            colon, as recorded in the registry.
        versions: versions of the model, newest first; at least one.
        entries: entries of the ledger, oldest first.
    """
    if noted is None:
        return None
    name = versions[0].model_name
    first, _, latest = noted.rpartition(":")
    hashes = {known for entry in entries for known in entry.hashes}
    if first not in hashes:
        reason = f"the last promotion of {name} was recorded in another ledger"
        return Disagreement(reason, suspicious=False)
    if latest not in hashes:
        return Disagreement(f"the entry of the last promotion of {name} is missing in the ledger")
    recorded = champion_of(entries, name)
    champion = next((v.package_version for v in versions if "champion" in v.aliases), "none")
    if recorded != champion:
        return Disagreement(
            f"the champion of {name} is {champion} in the registry, but {recorded} in the ledger"
        )
    return None
