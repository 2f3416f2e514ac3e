"""Metric families that several collectors of one process share."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Family = TypeVar("Family", Counter, Gauge, Histogram)

_FAMILIES: WeakKeyDictionary[CollectorRegistry, dict[tuple[Any, ...], Any]] = WeakKeyDictionary()
_LOCK = Lock()


@dataclass(frozen=True)
class Definition:
    """What a metric is.

    Attributes:
        name: as Prometheus shows it, with ``_total`` for a counter.
        kind: counter, gauge or histogram.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    documentation: str


def definitions(registry: CollectorRegistry) -> list[Definition]:
    """The metrics of a registry that `family` has created, by name."""
    with _LOCK:
        found = list(_FAMILIES.get(registry, {}))
    return sorted(
        (
            Definition(name + "_total" * (kind is Counter), kind.__name__.lower(), labels, text)
            for kind, name, text, labels, _ in found
        ),
        key=lambda each: each.name,
    )


def family(
    kind: type[Family],
    name: str,
    documentation: str,
    labels: Sequence[str],
    registry: CollectorRegistry,
    **options: Hashable,
) -> Family:
    """The metric of this definition in a registry, which is created the first time.

    prometheus_client refuses to create it twice.

    Args:
        options: further arguments of the metric, such as `buckets`, a tuple.

    Raises:
        ValueError: the registry has another metric of this name.
    """
    definition = (kind, name, documentation, tuple(labels), tuple(sorted(options.items())))
    with _LOCK:
        families = _FAMILIES.setdefault(registry, {})
        if definition not in families:
            # mypy takes the options for those of each kind
            create: Any = kind
            families[definition] = create(name, documentation, labels, registry=registry, **options)
        found: Family = families[definition]
        return found
