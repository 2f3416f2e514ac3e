"""The record of versions and their aliases."""

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
    """What the registry knows of a version.

    Attributes:
        number: its number in the registry; the newest has the highest.
        package_version: of the package that it was made from.
        run_id: the training run.
        created: when it was registered, in UTC.
        package_digest: of the package's manifest, 64 hex digits; None where none was recorded.
        verdict: ``accepted`` or ``refused``; None where no validation has judged it.
        figures: quality on the hold-out, by name: the run's metrics ``holdout_*``.
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

    def check_accepted(self) -> None:
        """Only what validation has accepted may become champion.

        Raises:
            RegistryError: it was refused, or has not been judged.
        """
        if self.verdict != "accepted":
            state = "was refused" if self.verdict else "has not been judged: make validate"
            raise RegistryError(
                f"{self.model_name} version {self.number} ({self.package_version}) {state}"
            )


@dataclass(frozen=True)
class Promotion:
    """What a promotion has done.

    Attributes:
        version: the champion now.
        former: the champion before; None where there was none, `version` where nothing moved.
    """

    version: ModelVersion
    previous: ModelVersion | None

    @property
    def moved(self) -> bool:
        """Whether there is another champion than before."""
        return self.previous is None or self.previous.number != self.version.number


class VersionReader(Protocol):
    """Finds versions, and the packages that aliases point to."""

    def package_of(self, model_name: str, alias: str) -> Path:
        """Folder of the package that an alias points to; RegistryError where there is none."""

    def find(self, model_name: str, which: str) -> ModelVersion:
        """A version by its number, an alias, its package's version or its run; RegistryError
        where there is none."""

    def versions(self, model_name: str) -> list[ModelVersion]:
        """All versions, newest first; none of a model that was never registered."""


class VerdictWriter(Protocol):
    """Keeps what validation said."""

    def record_verdict(self, version: ModelVersion, verdict: str, folder: Path) -> None:
        """Keep what validation said, ``accepted`` or ``refused``, with the files of a folder."""


class Promoter(Protocol):
    """Moves the aliases of a model."""

    def alone(self) -> AbstractContextManager[object]:
        """Held while aliases move or packages are removed: by one process on this machine, and
        again by who holds it."""

    def promote(self, model_name: str, package_version: str) -> Promotion:
        """Point ``champion`` to the version that was made from this package, and ``previous`` to
        the former champion; RegistryError where it was not accepted, or its package is gone."""

    def note_ledger(self, model_name: str, head: str) -> None:
        """Keep the hashes of the ledger's first and latest entry, where a cut ledger cannot take
        them along."""


class Registry(VersionReader, VerdictWriter, Promoter, Protocol):
    """All of it, for a use case that judges and promotes."""
