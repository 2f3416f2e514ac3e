"""Back up packages, tracking, Bentos, ledger, receipts, releases and prediction logs to one file.

Services go on meanwhile. A tracking server and a database server have backups of their own.
"""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path

from infrastructure.registry.backup import back_up
from infrastructure.registry.state_archive import places_of
from infrastructure.tracking.database import database_file
from shared.console import show_step
from shared.paths import ROOT
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the file."""
    parser.add_argument(
        "--output", type=Path, help="file (default: backups/<time>.tar.gz in the clone)"
    )


def run(args: argparse.Namespace) -> None:
    """Write the backup."""
    settings = Settings.load()
    output = args.output or ROOT / f"backups/{datetime.now():%Y-%m-%dT%H%M%S}.tar.gz"
    lacking = back_up(places_of(settings), settings.releases_dir, output)
    if not database_file(settings.tracking_uri):
        lacking.append("runs and registry: the tracking server")
    for each in lacking:
        show_step("WARNING", f"not in the backup, back it up there: {each}")
    show_step("backup", f"{output}, {output.stat().st_size / 2**20:,.1f} MiB: keep it secret")
