"""List the versions of models, newest first, with aliases, verdict, quality and deployments."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from application.registry.listing import HEADER, as_table, rows_of
from application.training.config import registered_name
from domain.errors import RegistryError
from infrastructure.cli._arguments import add_model
from infrastructure.cli._registry import open_registry, warn_of_disagreement
from infrastructure.deployment.local import deployed_in
from infrastructure.registry.ledger import FileLedger
from shared.console import show_line, show_step
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model."""
    add_model(parser, all_models=True)


def run(args: argparse.Namespace) -> None:
    """List the versions."""
    settings = Settings.load()
    registry = open_registry(settings)
    names = [registered_name(args.model)] if args.model else registry.model_names()
    deployed: dict[str, list[str]] = {}
    for environment, release, current in deployed_in(settings.releases_dir):
        if current:
            state = "running" if release.process() else "stopped"
            deployed.setdefault(release.bento_tag, []).append(f"{environment} {state}")
            if release.canary:
                tag = release.canary.release.bento_tag
                deployed.setdefault(tag, []).append(f"{environment} canary")
    try:
        entries = FileLedger(settings.ledger).entries()
    except RegistryError as error:
        entries = []
        show_step("WARNING", str(error))
    if not names:
        show_step("registry", "no model is registered yet: run make train")
    for name in names:
        versions = registry.versions(name)
        show_step("model", name if versions else f"{name} has no versions")
        if not versions:
            continue
        here = {path.name for path in (settings.packages_dir / name).glob("*/")}
        rows = rows_of(versions, here, deployed, datetime.now(UTC))
        for line in as_table([HEADER, *rows]):
            show_line(line)
        warn_of_disagreement(registry, versions, entries)
