"""Restore a backup, without losing state of this clone."""

from __future__ import annotations

import argparse
from pathlib import Path

from infrastructure.registry.backup import restore
from infrastructure.registry.state_archive import places_of
from shared.console import show_step
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the file."""
    parser.add_argument("--backup", type=Path, required=True, help="file that make backup wrote")


def run(args: argparse.Namespace) -> None:
    """Restore the backup."""
    settings = Settings.load()
    for done in restore(places_of(settings), settings.releases_dir, args.backup):
        show_step("restored", done)
