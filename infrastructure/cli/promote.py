"""Make an accepted version the champion."""

from __future__ import annotations

import argparse

from application.registry.promotion import newest_accepted
from application.training.config import registered_name
from infrastructure.cli._arguments import add_model, add_receipt, add_version
from infrastructure.cli._promotion import make_champion
from infrastructure.cli._registry import open_registry
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, the version and the receipt."""
    add_model(parser)
    add_version(parser, None, "the newest accepted one")
    add_receipt(parser)


def run(args: argparse.Namespace) -> None:
    """Promote the version."""
    settings, name = Settings.load(), registered_name(args.model)
    registry = open_registry(settings)
    if args.version:
        version = registry.find(name, args.version)
    else:
        version = newest_accepted(registry.versions(name), name)
    make_champion(args.model, version, "promote", args.receipt, settings)
