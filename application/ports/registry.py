"""The port of the model registry: versions and their aliases."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from domain.errors import RegistryError


@dataclass(frozen=True)
class ModelVersion:
    """A version of a model, as the registry has it.

    Attributes:
        number: number in the registry; the newest has the highest.
        package_version: version of the package.
        run_id: the training run.
        created: time of registration, in UTC.
        package_digest: digest of the package's manifest, 64 hex digits; None if not recorded.
        verdict: ``accepted`` or ``refused``; None if not validated yet.
        figures: quality on the hold-out, by name: the run's metrics ``holdout_*``.
        measure: name of the measure that the gates use; None if the run has none.
    """

    model_name: str
    number: str
    package_version: str
    run_id: str
    created: datetime
    aliases: tuple[str, ...] = ()
    package_digest: str | None = None
    verdict: str | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    measure: str | None = None

    def check_accepted(self) -> None:
        """Check that validation accepted this version, so that it may become champion.

        Raises:
            RegistryError: it was refused, or has not been validated.
        """
        if self.verdict != "accepted":
            state = "was refused" if self.verdict else "has not been validated: run make validate"
            raise RegistryError(
                f"{self.model_name} version {self.number} ({self.package_version}) {state}"
            )


@dataclass(frozen=True)
class Promotion:
    """The result of a promotion.

    Attributes:
        version: the new champion.
        previous: the previous champion; None if there was none, `version` if nothing changed.
    """

    version: ModelVersion
    previous: ModelVersion | None

    @property
    def moved(self) -> bool:
        """Whether the champion changed."""
        return self.previous is None or self.previous.number != self.version.number


class VersionReader(Protocol):
    """Finds versions, and the packages that aliases point to."""

    def package_of(self, model_name: str, alias: str) -> Path:
        """Folder of the package that an alias points to; RegistryError if the alias is not set."""

    def find(self, model_name: str, which: str) -> ModelVersion:
        """Find a version by its number, an alias, its package version or its run; RegistryError
        if there is no such version."""

    def versions(self, model_name: str) -> list[ModelVersion]:
        """All versions, newest first; empty for a model that was never registered."""


class VerdictWriter(Protocol):
    """Records the verdicts of validation."""

    def record_verdict(self, version: ModelVersion, verdict: str, folder: Path) -> None:
        """Record a verdict, ``accepted`` or ``refused``, with the files of a folder."""


class Promoter(Protocol):
    """Moves the aliases of a model."""

    def alone(self) -> AbstractContextManager[object]:
        """The lock for moving aliases and removing packages, held by one process on this machine;
        reentrant."""

    def promote(self, model_name: str, package_version: str) -> Promotion:
        """Point ``champion`` to the version of this package, and ``previous`` to the previous
        champion; RegistryError if the version was not accepted, or its package is gone."""

    def note_ledger(self, model_name: str, head: str) -> None:
        """Record the hashes of the ledger's first and latest entry outside the ledger, so that a
        truncated ledger is detected."""


class Registry(VersionReader, VerdictWriter, Promoter, Protocol):
    """The whole registry, for a use case that judges and promotes."""
