"""Unpack the state of another clone, unless that would lose state of this one."""

from __future__ import annotations

import argparse
import time

from infrastructure.cli.state_save import add_archive
from infrastructure.registry.state_archive import load, places_of
from shared.console import show_step
from shared.paths import ROOT
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the archive, and whether this clone's state may be moved away."""
    add_archive(parser)
    parser.add_argument(
        "--set-aside",
        action="store_true",
        help="if the archive lacks state of this clone, move that state to .set-aside first",
    )


def run(args: argparse.Namespace) -> None:
    """Load the archive."""
    folder = ROOT / ".set-aside" / time.strftime("%Y-%m-%dT%H-%M-%S")
    places = places_of(Settings.load())
    show_step("state", load(places, args.archive, folder if args.set_aside else None))
