"""The MLflow model registry, which records versions and aliases."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from application.ports.registry import ModelVersion, Promotion
from domain.errors import RegistryError, TrackingError
from infrastructure.packaging.model_package import ModelPackage
from infrastructure.tracking.database import database_file
from infrastructure.tracking.mlflow_tracker import all_pages, open_client
from shared.console import show_step
from shared.files import drafts_folder, locked, publish_folder

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

CHAMPION, CANDIDATE, PREVIOUS = "champion", "candidate", "previous"
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # model is missing, alias is
LOCK_SECONDS = 300.0  # a promotion takes a second; `make gc` may remove large files
_MOST_LISTED = 10  # versions in a message
_PACKAGE, _REMOVED, _HEAD = "package_version", "package_removed", "ledger_head"


@dataclass(frozen=True)
class MlflowRegistry:
    """Versions and aliases of registered models.

    Attributes:
        uri: tracking and registry URI.
        packages_dir: folder of the packages on this machine.
    """

    uri: str
    packages_dir: Path

    def open_package(self, version: ModelVersion) -> ModelPackage:
        """The package of a version, checked against the digest on record.

        Raises:
            PackageError: a file or the manifest differs.
            RegistryError: the package is missing.
        """
        return ModelPackage(self.folder_of(version), recorded=version.package_digest)

    def package_of(self, model_name: str, alias: str) -> Path:
        """Folder of the package that an alias points to.

        Raises:
            RegistryError: there is no such model or alias.
        """
        try:
            found = open_client(self.uri).get_model_version_by_alias(model_name, alias)
        except TrackingError as error:
            if error.code not in _MISSING:
                raise
            raise RegistryError(f"{model_name} has no {alias} in the registry") from error
        folder = self.packages_dir / model_name / found.tags[_PACKAGE]
        if not folder.is_dir():
            self._fetch(_to_version(found, {}), folder)
        return folder

    def folder_of(self, version: ModelVersion) -> Path:
        """Folder of the package of a version; from another machine, it is fetched.

        Raises:
            PackageError: what was fetched differs from the digest on record.
            RegistryError: the folder is missing.
        """
        folder = self.packages_dir / version.model_name / version.package_version
        if not folder.is_dir():
            self._fetch(version, folder)
        if not folder.is_dir():
            raise RegistryError(
                f"the package of {version.model_name} version {version.number} is missing: "
                f"{folder} does not exist; train again"
            )
        return folder

    def _fetch(self, version: ModelVersion, folder: Path) -> None:
        """Download a package that was trained on another machine from the tracking server."""
        if database_file(self.uri):  # this machine's own
            return
        with drafts_folder(self.packages_dir.with_name(f".{self.packages_dir.name}.fetched")) as to:
            with suppress(TrackingError):  # without its artifacts, the package is missing
                open_client(self.uri).download_artifacts(version.run_id, "package", str(to))
            if (to / "package").is_dir():
                ModelPackage(to / "package", recorded=version.package_digest)
                publish_folder(to / "package", folder)
                show_step("fetched", f"{version.model_name}/{version.package_version}")

    def model_names(self) -> list[str]:
        """Every registered model, sorted."""
        return sorted(
            model.name for model in all_pages(open_client(self.uri).search_registered_models)
        )

    def find(self, model_name: str, which: str) -> ModelVersion:
        """A version by its number, an alias, its package version or its run ID.

        Raises:
            RegistryError: there is no such version; the message lists the numbers that exist.
        """
        client = open_client(self.uri)
        versions = _registered(client, model_name)
        for version in versions:
            if which in (version.number, version.package_version, version.run_id, *version.aliases):
                return _with_metrics(client, version)
        numbers = [version.number for version in versions]
        more = " …" if len(numbers) > _MOST_LISTED else ""
        listed = f"{', '.join(numbers[:_MOST_LISTED])}{more}"
        raise RegistryError(
            f"{model_name} has no {which} in the registry; its versions: {listed or 'none'}"
        )

    def versions(self, model_name: str) -> list[ModelVersion]:
        """All versions, newest first; empty for a model that was never registered.

        Versions that were registered by other tools have no package, and are left out.
        """
        client = open_client(self.uri)
        return [_with_metrics(client, version) for version in _registered(client, model_name)]

    def record_verdict(self, version: ModelVersion, verdict: str, folder: Path) -> None:
        """Record the outcome of a validation in the registry.

        The verdict becomes a tag, and the files of the folder become the artifacts ``validation``
        of the run. The tag is set last, so that a version with a verdict has its artifacts.

        Args:
            verdict: ``accepted`` or ``refused``.
        """
        client = open_client(self.uri)
        client.log_artifacts(version.run_id, str(folder), "validation")
        _tag(client, version, "verdict_at", _now())
        _tag(client, version, "verdict", verdict)

    def promote(self, model_name: str, package_version: str) -> Promotion:
        """Point ``champion`` to the version of this package, and ``previous`` to the last champion.

        MLflow moves one alias at a time. ``previous`` moves first: if this is interrupted, there is
        one champion, and it also is ``previous``. Promotions on one machine wait for each other.
        Promotions on several machines with one tracking server do not: each alias still points to
        one version, but ``previous`` may name the champion before the last.

        Raises:
            RegistryError: no version has this package, it was not accepted, or its package is
                missing; no alias was moved.
        """
        with self.alone():
            client = open_client(self.uri)
            versions = _registered(client, model_name)
            version = next((v for v in versions if v.package_version == package_version), None)
            previous = next((v for v in versions if CHAMPION in v.aliases), None)
            if version is None:
                raise RegistryError(f"{model_name} has no version of the package {package_version}")
            previous = _with_metrics(client, previous) if previous else None
            if previous and version.number == previous.number:
                return Promotion(previous, previous)
            version.check_accepted()
            self.folder_of(version)
            if previous:
                client.set_registered_model_alias(model_name, PREVIOUS, previous.number)
            client.set_registered_model_alias(model_name, CHAMPION, version.number)
            return Promotion(self.find(model_name, version.number), previous)

    def alone(self) -> AbstractContextManager[object]:
        """The lock of this machine, to hold while aliases move or packages are removed.

        Raises:
            TimeoutError: another process held it for too long.
        """
        lock = self.packages_dir.with_name(f".{self.packages_dir.name}.lock")
        return locked(lock, LOCK_SECONDS)

    def note_ledger(self, model_name: str, head: str) -> None:
        """Record the hashes that identify the ledger and its latest entry as a tag of the model."""
        open_client(self.uri).set_registered_model_tag(model_name, _HEAD, head)

    def noted_ledger(self, model_name: str) -> str | None:
        """The hashes that `note_ledger` recorded last; None if there are none."""
        tags: dict[str, str] = open_client(self.uri).get_registered_model(model_name).tags
        return tags.get(_HEAD)

    def record_removal(self, version: ModelVersion) -> None:
        """Record when the package of a version was removed; the version itself stays."""
        _tag(open_client(self.uri), version, _REMOVED, _now())


def _aliases(client: MlflowClient, model_name: str) -> dict[str, str]:
    """Number of the version that each alias points to."""
    try:
        aliases = client.get_registered_model(model_name).aliases
    except TrackingError as error:
        if error.code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}
    return {alias: str(number) for alias, number in aliases.items()}


def _registered(client: MlflowClient, model_name: str) -> list[ModelVersion]:
    """All versions that have a package, newest first, without their metrics."""
    aliases = _aliases(client, model_name)
    found = all_pages(client.search_model_versions, filter_string=f"name = '{model_name}'")
    found.sort(key=lambda item: int(item.version), reverse=True)
    return [_to_version(item, aliases) for item in found if _PACKAGE in item.tags]


def _to_version(item: Any, aliases: dict[str, str]) -> ModelVersion:
    number = str(item.version)
    return ModelVersion(
        item.name,
        number,
        item.tags[_PACKAGE],
        item.run_id,
        datetime.fromtimestamp(item.creation_timestamp / 1000, UTC),
        tuple(sorted(alias for alias, to in aliases.items() if to == number)),
        item.tags.get("package_digest"),
        item.tags.get("verdict"),
    )


def _with_metrics(client: MlflowClient, version: ModelVersion) -> ModelVersion:
    """The version with the hold-out metrics of its run, which takes one more request to MLflow.

    If `mlflow gc` has removed the run, the version has no metrics.
    """
    try:
        run = client.get_run(version.run_id).data
    except TrackingError as error:
        if error.code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return version
    figures = {name: value for name, value in run.metrics.items() if name.startswith("holdout_")}
    return replace(version, figures=figures, measure=run.tags.get("measure"))


def _tag(client: MlflowClient, version: ModelVersion, name: str, value: str) -> None:
    client.set_model_version_tag(version.model_name, version.number, name, value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
