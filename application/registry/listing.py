"""The versions of a model as a table."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from application.ports.registry import ModelVersion
from domain.evaluation.measures import format_score

HEADER = ("version", "aliases", "verdict", "quality", "age", "package", "deployed")
_MEASURES = ("accuracy", "r2", "word_accuracy")  # of versions whose run names none


def rows_of(
    versions: Sequence[ModelVersion],
    here: Collection[str],
    deployed: Mapping[str, Sequence[str]],
    now: datetime,
) -> list[tuple[str, ...]]:
    """One row for each version, with the columns of `HEADER`.

    Args:
        here: versions of the packages on this machine.
        deployed: environments in which a Bento is deployed, by its tag.
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
    """Lines of a table whose columns are as wide as their widest cell.

    >>> as_table([("version", "age"), ("12", "3 days")])
    ['version  age', '12       3 days']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(word.ljust(width) for word, width in zip(row, widths)) for row in rows)
    return [line.rstrip() for line in lines]


def quality_of(version: ModelVersion) -> str:
    """The score on the hold-out; empty if not measured."""
    for title in (version.measure or "", *_MEASURES):
        figure = f"holdout_{title.partition('(')[0]}"
        if figure in version.figures:
            return f"{title} {format_score(version.figures[figure])}"
    return ""


def age_of(elapsed: timedelta) -> str:
    """A duration in its largest whole unit.

    >>> age_of(timedelta(hours=50)), age_of(timedelta(seconds=59))
    ('2 days', '59 s')
    """
    seconds = max(int(elapsed.total_seconds()), 0)
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
