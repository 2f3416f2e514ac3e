"""Promotes a version to champion, or rolls back to an earlier one, and lists what changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from application.ports.ledger import Ledger
from application.ports.registry import ModelVersion, Promoter, Promotion, VersionReader
from application.registry.history import champion_of
from domain.errors import RegistryError

_OTHER_ROWS = (
    "not comparable: the two were measured on different hold-out rows; the gate "
    "not_worse_than_champion compares a candidate with the champion on the same rows"
)


class ComparedPackage(Protocol):
    """A package as `differences` reads it."""

    def read_json(self, name: str) -> Any:
        """A JSON file of the package."""


def newest_accepted(versions: Sequence[ModelVersion], model_name: str) -> ModelVersion:
    """The newest accepted version.

    Args:
        versions: all versions of the model, newest first.

    Raises:
        RegistryError: no version is accepted, or none newer than the champion.
    """
    for version in versions:
        if version.verdict == "accepted":
            return version
        if "champion" in version.aliases:
            raise RegistryError(
                f"{model_name} has no accepted version newer than its champion: choose a VERSION "
                "that make registry lists"
            )
    raise RegistryError(f"{model_name} has no accepted version: run make train, then make validate")


def previous_champion(registry: VersionReader, model_name: str) -> ModelVersion:
    """The previous champion, for a rollback.

    Raises:
        RegistryError: there is no previous champion.
    """
    try:
        previous = registry.find(model_name, "previous")
    except RegistryError as error:
        raise RegistryError(
            f"{model_name} has no previous champion to roll back to: choose a VERSION that "
            "make registry lists"
        ) from error
    if "champion" in previous.aliases:  # a promotion was interrupted between its two aliases
        raise RegistryError(
            f"{model_name} version {previous.number} is both previous and champion: choose a "
            "VERSION to roll back to; make registry lists them"
        )
    return previous


def promote(
    registry: Promoter,
    ledger: Ledger,
    version: ModelVersion,
    store: Callable[[], object],
    event: str = "promote",
) -> Promotion:
    """Put an accepted version into the model store, make it the champion and record that in the
    ledger. A lock keeps other promotions out, so that the ledger has them in order.

    The store comes first, since a champion that is not in the store could not be built. If the
    version is the champion already but the ledger lacks the entry, as after a crash, the entry is
    added now.

    The registry records the hashes of the ledger's first entry, which identifies the ledger, and of
    the new entry, separated by a colon.

    Args:
        store: puts the package into the model store, unless it is there already.
        event: ``promote`` or ``rollback``.

    Raises:
        RegistryError: the version was not accepted, its package is gone, or the ledger was changed.
            The champion stays the same.
    """
    version.check_accepted()
    with registry.alone():
        entries = ledger.entries()
        store()
        promotion = registry.promote(version.model_name, version.package_version)
        previous = champion_of(entries, version.model_name)
        if promotion.moved:
            previous = promotion.previous.package_version if promotion.previous else None
        if previous != version.package_version:
            entry = ledger.append(
                event,
                version.model_name,
                version.package_version,
                number=version.number,
                previous=previous,
            )
            first, *_ = entries or ledger.entries()
            registry.note_ledger(version.model_name, f"{first.hash}:{entry.hash}")
    return promotion


def differences(before: ComparedPackage, after: ComparedPackage) -> list[tuple[str, str]]:
    """What changes with a new champion: pairs of a topic and the values before and after.

    The topics are changed metrics of the hold-out if it has the same rows, changed keys of the
    configuration such as ``model.max_depth``, data, commit and contract.
    """
    metrics = [_holdout_metrics(package.read_json("metrics.json")) for package in (before, after)]
    old, new = (package.read_json("provenance.json") for package in (before, after))
    contracts = [package.read_json("contract.json") for package in (before, after)]
    configs = [dict(_dotted(provenance.get("config", {}))) for provenance in (old, new)]
    quality = [_OTHER_ROWS]
    if _holdout(before, old) == _holdout(after, new):
        quality = _changes(*metrics)
    return [
        *(("quality", line) for line in quality),
        *(("config", line) for line in _changes(*configs)),
        ("data", _change(_fingerprint(old), _fingerprint(new))),
        ("commit", _change(old.get("git_commit"), new.get("git_commit"))),
        ("contract", "the same" if contracts[0] == contracts[1] else "changed"),
    ]


def _holdout_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: f"{value:.4g}"
        for name, value in metrics.items()
        if name.startswith("holdout_") and isinstance(value, float)
    }


def _holdout(package: ComparedPackage, provenance: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Identifies the rows of the hold-out with their labels; without rows for speech."""
    try:
        rows = package.read_json("holdout.json")["holdout"]
    except FileNotFoundError:
        rows = []
    return _fingerprint(provenance), sorted(rows)


def _fingerprint(provenance: Mapping[str, Any]) -> Any:
    return provenance.get("data", {}).get("fingerprint")


def _dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    names = sorted(before.keys() | after.keys())
    values = [(name, before.get(name), after.get(name)) for name in names]
    changes = [f"{name} {_change(old, new)}" for name, old, new in values if old != new]
    return changes or ["the same"]


def _change(before: Any, after: Any) -> str:
    if before == after:
        return f"the same, {after}"
    old, new = ("none" if value is None else value for value in (before, after))
    return f"{old} → {new}"
