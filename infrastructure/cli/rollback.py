"""Make an earlier champion the champion again."""

from __future__ import annotations

import argparse

from application.registry.promotion import previous_champion
from application.training.config import registered_name
from infrastructure.cli._arguments import add_model, add_receipt, add_version
from infrastructure.cli._promotion import make_champion
from infrastructure.cli._registry import open_registry
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, the version and the receipt."""
    add_model(parser)
    add_version(parser, None, "the previous champion")
    add_receipt(parser)


def run(args: argparse.Namespace) -> None:
    """Make the version the champion again."""
    settings, name = Settings.load(), registered_name(args.model)
    registry = open_registry(settings)
    if args.version:
        version = registry.find(name, args.version)
    else:
        version = previous_champion(registry, name)
    make_champion(args.model, version, "rollback", args.receipt, settings)
