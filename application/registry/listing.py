"""The versions of a model as a table."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from application.ports.registry import ModelVersion

HEADER = ("version", "aliases", "verdict", "quality", "age", "package", "deployed")
_MEASURES = ("accuracy", "r2", "word_accuracy")


def rows_of(
    versions: Sequence[ModelVersion],
    here: Collection[str],
    deployed: Mapping[str, Sequence[str]],
    now: datetime,
) -> list[tuple[str, ...]]:
    """A row of `HEADER`'s columns for each version.

    Args:
        here: versions of the packages that lie on this machine.
        deployed: where a Bento is deployed, by its tag.
    """
    return [
        (
            version.number,
            ", ".join(version.aliases),
            version.verdict or "not judged",
            quality_of(version),
            age_of(now - version.created),
            version.package_version if version.package_version in here else "gone",
            ", ".join(deployed.get(f"{version.model_name}:{version.package_version}", ())),
        )
        for version in versions
    ]


def as_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines whose columns are as wide as their widest word.

    >>> as_table([("version", "age"), ("12", "3 days")])
    ['version  age', '12       3 days']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(word.ljust(width) for word, width in zip(row, widths)) for row in rows)
    return [line.rstrip() for line in lines]


def quality_of(version: ModelVersion) -> str:
    """Its score on the hold-out; nothing where none was measured."""
    for measure in _MEASURES:
        if f"holdout_{measure}" in version.figures:
            return f"{measure} {version.figures[f'holdout_{measure}']:.3f}"
    return ""


def age_of(passed: timedelta) -> str:
    """The largest whole unit of a stretch of time.

    >>> age_of(timedelta(hours=50)), age_of(timedelta(seconds=59))
    ('2 days', '59 s')
    """
    seconds = max(int(passed.total_seconds()), 0)
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
