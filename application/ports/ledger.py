"""The ledger of what was done with models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class LedgerEntry:
    """One entry of the ledger.

    Attributes:
        at: when, in UTC.
        who: the user, or who started the run of CI.
        event: ``train``, ``verdict``, ``promote``, ``rollback``, ``deploy`` or ``stop``.
        version: of the model's package.
        details: further facts; ``env`` where an environment was changed, not the registry.
        previous: hash of the entry before; 64 zeros in the first.
        hash: of all the others, 64 hex digits.
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


class Ledger(Protocol):
    """Who did what, and when; nothing that is written is changed again."""

    def append(
        self, event: str, model_name: str, version: str, **details: str | float | None
    ) -> LedgerEntry:
        """Add an entry: what happened, to which model and to which version of its package."""

    def entries(self) -> list[LedgerEntry]:
        """All entries, oldest first; RegistryError where one was changed, removed or moved."""
