"""Remove packages, Bentos and snapshots that nothing needs, and what killed trainings left behind.

Packages and Bentos that are not in this registry are kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from tqdm import tqdm

from application.ports.snapshots import recorded_snapshots
from application.registry.collection import Stored, superfluous
from infrastructure.cli._registry import open_registry
from infrastructure.deployment.local import deployed_in
from infrastructure.registry.storage import remove, stored_in
from infrastructure.storage.snapshots import open_snapshots
from infrastructure.tracking.mlflow_tracker import MlflowTracker
from shared.console import show_step
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how many versions to keep."""
    parser.add_argument(
        "--keep",
        type=_count,
        default=5,
        help="newest versions of each model to keep (default: %(default)s)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only list what would be removed")


def run(args: argparse.Namespace) -> None:
    """Remove what nothing needs, or only list it."""
    settings = Settings.load()
    registry = open_registry(settings)
    with registry.alone():
        # list before reading the registry: a version registered in between then counts as needed
        stored = list(stored_in(settings.packages_dir, settings.bento_home))
        versions = {name: registry.versions(name) for name in registry.model_names()}
        deployed = [
            (release.bento_tag.partition(":")[0], release.version)
            for _, release, _ in deployed_in(settings.releases_dir, strict=True)
        ]
        unneeded = superfluous(stored, versions, deployed, args.keep, datetime.now(UTC))
        for item in unneeded:
            show_step(item.kind, f"{item.model_name} {item.version}, {_megabytes([item])}")
        snapshots = open_snapshots(settings)
        unneeded_data = _unneeded_snapshots(stored, unneeded)
        for name in sorted(unneeded_data):
            show_step("snapshot", f"{name}, {(snapshots.size(name) or 0) / 1e6:.1f} MB")
        if not args.dry_run:
            for run_id in MlflowTracker(settings.tracking_uri).end_orphaned_runs():
                show_step("run", f"{run_id[:8]}, whose training was killed, is now marked KILLED")
            for item in tqdm(unneeded, "  removed", leave=False, disable=None):
                if item.kind == "package":
                    for version in versions.get(item.model_name, []):
                        if version.package_version == item.version:
                            registry.record_removal(version)
                remove(item)
            for name in unneeded_data:
                snapshots.remove(name)
    done = "would be freed (dry run)" if args.dry_run else "freed"
    show_step("space", f"{_megabytes(unneeded)} {done}; for MLflow's artifacts, see mlflow gc")


def _unneeded_snapshots(stored: Sequence[Stored], unneeded: Sequence[Stored]) -> set[str]:
    """Snapshots that only packages to be removed were trained on."""
    packages = [item for item in stored if item.kind == "package"]
    going = [item for item in packages if item in unneeded]
    staying = [item for item in packages if item not in unneeded]
    return _snapshots_of(going) - _snapshots_of(staying)


def _snapshots_of(packages: Sequence[Stored]) -> set[str]:
    names: set[str] = set()
    for item in packages:
        with suppress(FileNotFoundError):  # removed meanwhile
            provenance = json.loads((item.path / "provenance.json").read_text(encoding="utf-8"))
            names.update(recorded_snapshots(provenance).values())
    return names


def _megabytes(items: Sequence[Stored]) -> str:
    return f"{sum(item.size for item in items) / 1e6:.1f} MB"


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of versions")
    return int(text)
