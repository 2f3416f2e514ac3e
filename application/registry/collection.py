"""What of the packages and Bentos that lie on this machine nothing needs any more."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from application.ports.registry import ModelVersion

UNJUDGED = timedelta(days=1)  # a version that is younger may be validated now
STALE = timedelta(days=7)  # a draft that was written to since may belong to a live training


@dataclass(frozen=True)
class Stored:
    """Something that takes space.

    Attributes:
        kind: ``package``, ``draft`` (a package whose training broke off), ``model`` or ``bento``
            (both in the Bento store).
        modified: when it was last written to.
        in_training: of a package or draft that its training has not registered yet: whether that
            training is alive. None where it left no sign of that.
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
    """Versions of packages of one model that something needs: an alias, a deployment, being one of
    the newest, or that a promotion may still come: it is newer than the champion, and accepted or
    not judged within a day.

    Args:
        versions: all that the registry knows, newest first.
        deployed: versions of packages that an environment serves, or would go back to.
        keep: how many of the newest.
    """
    champion = next((int(v.number) for v in versions if "champion" in v.aliases), 0)
    needed = {version.package_version for version in versions[:keep]} | set(deployed)
    for version in versions:
        fresh = version.verdict is None and now - version.created < UNJUDGED
        waits = int(version.number) > champion and (version.verdict == "accepted" or fresh)
        if version.aliases or waits:
            needed.add(version.package_version)
    return needed


def superfluous(
    stored: Iterable[Stored],
    versions: Mapping[str, Sequence[ModelVersion]],
    deployed: Collection[tuple[str, str]],
    keep: int,
    now: datetime,
) -> list[Stored]:
    """What nothing needs, of all that is stored.

    What the registry does not know is left alone: in a shared folder it may be another registry's.
    But what a training has left that was killed before it registered it goes at once. A draft
    without a sign of its training goes when its model is known and nothing was written to it for
    seven days.

    Args:
        stored: listed before `versions`, so that these have all that was registered until then.
        versions: of each registered model, newest first.
        deployed: names of models and versions of packages that environments need.
        keep: how many of the newest versions of each model stay.
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
