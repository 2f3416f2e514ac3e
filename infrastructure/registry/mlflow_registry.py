"""The MLflow registry as the record of versions and aliases."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from application.ports import RegisteredVersion
from domain.errors import RegistryError
from infrastructure.tracking.mlflow_tracker import open_client

CHAMPION, CANDIDATE, PREVIOUS = "champion", "candidate", "previous"


@dataclass(frozen=True)
class MlflowRegistry:
    """Versions and aliases of registered models.

    Attributes:
        uri: tracking and registry URI.
        packages_dir: where packages lie on this machine.
    """

    uri: str
    packages_dir: Path

    def package_of(self, model_name: str, alias: str) -> Path:
        """Folder of the package that an alias points to.

        Raises:
            RegistryError: there is no such model or alias.
        """
        # pylint: disable-next=import-outside-toplevel  # slow to import
        from mlflow.exceptions import MlflowException

        try:
            found = open_client(self.uri).get_model_version_by_alias(model_name, alias)
        except MlflowException as error:
            raise RegistryError(f"{model_name} has no {alias} in the registry") from error
        return self.packages_dir / model_name / found.tags["package_version"]

    def promote(self, model_name: str, package_version: str) -> RegisteredVersion:
        """Point ``champion`` to the version made from this package, ``previous`` to the former one.

        Raises:
            RegistryError: no version was made from this package.
        """
        # pylint: disable-next=import-outside-toplevel  # slow to import
        from mlflow.exceptions import MlflowException

        client = open_client(self.uri)
        versions = client.search_model_versions(
            f"name = '{model_name}' and tags.package_version = '{package_version}'"
        )
        if not versions:
            raise RegistryError(f"{model_name} has no version made from package {package_version}")
        version = versions[0]
        try:
            former = client.get_model_version_by_alias(model_name, CHAMPION).version
        except MlflowException:
            former = None
        if former != version.version:
            client.set_registered_model_alias(model_name, CHAMPION, version.version)
            if former:
                client.set_registered_model_alias(model_name, PREVIOUS, former)
        return RegisteredVersion(model_name, str(version.version), str(version.run_id))
