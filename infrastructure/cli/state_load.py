"""Unpack the state of another clone, refusing to lose what this one has."""

from __future__ import annotations

import argparse
import time

from infrastructure.cli.state_save import add_archive
from infrastructure.registry.state_archive import load, places_of
from shared.console import show_step
from shared.paths import ROOT
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add from where, and whether what is here may be moved away."""
    add_archive(parser)
    parser.add_argument(
        "--set-aside",
        action="store_true",
        help="load an archive that does not continue this clone's state, moving that to .set-aside",
    )


def run(args: argparse.Namespace) -> None:
    """Load."""
    aside = ROOT / ".set-aside" / time.strftime("%Y-%m-%dT%H-%M-%S")
    places = places_of(Settings.load())
    show_step("state", load(places, args.archive, aside if args.set_aside else None))
