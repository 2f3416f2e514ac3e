"""Make a version the champion, or an earlier one again, and say what that changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from application.ports.ledger import Ledger
from application.ports.registry import ModelVersion, Promoter, Promotion, VersionReader
from application.registry.history import champion_of
from domain.errors import RegistryError


class ComparedPackage(Protocol):
    """What is read of a package to say what another champion changes."""

    def read_json(self, name: str) -> Any:
        """A JSON file of the package."""


def newest_accepted(versions: Sequence[ModelVersion], model_name: str) -> ModelVersion:
    """The newest of all versions, newest first, that validation has accepted.

    Raises:
        RegistryError: it has accepted none, or none that is newer than the champion.
    """
    for version in versions:
        if version.verdict == "accepted":
            return version
        if "champion" in version.aliases:
            raise RegistryError(
                f"{model_name} has no accepted version that is newer than its champion: name a "
                "VERSION of make registry"
            )
    raise RegistryError(f"{model_name} has no accepted version: make train, then make validate")


def version_before(registry: VersionReader, model_name: str) -> ModelVersion:
    """The champion before this one, to go back to.

    Raises:
        RegistryError: there is none.
    """
    try:
        previous = registry.find(model_name, "previous")
    except RegistryError as error:
        raise RegistryError(
            f"{model_name} has no previous champion to go back to: name a VERSION of make registry"
        ) from error
    if "champion" in previous.aliases:  # a promotion was broken off between its two aliases
        raise RegistryError(
            f"{model_name} version {previous.number} is previous and champion: name the VERSION to "
            "go back to, of make registry"
        )
    return previous


def promote(
    registry: Promoter,
    ledger: Ledger,
    version: ModelVersion,
    store: Callable[[], object],
    event: str = "promote",
) -> Promotion:
    """Put an accepted version into the model store, make it the champion and enter that into the
    ledger; all while no other promotion goes on, so that the ledger has their order.

    The store comes first: a champion that is not in the store could not be built. Where the version
    is the champion already and the ledger does not have that, as after a crash, it is entered now.

    The registry notes the hashes of the ledger's first entry, which tells one ledger from
    another, and of the new one, with a colon between them.

    Args:
        store: puts its package into the model store, where it is not there yet.
        event: ``promote`` or ``rollback``.

    Raises:
        RegistryError: it was not accepted, its package is gone, or the ledger was changed; nothing
            has been moved.
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
                former=previous,
            )
            first, *_ = entries or ledger.entries()
            registry.note_ledger(version.model_name, f"{first.hash}:{entry.hash}")
    return promotion


def differences(before: ComparedPackage, after: ComparedPackage) -> list[tuple[str, str]]:
    """What another champion changes: pairs of what it is about, and the values before and after.

    Figures of the hold-out and keys of the configuration, as ``model.max_depth``, that differ;
    data, commit and contract.
    """
    old, new = (package.read_json("metrics.json") for package in (before, after))
    was, now = (package.read_json("provenance.json") for package in (before, after))
    contracts = [package.read_json("contract.json") for package in (before, after)]
    configs = [dict(_dotted(provenance.get("config", {}))) for provenance in (was, now)]
    return [
        *(("quality", line) for line in _changed(_quality(old), _quality(new))),
        *(("config", line) for line in _changed(*configs)),
        ("data", _told(_fingerprint(was), _fingerprint(now))),
        ("commit", _told(was.get("git_commit"), now.get("git_commit"))),
        ("contract", "the same" if contracts[0] == contracts[1] else "changed"),
    ]


def _quality(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: f"{value:.4g}"
        for name, value in metrics.items()
        if name.startswith("holdout_") and isinstance(value, float)
    }


def _fingerprint(provenance: Mapping[str, Any]) -> Any:
    return provenance.get("data", {}).get("fingerprint")


def _dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    names = sorted(before.keys() | after.keys())
    values = [(name, before.get(name), after.get(name)) for name in names]
    changed = [f"{name} {_told(old, new)}" for name, old, new in values if old != new]
    return changed or ["the same"]


def _told(before: Any, after: Any) -> str:
    if before == after:
        return f"the same, {after}"
    old, new = ("none" if value is None else value for value in (before, after))
    return f"{old} → {new}"
