"""Pack the state of this clone into an archive."""

from __future__ import annotations

import argparse
from pathlib import Path

from infrastructure.registry.state_archive import places_of, save
from shared.console import show_step
from shared.paths import ROOT
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the archive."""
    add_archive(parser)


def add_archive(parser: argparse.ArgumentParser) -> None:
    """Add ``--archive``."""
    parser.add_argument(
        "--archive", type=Path, default=ROOT / "state.tar.gz", help="file (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> None:
    """Save the state."""
    save(places_of(Settings.load()), args.archive)
    show_step("saved", str(args.archive))
