"""Finds packages and Bentos on this machine that nothing needs any more."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from application.ports.registry import ModelVersion

UNJUDGED = timedelta(days=1)  # a younger version may be in validation
STALE = timedelta(days=7)  # a draft modified since then may belong to a running training


@dataclass(frozen=True)
class Stored:
    """A stored item that takes space.

    Attributes:
        kind: ``package``, ``draft`` (a package whose training did not finish), ``model`` or
            ``bento`` (both in the Bento store).
        modified: time of the last modification.
        in_training: for a package or draft that is not registered yet, whether its training is
            running; None if unknown.
    """

    kind: str
    model_name: str
    version: str
    path: Path
    size: int
    modified: datetime
    in_training: bool | None = None


def needed_versions(
    versions: Sequence[ModelVersion], deployed: Collection[str], keep: int, now: datetime
) -> set[str]:
    """Package versions of one model that are needed.

    A version is needed if it has an alias, is deployed, is one of the newest, or may still be
    promoted: it is newer than the champion, and accepted or less than a day old and not validated.

    Args:
        versions: all versions in the registry, newest first.
        deployed: package versions that an environment serves, or could roll back to.
        keep: number of newest versions to keep.
    """
    champion = next((int(v.number) for v in versions if "champion" in v.aliases), 0)
    needed = {version.package_version for version in versions[:keep]} | set(deployed)
    for version in versions:
        fresh = version.verdict is None and now - version.created < UNJUDGED
        promotable = int(version.number) > champion and (version.verdict == "accepted" or fresh)
        if version.aliases or promotable:
            needed.add(version.package_version)
    return needed


def superfluous(
    stored: Iterable[Stored],
    versions: Mapping[str, Sequence[ModelVersion]],
    deployed: Collection[tuple[str, str]],
    keep: int,
    now: datetime,
) -> list[Stored]:
    """The stored items that can be removed.

    Items that the registry does not know stay: in a shared folder they may belong to another
    registry. Two exceptions: what a killed training left before it registered can be removed at
    once, and a draft whose training is unknown if its model is registered and it was not modified
    for seven days.

    Args:
        stored: listed before `versions`, so that `versions` has everything registered until then.
        versions: versions of each registered model, newest first.
        deployed: model names and package versions that environments need.
        keep: number of newest versions of each model to keep.
    """
    serving = {name: {v for model, v in deployed if model == name} for name in versions}
    needed = {
        name: needed_versions(known, serving[name], keep, now) for name, known in versions.items()
    }

    def unneeded(item: Stored) -> bool:
        known = {version.package_version for version in versions.get(item.model_name, ())}
        if item.in_training is not None and item.version not in known:
            return not item.in_training
        if item.kind == "draft":
            return bool(known) and now - item.modified >= STALE
        return item.version in known and item.version not in needed[item.model_name]

    return [item for item in stored if unneeded(item)]
