"""Build the champion's Bento and export it."""

from __future__ import annotations

import argparse

from application.training.config import registered_name
from infrastructure.cli._arguments import add_model, add_receipt
from infrastructure.cli._registry import open_registry
from infrastructure.compute.receipts import write_receipt
from infrastructure.packaging.bento_store import add_accepted, build_bento, export_bento
from infrastructure.registry.mlflow_registry import CHAMPION
from shared.console import show_step
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model and the receipt."""
    add_model(parser)
    add_receipt(parser)


def run(args: argparse.Namespace) -> None:
    """Build and export."""
    settings = Settings.load()
    name = registered_name(args.model)
    registry = open_registry(settings)
    version = registry.find(name, CHAMPION)
    version.check_accepted()
    champion = registry.open_package(version)
    show_step("champion", f"{name} version {version.number}, {champion.version}")
    tag = add_accepted(champion, name)  # in case the store lost it, or holds a partial copy
    bento = build_bento(tag)
    show_step("bento", str(bento.tag))
    exported = settings.receipts_dir / args.model / "bento"
    export_bento(bento, exported)
    show_step("exported", str(exported))
    if args.receipt:
        write_receipt(
            args.receipt,
            model_name=name,
            version=champion.version,
            model_tag=tag,
            bento_tag=str(bento.tag),
        )
