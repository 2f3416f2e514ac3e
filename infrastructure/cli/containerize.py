"""Build the image of the champion's Bento.

Exit codes: 0 built, 3 no container engine, 1 failed.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from domain.errors import BuildError
from infrastructure.cli._arguments import add_receipt
from infrastructure.compute.receipts import read_build, write_receipt
from infrastructure.packaging.containerize import containerize, find_engine
from shared.console import fail, show_step
from shared.settings import Settings

NO_ENGINE = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the Bento, the container engine and the receipt."""
    parser.add_argument("--bento", type=Path, required=True, help="receipt of bento-build")
    parser.add_argument("--engine", help="docker or podman (default: the first that works)")
    add_receipt(parser)


def run(args: argparse.Namespace) -> int:
    """Build the image."""
    try:
        engine = find_engine(args.engine or None)
    except BuildError as error:
        return fail(error, NO_ENGINE)
    built = read_build(args.bento)
    home = Settings.load().bento_home
    if not (home / "bentos" / built["bento_tag"].replace(":", "/") / "bento.yaml").is_file():
        raise BuildError(
            f"{built['bento_tag']} is not in the Bento store {home}: remove {args.bento}, then run "
            "make bento-build"
        )
    os.environ["BENTOML_HOME"] = str(home)  # for the bentoml process
    image = containerize(built["bento_tag"], engine)
    show_step("image", f"{image} ({engine})")
    if args.receipt:
        write_receipt(args.receipt, **{**built, "image": image, "engine": engine})
    return 0
