"""Snapshots: what a model was trained on, kept by content, wherever it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

SOURCE = "data.source"  # key of the configuration's source among the recorded snapshots


@dataclass(frozen=True)
class Fetched:
    """What a source had when it was read.

    Attributes:
        address: of the source, without secrets.
        snapshot: name of the snapshot.
        file: the snapshot on this machine: Parquet, or the CSV file as it was.
        watched: files, folders and addresses; if one of them changes, the model is trained again.
    """

    address: str
    snapshot: str
    file: Path
    watched: tuple[str, ...] = ()


class Snapshots(Protocol):
    """Reads sources and keeps what they had; a snapshot's name is made of its content's digest."""

    def fetch(self, address: str, query: str | None) -> Fetched:
        """Read a source and keep a snapshot.

        Args:
            address: of a database, of files in an object store or on the web, or the path of local
                files that are not one CSV or Parquet file.
            query: path of a file with the SQL to run; only for databases.

        Raises:
            ConfigError: the address is wrong or lacks a variable, or the query is missing.
            DataError: the source cannot be read.
            MissingExtraError: its driver is not installed.
        """

    def keep(self, file: Path) -> str:
        """Keep a copy of a local file, and return the name of the snapshot."""

    def find(self, snapshot: str) -> Path:
        """The file of a snapshot on this machine, with unchanged content.

        Raises:
            DataError: the snapshot is missing or was changed.
        """


def recorded_snapshots(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Snapshots of a package's data, by path or `SOURCE`, from its ``provenance.json``."""
    recorded: dict[str, str] = provenance.get("data", {}).get("snapshots", {})
    return recorded


def labelled_path(provenance: Mapping[str, Any]) -> str | None:
    """The path of a package's ``data.labelled``; None without."""
    path: str | None = provenance.get("config", {}).get("data", {}).get("labelled")
    return path


def recorded_source(
    provenance: Mapping[str, Any], snapshots: Snapshots
) -> tuple[Path | None, Path | None]:
    """The snapshots of a package's ``data.source`` and ``data.labelled``; None if it has none.

    Raises:
        DataError: a snapshot is missing or was changed.
    """
    recorded = recorded_snapshots(provenance)
    names = (recorded.get(SOURCE), recorded.get(labelled_path(provenance) or ""))
    source, labelled = (snapshots.find(name) if name else None for name in names)
    return source, labelled
