"""Opens the store of snapshots; imports nothing slow."""

from __future__ import annotations

from infrastructure.storage.snapshots import SnapshotStore
from shared.paths import ROOT
from shared.settings import Settings


def open_snapshots(settings: Settings) -> SnapshotStore:
    """The store that the settings name."""
    return SnapshotStore(settings.snapshots, ROOT / "snapshots", ROOT)
