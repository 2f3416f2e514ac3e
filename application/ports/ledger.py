"""The ledger: trainings, validations, promotions and deployments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class LedgerEntry:
    """One entry of the ledger.

    Attributes:
        at: time in UTC.
        who: the user, or who started the CI run.
        event: ``train``, ``verdict``, ``promote``, ``rollback``, ``push``, ``deploy``, ``canary``
            or ``stop``.
        version: version of the package.
        details: further facts; ``env`` if an environment was changed instead of the registry;
            ``since`` if the change was earlier than its entry; ``author`` and ``entry``, who and
            hash, if it was added from another ledger.
        previous: hash of the previous entry; 64 zeros in the first one.
        hash: hash of all other fields, 64 hex digits.
    """

    number: int
    at: datetime
    who: str
    event: str
    model_name: str
    version: str
    details: Mapping[str, str | float | None]
    previous: str
    hash: str

    @property
    def hashes(self) -> tuple[str, ...]:
        """Its hash, and the one that it had in the ledger from which it was added."""
        origin = self.details.get("entry")
        return (self.hash, str(origin)) if origin else (self.hash,)


class Ledger(Protocol):
    """Records who did what, and when; entries are only ever appended."""

    def append(
        self, event: str, model_name: str, version: str, **details: str | float | None
    ) -> LedgerEntry:
        """Add an entry: what happened, to which model and to which version of its package."""

    def entries(self) -> list[LedgerEntry]:
        """All entries, oldest first; RegistryError if one was changed, removed or moved."""
