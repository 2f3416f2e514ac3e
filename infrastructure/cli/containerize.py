"""Build the image of the champion's Bento, with its bill of materials and licences.

Exit codes: 0 built, 3 no container engine, 1 failed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from domain.errors import BuildError
from infrastructure.cli._arguments import add_receipt
from infrastructure.compute.receipts import read_build, write_receipt
from infrastructure.packaging.container_engine import (
    BUILDERS,
    ContainerEngine,
    find_engine,
    run_command,
)
from infrastructure.packaging.containerize import Containerized, containerize
from infrastructure.packaging.sbom import cyclonedx, licence_list
from shared.console import fail, show_step
from shared.files import write_atomically

NO_ENGINE = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the Bento, the container engine, the base image and the receipt."""
    parser.add_argument("--bento", type=Path, required=True, help="receipt of bento-build")
    parser.add_argument(
        "--engine", help="docker, podman or buildah (default: the first that works)"
    )
    parser.add_argument(
        "--base", help="image to build on (default: the official slim image, by its digest)"
    )
    add_receipt(parser)


def run(args: argparse.Namespace) -> int:
    """Build the image."""
    try:
        name = find_engine(args.engine or None, supported=BUILDERS)
    except BuildError as error:
        return fail(error, NO_ENGINE)
    built = read_build(args.bento)
    folder = args.bento.parent
    engine = ContainerEngine(name, run_command)
    done = containerize(folder / "bento", built["bento_tag"], engine, args.base or None)
    show_step("image", f"{done.name}, {done.image.size / 1e6:.0f} MB ({name})")
    show_step("base", f"{done.base.partition('@')[0]} {done.base_digest}".rstrip())
    _write_contents(done, folder)
    if args.receipt:
        write_receipt(
            args.receipt,
            **built,
            image=done.name,
            engine=name,
            digest=done.image.digest,
            size=done.image.size,
            base=done.base,
            base_digest=done.base_digest,
            revision=done.revision,
            package_digest=done.package_digest,
        )
    return 0


def _write_contents(done: Containerized, folder: Path) -> None:
    name, _, version = done.name.partition(":")
    bill = cyclonedx(
        {"name": name, "version": version, "digest": done.image.digest},
        {"name": done.base.partition("@")[0], "digest": done.base_digest},
        done.package_digest,
        done.pins,
    )
    write_atomically(folder / "sbom.cdx.json", json.dumps(bill, indent=2) + "\n")
    write_atomically(folder / "licences.tsv", licence_list(done.pins))
    show_step("contents", f"{folder / 'sbom.cdx.json'}, {folder / 'licences.tsv'}")
