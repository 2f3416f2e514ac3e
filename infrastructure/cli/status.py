"""Show what is deployed on this machine."""

from __future__ import annotations

import argparse

from infrastructure.deployment.local import LocalEnvironment
from shared.console import show_step
from shared.settings import Settings


def add_arguments(_: argparse.ArgumentParser) -> None:
    """This command has no arguments."""


def run(_: argparse.Namespace) -> None:
    """Show one line for each environment."""
    releases = Settings.load().releases_dir
    states = (*releases.glob("*/current.json"), *releases.glob("*/starting.json"))
    folders = sorted({path.parent for path in states})
    lines = [(folder.name, LocalEnvironment(folder).status()) for folder in folders]
    for name, status in lines:
        if status:
            show_step(name, status)
    if not any(status for _, status in lines):
        show_step("status", "nothing is deployed on this machine; to deploy: make deploy")
