"""Versions of models: `python -m infrastructure.registry.command --help`."""

# pylint: disable=import-outside-toplevel

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from application.registry.history import parse_time
from application.training.config import registered_name
from domain.errors import MlopsError, RegistryError
from shared.arguments import valid_model_name
from shared.commands import entry_point
from shared.console import show_line, show_step
from shared.settings import Settings

if TYPE_CHECKING:
    from application.ports.ledger import LedgerEntry
    from application.ports.registry import ModelVersion
    from application.registry.collection import Stored
    from infrastructure.packaging.model_package import ModelPackage
    from infrastructure.registry.mlflow_registry import MlflowRegistry


@entry_point(MlopsError)
def main(arguments: list[str] | None = None) -> int:
    """Promote, roll back, list, look back or collect; 0 when that is done."""
    parser = argparse.ArgumentParser(description="Versions of models in the registry.")
    actions = parser.add_subparsers(required=True, metavar="action")

    def add(
        name: str, act: Callable[[argparse.Namespace, Settings], None], told: str
    ) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=told, description=told)
        added.set_defaults(act=act)
        return added

    promote = add("promote", _promote, "Make an accepted version the champion.")
    rollback = add("rollback", _rollback, "Make an earlier champion the champion again.")
    for action, which in ((promote, "the newest accepted one"), (rollback, "the previous one")):
        action.add_argument(
            "--model",
            type=valid_model_name,
            default="iris",
            help="name in domain/models (%(default)s)",
        )
        action.add_argument(
            "--version",
            help=f"number, alias, package version or run of the version (default: {which})",
        )
        action.add_argument(
            "--receipt", type=Path, help="write a receipt to this file, as validation does"
        )
    listing = add("list", _list, "List versions, newest first.")
    look = add("which", _look_back, "Tell what was champion, and what was deployed, at a time.")
    for action in (listing, look):
        action.add_argument(
            "--model", type=valid_model_name, help="name in domain/models (default: every one)"
        )
    look.add_argument(
        "--at",
        type=_time,
        default=datetime.now(UTC),
        help='"2026-11-20 14:00" or ISO 8601, local unless it has a zone (default: now)',
    )
    gc = add(
        "gc",
        _collect,
        "Remove packages and Bentos that nothing needs, and what killed trainings have left. "
        "What this registry does not know stays.",
    )
    gc.add_argument(
        "--keep", type=_count, default=5, help="newest versions to keep of a model (%(default)s)"
    )
    gc.add_argument("--dry-run", action="store_true", help="only list them")
    options = parser.parse_args(arguments)
    settings = Settings()
    os.environ["BENTOML_HOME"] = str(settings.bento_home)
    options.act(options, settings)
    return 0


def _promote(options: argparse.Namespace, settings: Settings) -> None:
    from application.registry.promotion import newest_accepted

    registry, name = _registry(settings), registered_name(options.model)
    if options.version:
        version = registry.find(name, options.version)
    else:
        version = newest_accepted(registry.versions(name), name)
    _move(version, "promote", options, settings)


def _rollback(options: argparse.Namespace, settings: Settings) -> None:
    from application.registry.promotion import version_before

    registry, name = _registry(settings), registered_name(options.model)
    if options.version:
        version = registry.find(name, options.version)
    else:
        version = version_before(registry, name)
    _move(version, "rollback", options, settings)


def _move(
    version: ModelVersion, event: str, options: argparse.Namespace, settings: Settings
) -> None:
    """Make it the champion, and say what that changes."""
    from application.registry.listing import age_of
    from application.registry.promotion import differences, promote
    from infrastructure.compute.receipts import write_receipt
    from infrastructure.packaging.bento_store import add_accepted, service_of
    from infrastructure.registry.ledger import FileLedger

    registry = _registry(settings)

    @cache
    def package() -> ModelPackage:
        return registry.open_package(version)

    def store() -> str:
        return add_accepted(package(), version.model_name)

    promotion = promote(registry, FileLedger(settings.ledger), version, store, event)
    if options.receipt:
        write_receipt(
            options.receipt,
            model_name=version.model_name,
            version=version.package_version,
            registry_version=version.number,
            model_tag=store(),
            service=service_of(package()),
        )
    former, now = promotion.former, datetime.now(UTC)
    told = f"version {version.number}, {version.package_version}"
    if not promotion.moved:
        show_step("unchanged", f"{told}, is the champion of {version.model_name} already")
        return
    show_step(
        "champion",
        f"of {version.model_name} is {told}, {age_of(now - version.created)} old",
    )
    if former:
        show_step(
            "previous",
            f"version {former.number}, {former.package_version}, "
            f"{age_of(now - former.created)} old; make rollback MODEL={options.model} restores it",
        )
        try:
            changes = differences(registry.open_package(former), package())
        except MlopsError as error:
            show_step("changes", f"are not known: {error}")
        else:
            for name, change in changes:
                show_step(name, change)
    show_step("next", f"make bento-build MODEL={options.model} builds it, make deploy rolls it out")


