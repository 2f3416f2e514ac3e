"""List what the versions of a model were trained on, and what differs between two of them.

Example: make data MODEL=churn OLD=1 NEW=champion
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from application.ports.registry import ModelVersion
from application.ports.snapshots import Snapshots, labelled_path, recorded_snapshots
from application.training.config import registered_name
from domain.data.tables import read_frame, read_table
from domain.errors import DataError, PackageError, RegistryError
from domain.evaluation.table_difference import input_drift, table_differences
from infrastructure.cli._arguments import add_model
from infrastructure.cli._registry import open_registry
from infrastructure.packaging.model_package import ModelPackage
from infrastructure.registry.mlflow_registry import MlflowRegistry
from infrastructure.storage.snapshots import SnapshotStore, open_snapshots
from shared.console import show_line, show_step
from shared.settings import Settings
from shared.wording import local_time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model and the two versions."""
    add_model(parser)
    for option, default in (("--old", "the newest with other data than NEW"), ("--new", "newest")):
        parser.add_argument(
            option, help=f"version, by number, alias, package version or run ID ({default})"
        )


def run(args: argparse.Namespace) -> None:
    """List the versions, then the differences."""
    settings = Settings.load()
    registry, snapshots = open_registry(settings), open_snapshots(settings)
    name = registered_name(args.model)
    versions = registry.versions(name)
    opened = {version.number: _open(registry, version) for version in versions}
    for version in versions:
        _show(version, opened[version.number], snapshots)
    packages = {number: found for number, found in opened.items() if found and _names(found)}
    new = _chosen(args.new, name, registry, list(packages))
    others = [n for n in packages if new and _names(packages[n]) != _names(packages[new])]
    old = _chosen(args.old, name, registry, list(packages) if args.old else others)
    if old is None or new is None:
        show_step("compared", "nothing: there are no two versions with snapshots that differ")
        return
    show_step("compared", f"version {old} with version {new}")
    lines = _differences(packages[old], packages[new], snapshots)
    lines += labelled_rows(packages[old], packages[new], snapshots)
    for line in lines or ["no difference in columns, rows, missing values or drift"]:
        show_line(f"          {line}")


def _open(registry: MlflowRegistry, version: ModelVersion) -> ModelPackage | None:
    """The package of a version; None if it was removed."""
    try:
        return registry.open_package(version)
    except (PackageError, RegistryError):
        return None


def _names(package: ModelPackage) -> dict[str, str]:
    return recorded_snapshots(package.read_json("provenance.json"))


def _show(version: ModelVersion, package: ModelPackage | None, snapshots: SnapshotStore) -> None:
    label = f"version {version.number:>3}  {local_time(version.created)[:16]}"
    if package is None or not _names(package):
        show_step("data", f"{label}  {_why_no_snapshot(package)}")
        return
    for path, snapshot in _names(package).items():
        size = snapshots.size(snapshot)
        held = "the snapshot is missing" if size is None else f"{size / 1e6:.2f} MB"
        source = package.read_json("provenance.json")["config"]["data"].get("source") or {}
        shown = source.get("address", path)
        show_step("data", f"{label}  {snapshot[:12]}  {held:>10}  {shown}")


def _why_no_snapshot(package: ModelPackage | None) -> str:
    if package is None:
        return "the package was removed"
    source = package.read_json("provenance.json").get("data", {}).get("source", "unknown")
    return f"no snapshot: the data is not a file, but comes from {source}"


def _chosen(
    wanted: str | None, name: str, registry: MlflowRegistry, numbers: Sequence[str]
) -> str | None:
    """The number of the version that was asked for, or the first of these.

    Raises:
        RegistryError: there is no such version, or it has no snapshot.
    """
    if not wanted:
        return numbers[0] if numbers else None
    number = registry.find(name, wanted).number
    if number not in numbers:
        raise RegistryError(f"{name} version {number} has no snapshot to compare: choose another")
    return number


def _differences(old: ModelPackage, new: ModelPackage, snapshots: SnapshotStore) -> list[str]:
    """Lines on what differs between the tables of two packages.

    Raises:
        DataError: a snapshot is missing, or a package has not exactly one table.
    """
    before, after = (_table_of(package, snapshots) for package in (old, new))
    lines = table_differences(read_frame(str(before)), read_frame(str(after)))
    try:
        dataset = read_table(str(after), old.spec)
    except DataError as error:
        return [*lines, f"drift: cannot be measured by the older contract: {error}"]
    return [*lines, *input_drift(old.read_json("profile.json"), old.spec, dataset)]


def labelled_rows(old: ModelPackage, new: ModelPackage, snapshots: Snapshots) -> list[str]:
    """A line on how many labelled rows of the log two packages were also trained on.

    It is empty if neither was trained on any.

    Raises:
        DataError: a snapshot is missing.
    """
    before, after = (_labelled_rows_of(package, snapshots) for package in (old, new))
    return [f"labelled rows: {before:,}, now {after:,}"] if before or after else []


def _labelled_rows_of(package: ModelPackage, snapshots: Snapshots) -> int:
    name = _names(package).get(labelled_path(package.read_json("provenance.json")) or "")
    return len(read_frame(str(snapshots.find(name)))) if name else 0


def _table_of(package: ModelPackage, snapshots: SnapshotStore) -> Path:
    kept, labelled = _names(package), labelled_path(package.read_json("provenance.json"))
    names = [name for path, name in kept.items() if path != labelled] or list(kept.values())
    if len(names) != 1:
        raise DataError(
            f"{package.version} was trained on {len(names)} files; only single tables are compared"
        )
    return snapshots.find(names[0])
