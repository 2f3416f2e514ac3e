"""Show what is deployed from this clone."""

from __future__ import annotations

import argparse
from pathlib import Path

from domain.errors import BuildError, DeploymentError
from infrastructure.deployment.local import LocalEnvironment
from infrastructure.deployment.targets import RECORD, open_target, recorded_place
from shared.console import show_step
from shared.settings import Settings


def add_arguments(_: argparse.ArgumentParser) -> None:
    """This command has no arguments."""


def run(_: argparse.Namespace) -> None:
    """Show one line for each environment."""
    releases = Settings.load().releases_dir
    names = ("current.json", "starting.json", RECORD)
    folders = sorted({path.parent for name in names for path in releases.glob(f"*/{name}")})
    lines = [(folder.name, _status(folder)) for folder in folders]
    for name, status in lines:
        if status:
            show_step(name, status)
    if not any(status for _, status in lines):
        show_step("status", "nothing is deployed on this machine; to deploy: make deploy")


def _status(folder: Path) -> str:
    try:
        place = recorded_place(folder)
        if place is None:
            return LocalEnvironment(folder).status()
        return f"{place.target}: {open_target(place, folder).running.status() or 'not deployed'}"
    except (BuildError, DeploymentError) as error:
        return f"UNKNOWN, {error}"
