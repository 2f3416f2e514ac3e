"""What has to be true of a build before it is deployed to production."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from application.ports.ledger import LedgerEntry
from application.registry.history import champion_of
from application.training.reproduction import DIRTY

PRODUCTION, STAGING = "production", "staging"
WORDS = ("no-keys", "no-champion", "uncommitted", "unstaged")
"""What objections can be allowed by."""


@dataclass(frozen=True)
class Deployable:
    """A build that is about to be deployed.

    Attributes:
        build: what identifies it, such as the tag of its Bento, or the digest of its image.
        commit: of the training; it ends in ``-dirty`` if changes were not committed.
        changed: files of the clone that are not committed.
        has_keys: whether the service will require API keys.
    """

    model_name: str
    version: str
    build: str
    commit: str
    changed: Collection[str]
    has_keys: bool


def objections(wanted: Deployable, entries: Iterable[LedgerEntry]) -> dict[str, str]:
    """Why a build should not be deployed to production, by the word that allows it nevertheless.

    Args:
        entries: of the ledger, oldest first.
    """
    entries = list(entries)
    found = {}
    if not wanted.has_keys:
        found["no-keys"] = (
            "the service would accept requests without a key: make a key with make api-key, and "
            "set SERVING_API_KEYS"
        )
    if champion_of(entries, wanted.model_name) != wanted.version:
        found["no-champion"] = (
            f"{wanted.version} is not the champion of {wanted.model_name} in the ledger: run make "
            "validate, or make promote, and build it again"
        )
    if wanted.commit.endswith(DIRTY) or wanted.commit == "unknown":
        found["uncommitted"] = (
            "it was trained with changes that are not committed: commit, and train"
        )
    elif wanted.changed:
        files = ", ".join(sorted(wanted.changed)[:3]) + (" …" if len(wanted.changed) > 3 else "")
        found["uncommitted"] = f"files of the service are not committed: {files}"
    if not any(
        entry.event in ("deploy", "rollback")
        and entry.details.get("env") == STAGING
        and wanted.build in (entry.details.get("bento_tag"), entry.details.get("digest"))
        for entry in entries
    ):
        found["unstaged"] = (
            f"{wanted.build} was never accepted in {STAGING}: run make deploy ENV={STAGING} first"
        )
    return found
