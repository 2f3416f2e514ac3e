"""Remove packages and Bentos that nothing needs, and what killed trainings have left.

What this registry does not know stays.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime

from tqdm import tqdm

from application.registry.collection import Stored, superfluous
from infrastructure.cli._registry import open_registry
from infrastructure.deployment.local import deployed_in
from infrastructure.registry.storage import remove, stored_in
from infrastructure.tracking.mlflow_tracker import MlflowTracker
from shared.console import show_step
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how much stays."""
    parser.add_argument(
        "--keep",
        type=_count,
        default=5,
        help="newest versions of each model to keep (default: %(default)s)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only list what would be removed")


def run(args: argparse.Namespace) -> None:
    """Remove, or list."""
    settings = Settings.load()
    registry = open_registry(settings)
    with registry.alone():
        stored = list(stored_in(settings.packages_dir, settings.bento_home))  # before the versions
        versions = {name: registry.versions(name) for name in registry.model_names()}
        deployed = [
            (release.bento_tag.partition(":")[0], release.version)
            for _, release, _ in deployed_in(settings.releases_dir, strict=True)
        ]
        gone = superfluous(stored, versions, deployed, args.keep, datetime.now(UTC))
        for item in gone:
            show_step(item.kind, f"{item.model_name} {item.version}, {_megabytes([item])}")
        if not args.dry_run:
            for run_id in MlflowTracker(settings.tracking_uri).end_orphaned_runs():
                show_step("run", f"{run_id[:8]} of a killed training ended as KILLED")
            for item in tqdm(gone, "  removed", leave=False, disable=None):
                if item.kind == "package":
                    for version in versions.get(item.model_name, []):
                        if version.package_version == item.version:
                            registry.record_removal(version)
                remove(item)
    done = "would be freed: DRY_RUN" if args.dry_run else "freed"
    show_step("space", f"{_megabytes(gone)} {done}; MLflow's artifacts stay, see mlflow gc")


def _megabytes(items: Sequence[Stored]) -> str:
    return f"{sum(item.size for item in items) / 1e6:.1f} MB"


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of versions")
    return int(text)
