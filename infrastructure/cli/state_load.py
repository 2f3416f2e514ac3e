"""Unpack the state of another clone, without losing state of this one."""

from __future__ import annotations

import argparse

from infrastructure.cli.state_save import add_archive
from infrastructure.registry.state_archive import load, places_of
from shared.console import show_step
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the archive, and whether to merge it."""
    add_archive(parser)
    parser.add_argument(
        "--merge",
        action="store_true",
        help="if the archive lacks state of this clone, add it to that state, and replace receipts",
    )


def run(args: argparse.Namespace) -> None:
    """Load the archive."""
    show_step("state", load(places_of(Settings.load()), args.archive, args.merge))
