"""Shared code of the commands that read the registry; it imports quickly."""

from __future__ import annotations

from collections.abc import Sequence

from application.ports.ledger import LedgerEntry
from application.ports.registry import ModelVersion
from application.registry.history import ledger_disagreement
from infrastructure.registry.mlflow_registry import MlflowRegistry
from shared.console import show_step
from shared.settings import Settings


def open_registry(settings: Settings) -> MlflowRegistry:
    """The registry that the settings name."""
    return MlflowRegistry(settings.tracking_uri, settings.packages_dir)


def warn_of_disagreement(
    registry: MlflowRegistry, versions: Sequence[ModelVersion], entries: Sequence[LedgerEntry]
) -> None:
    """Show how registry and ledger disagree about a model, if they do."""
    noted = registry.noted_ledger(versions[0].model_name)
    if disagreement := ledger_disagreement(noted, versions, entries):
        show_step("WARNING" if disagreement.suspicious else "ledger", disagreement.reason)
