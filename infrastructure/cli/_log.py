"""The prediction log that a command reads, and the contracts of what is in it."""

from __future__ import annotations

from domain.errors import PredictionLogError, RegistryError
from infrastructure.deployment.local import LocalEnvironment
from infrastructure.packaging.model_package import ModelPackage
from infrastructure.registry.mlflow_registry import MlflowRegistry
from infrastructure.storage.bulk_labels import BulkLabelLog
from infrastructure.storage.prediction_log import sqlite_file
from shared.settings import Settings


def open_log(settings: Settings, name: str, env: str) -> BulkLabelLog:
    """The log of ``PREDICTION_LOG_URL``, else of what is deployed in an environment.

    It removes no old rows.

    Args:
        name: registered name of the model.

    Raises:
        PredictionLogError: there is none, or it cannot be opened.
    """
    url = LocalEnvironment(settings.releases_dir / env).log_url(settings.prediction_log_url)
    file = sqlite_file(url)
    if file and not file.exists():
        raise PredictionLogError(
            f"there is no prediction log {file}: choose another ENV, or set PREDICTION_LOG_URL"
        )
    return BulkLabelLog(url, name, retention_days=float("inf"))


def package_version(
    registry: MlflowRegistry, name: str, which: str | None, logged: list[str | None]
) -> str | None:
    """The package version that the user chose; it may be in the log only."""
    if which is None or which in logged:
        return which
    return registry.find(name, which).package_version


def packages_of(registry: MlflowRegistry, name: str, logged: list[str]) -> dict[str, ModelPackage]:
    """The packages of some versions that are still there, by package version."""
    known: dict[str, ModelPackage] = {}
    for version in registry.versions(name):
        if version.package_version in logged:
            try:
                registry.folder_of(version)
            except RegistryError:
                continue
            known[version.package_version] = registry.open_package(version)
    return known
