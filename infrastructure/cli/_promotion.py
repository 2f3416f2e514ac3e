"""Shared code of the commands that change the champion."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from application.ports.registry import ModelVersion
from application.registry.history import environments_of
from application.registry.listing import age_of
from application.registry.promotion import differences, promote
from domain.errors import MlopsError
from infrastructure.cli._arguments import environment_option, read_default
from infrastructure.cli._registry import open_registry
from infrastructure.compute.receipts import write_receipt
from infrastructure.packaging.bento_store import add_accepted, service_of
from infrastructure.packaging.model_package import ModelPackage
from infrastructure.registry.ledger import open_ledger
from shared.console import show_step
from shared.settings import Settings


def make_champion(
    model: str, version: ModelVersion, event: str, receipt: Path | None, settings: Settings
) -> None:
    """Make a version the champion, and show what that changes.

    Args:
        model: name in domain/models, for the commands that are shown.
        event: ``promote`` or ``rollback``, for the ledger.
    """
    registry, ledger = open_registry(settings), open_ledger(settings.ledger)

    @cache
    def package() -> ModelPackage:
        return registry.open_package(version)

    def store() -> str:
        return add_accepted(package(), version.model_name)

    promotion = promote(registry, ledger, version, store, event)
    if receipt:
        write_receipt(
            receipt,
            model_name=version.model_name,
            version=version.package_version,
            registry_version=version.number,
            model_tag=store(),
            service=service_of(package()),
        )
    previous, now = promotion.previous, datetime.now(UTC)
    title = f"version {version.number}, {version.package_version}"
    if not promotion.moved:
        show_step("unchanged", f"{version.model_name} {title}, is the champion already")
        return
    age = age_of(now - version.created)
    show_step("champion", f"{version.model_name} {title}, {age} old")
    if previous:
        show_step(
            "previous",
            f"version {previous.number}, {previous.package_version}, "
            f"{age_of(now - previous.created)} old; make rollback MODEL={model} brings it back",
        )
        try:
            changes = differences(registry.open_package(previous), package())
        except MlopsError as error:
            show_step("changes", f"unknown: {error}")
        else:
            for name, change in changes:
                show_step(name, change)
    serving = environments_of(ledger.entries(), version.model_name)
    for environment in serving or [read_default("ENV")]:
        command = f"make deploy MODEL={model}{environment_option(environment)}"
        show_step("next", f"{command} builds its Bento and deploys it")
