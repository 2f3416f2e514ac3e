"""The MLflow registry as the record of versions and aliases."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from application.ports.registry import ModelVersion, Promotion
from domain.errors import RegistryError, TrackingError
from infrastructure.packaging.model_package import ModelPackage
from infrastructure.tracking.mlflow_tracker import all_pages, open_client
from shared.files import locked

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

CHAMPION, CANDIDATE, PREVIOUS = "champion", "candidate", "previous"
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # a model, an alias of it
LOCK_SECONDS = 300.0  # a promotion takes a second, a collection as long as its files are large
_NAMED = 10  # versions in a message, the newest
_PACKAGE, _REMOVED, _HEAD = "package_version", "package_removed", "ledger_head"


@dataclass(frozen=True)
class MlflowRegistry:
    """Versions and aliases of registered models.

    Attributes:
        uri: tracking and registry URI.
        packages_dir: where packages lie on this machine.
    """

    uri: str
    packages_dir: Path

    def open_package(self, version: ModelVersion) -> ModelPackage:
        """The package of a version, compared with the digest that is on record.

        Raises:
            PackageError: a file, or the manifest, differs.
            RegistryError: it is gone.
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
        return self.packages_dir / model_name / found.tags[_PACKAGE]

    def folder_of(self, version: ModelVersion) -> Path:
        """Folder of the package of a version.

        Raises:
            RegistryError: it is gone.
        """
        folder = self.packages_dir / version.model_name / version.package_version
        if not folder.is_dir():
            raise RegistryError(
                f"the package of {version.model_name} version {version.number} is gone: "
                f"{folder} is not there; train again"
            )
        return folder

    def model_names(self) -> list[str]:
        """Every registered model, sorted."""
        return sorted(
            model.name for model in all_pages(open_client(self.uri).search_registered_models)
        )

    def find(self, model_name: str, which: str) -> ModelVersion:
        """A version by its number, an alias, its package's version or its run.

        Raises:
            RegistryError: there is none; the message has the numbers of those there are.
        """
        client = open_client(self.uri)
        versions = _registered(client, model_name)
        for version in versions:
            if which in (version.number, version.package_version, version.run_id, *version.aliases):
                return _measured(client, version)
        numbers = [version.number for version in versions]
        known = f"{', '.join(numbers[:_NAMED])}{' …' if len(numbers) > _NAMED else ''}"
        raise RegistryError(
            f"{model_name} has no {which} in the registry; its versions: {known or 'none'}"
        )

    def versions(self, model_name: str) -> list[ModelVersion]:
        """All versions, newest first; none of a model that was never registered.

        Versions that were registered by something else have no package, and are left out.
        """
        client = open_client(self.uri)
        return [_measured(client, version) for version in _registered(client, model_name)]

    def record_verdict(self, version: ModelVersion, verdict: str, folder: Path) -> None:
        """Keep what validation said, ``accepted`` or ``refused``: as a tag, and the files of a
        folder as artifacts ``validation`` of the run. The tag comes last: it says that they are
        there."""
        client = open_client(self.uri)
        client.log_artifacts(version.run_id, str(folder), "validation")
        _tag(client, version, "verdict_at", _now())
        _tag(client, version, "verdict", verdict)

    def promote(self, model_name: str, package_version: str) -> Promotion:
        """Point ``champion`` to the version made from this package, ``previous`` to the former one.

        MLflow moves one alias at a time. ``previous`` moves first: whenever this is broken off,
        there is one champion, and the former one has an alias. On one machine promotions wait for
        each other. On several machines with one tracking server they do not: each alias still
        points to one version, but ``previous`` may name the champion before the last.

        Raises:
            RegistryError: no version was made from this package, it was not accepted, or its
                package is gone; nothing has been moved.
        """
        with self.alone():
            client = open_client(self.uri)
            versions = _registered(client, model_name)
            version = next((v for v in versions if v.package_version == package_version), None)
            previous = next((v for v in versions if CHAMPION in v.aliases), None)
            if version is None:
                raise RegistryError(
                    f"{model_name} has no version made from package {package_version}"
                )
            previous = _measured(client, previous) if previous else None
            if previous and version.number == previous.number:
                return Promotion(previous, previous)
            version.check_accepted()
            self.folder_of(version)
            if previous:
                client.set_registered_model_alias(model_name, PREVIOUS, previous.number)
            client.set_registered_model_alias(model_name, CHAMPION, version.number)
            return Promotion(self.find(model_name, version.number), previous)

    def alone(self) -> AbstractContextManager[object]:
        """Held while aliases move or packages are removed: by one process on this machine.

        Raises:
            TimeoutError: another process held it for too long.
        """
        lock = self.packages_dir.with_name(f".{self.packages_dir.name}.lock")
        return locked(lock, LOCK_SECONDS)

    def note_ledger(self, model_name: str, head: str) -> None:
        """Keep what tells the ledger and its latest entry as a tag of the model."""
        open_client(self.uri).set_registered_model_tag(model_name, _HEAD, head)

    def noted_ledger(self, model_name: str) -> str | None:
        """What was last noted of the ledger."""
        tags: dict[str, str] = open_client(self.uri).get_registered_model(model_name).tags
        return tags.get(_HEAD)

    def record_removal(self, version: ModelVersion) -> None:
        """Keep that the package of a version was removed, and when; the record of it stays."""
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
    """All versions that have a package, newest first, without their figures."""
    aliases = _aliases(client, model_name)
    found = all_pages(client.search_model_versions, filter_string=f"name = '{model_name}'")
    found.sort(key=lambda item: int(item.version), reverse=True)
    return [_read(item, aliases) for item in found if _PACKAGE in item.tags]


def _read(found: Any, aliases: dict[str, str]) -> ModelVersion:
    number = str(found.version)
    return ModelVersion(
        found.name,
        number,
        found.tags[_PACKAGE],
        found.run_id,
        datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
        tuple(sorted(alias for alias, to in aliases.items() if to == number)),
        found.tags.get("package_digest"),
        found.tags.get("verdict"),
    )


def _measured(client: MlflowClient, version: ModelVersion) -> ModelVersion:
    """The version with what its run has measured on the hold-out: one more request to MLflow.

    There is nothing where `mlflow gc` has removed the run.
    """
    try:
        metrics = client.get_run(version.run_id).data.metrics
    except TrackingError as error:
        if error.code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return version
    figures = {name: value for name, value in metrics.items() if name.startswith("holdout_")}
    return replace(version, figures=figures)


def _tag(client: MlflowClient, version: ModelVersion, name: str, value: str) -> None:
    client.set_model_version_tag(version.model_name, version.number, name, value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