def _list(options: argparse.Namespace, settings: Settings) -> None:
    from application.registry.listing import HEADER, as_table, rows_of
    from infrastructure.deployment.local import deployed_in
    from infrastructure.registry.ledger import FileLedger

    registry = _registry(settings)
    names = [registered_name(options.model)] if options.model else registry.model_names()
    deployed: dict[str, list[str]] = {}
    for environment, release, current in deployed_in(settings.releases_dir):
        if current:
            state = "running" if release.process() else "stopped"
            deployed.setdefault(release.bento_tag, []).append(f"{environment} {state}")
    try:
        entries = FileLedger(settings.ledger).entries()
    except RegistryError as error:
        entries = []
        show_step("WARNING", f"{error}; keep that file, and begin another one by moving it away")
    if not names:
        show_step("registry", "no model is registered yet: make train registers one")
    for name in names:
        versions = registry.versions(name)
        show_step("model", name if versions else f"{name} has no versions")
        if not versions:
            continue
        here = {path.name for path in (settings.packages_dir / name).glob("*/")}
        rows = rows_of(versions, here, deployed, datetime.now(UTC))
        for line in as_table([HEADER, *rows]):
            show_line(line)
        _compare_with_ledger(registry, versions, entries)


def _compare_with_ledger(
    registry: MlflowRegistry, versions: Sequence[ModelVersion], entries: Sequence[LedgerEntry]
) -> None:
    """Say where registry and ledger differ: somebody has changed one of them by other means."""
    from application.registry.history import champion_of

    name = versions[0].model_name
    noted = registry.noted_ledger(name)
    if noted is None:
        return
    first, _, head = noted.rpartition(":")
    if not entries or entries[0].hash != first:
        show_step("ledger", f"the last promotion of {name} was entered into another ledger")
        return
    if head not in {entry.hash for entry in entries}:
        show_step("WARNING", f"the ledger has lost the entry of the last promotion of {name}")
        return
    entered = champion_of(entries, name)
    champion = next((v.package_version for v in versions if "champion" in v.aliases), "none")
    if entered != champion:
        show_step("WARNING", f"champion is {champion}; by the ledger it is {entered}")


def _look_back(options: argparse.Namespace, settings: Settings) -> None:
    from application.registry.history import state_at
    from infrastructure.registry.ledger import FileLedger

    entries = FileLedger(settings.ledger).entries()
    name = registered_name(options.model) if options.model else None
    state = state_at(entries, options.at)
    found = [
        *(("champion", held) for held in state.champions.values()),
        *((environment, held) for environment, held in state.deployed.items()),
    ]
    found = [(place, held) for place, held in found if name in (None, held.model_name)]
    show_step("at", _shown(options.at))
    registry = _registry(settings)
    for each in [name] if name else registry.model_names():
        if versions := registry.versions(each):
            _compare_with_ledger(registry, versions, entries)
    for place, held in found:
        entry = held.since
        show_step(
            place,
            f"{held.model_name} {held.version}, since {_shown(entry.at)} "
            f"({entry.event} by {entry.who})",
        )
    if not found:
        begun = (
            f"the ledger begins at {_shown(entries[0].at)}" if entries else "the ledger is empty"
        )
        show_step("nothing", f"was champion or deployed; {begun}")


def _collect(options: argparse.Namespace, settings: Settings) -> None:
    from tqdm import tqdm

    from application.registry.collection import superfluous
    from infrastructure.deployment.local import deployed_in
    from infrastructure.registry.storage import remove, stored_in
    from infrastructure.tracking.mlflow_tracker import MlflowTracker

    registry = _registry(settings)
    with registry.alone():
        stored = list(stored_in(settings.packages_dir, settings.bento_home))  # before the versions
        versions = {name: registry.versions(name) for name in registry.model_names()}
        deployed = [
            (release.bento_tag.partition(":")[0], release.version)
            for _, release, _ in deployed_in(settings.releases_dir, strict=True)
        ]
        gone = superfluous(stored, versions, deployed, options.keep, datetime.now(UTC))
        for item in gone:
            show_step(item.kind, f"{item.model_name} {item.version}, {_megabytes([item])}")
        if not options.dry_run:
            for run_id in MlflowTracker(settings.tracking_uri).end_lost_runs():
                show_step("run", f"{run_id[:8]} of a killed training ended as KILLED")
            for item in tqdm(gone, "  removed", leave=False, disable=None):
                if item.kind == "package":
                    for version in versions.get(item.model_name, []):
                        if version.package_version == item.version:
                            registry.record_removal(version)
                remove(item)
    done = "would be freed: DRY_RUN" if options.dry_run else "freed"
    show_step("space", f"{_megabytes(gone)} {done}; MLflow's artifacts stay, see mlflow gc")


def _registry(settings: Settings) -> MlflowRegistry:
    from infrastructure.registry.mlflow_registry import MlflowRegistry

    return MlflowRegistry(settings.tracking_uri, settings.packages_dir)


def _megabytes(items: Sequence[Stored]) -> str:
    return f"{sum(item.size for item in items) / 1e6:.1f} MB"


def _shown(at: datetime) -> str:
    return at.astimezone().isoformat(" ", "seconds")


def _time(text: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'{text!r} is no time: write "2026-11-20 14:00", or ISO 8601'
        ) from None


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of versions")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
