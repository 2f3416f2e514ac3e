"""Push the image of the champion's Bento to a registry, and record its digest there."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from infrastructure.cli._arguments import add_receipt
from infrastructure.compute.receipts import read_receipt, write_receipt
from infrastructure.packaging.container_engine import ContainerEngine, run_command
from infrastructure.registry.ledger import open_ledger
from shared.console import show_step
from shared.settings import Settings

_REGISTRY = re.compile(r"[A-Za-z0-9.-]+(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")
_KEYS = {"image", "engine", "model_name", "version", "bento_tag"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the image, the registry and the receipt."""
    parser.add_argument("--image", type=Path, required=True, help="receipt of containerize")
    parser.add_argument(
        "--registry",
        type=_registry,
        required=True,
        help="host, and where in it, such as ghcr.io/name (make push REGISTRY=ghcr.io/name)",
    )
    add_receipt(parser)


def run(args: argparse.Namespace) -> None:
    """Push the image."""
    built = read_receipt(args.image, "containerize", _KEYS)
    ledger = open_ledger(Settings.load().ledger)
    target = f"{args.registry}/{built['image']}"
    engine = ContainerEngine(built["engine"], run_command)
    digest = engine.push(built["image"], target)
    reference = f"{target.rpartition(':')[0]}@{digest}"
    ledger.append("push", built["model_name"], built["version"], digest=digest, reference=reference)
    show_step("pushed", reference)
    if args.receipt:
        facts = {name: built[name] for name in ("image", "version", "bento_tag", "engine")}
        write_receipt(args.receipt, reference=reference, digest=digest, **facts)


def _registry(text: str) -> str:
    if not _REGISTRY.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a registry: write host[:port][/path], such as ghcr.io/name, without "
            "https:// and in small letters"
        )
    return text
