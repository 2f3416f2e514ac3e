"""What the commands that change an environment share."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from infrastructure.cli._arguments import add_environment, add_port
from infrastructure.compute.receipts import write_receipt
from infrastructure.deployment.local import DEFAULT_PORT, READY_SECONDS, LocalEnvironment
from infrastructure.deployment.release import Release
from infrastructure.registry.ledger import FileLedger
from shared.settings import Settings

_SECRETS = {"api_key", "variables"}  # of a release, which no receipt repeats


def add_environment_and_port(parser: argparse.ArgumentParser) -> None:
    """Add ``--env`` and ``--port``."""
    add_environment(parser)
    add_port(parser, None, f"that of what is deployed there, else {DEFAULT_PORT}")


def add_patience(parser: argparse.ArgumentParser) -> None:
    """Add ``--patience``."""
    parser.add_argument(
        "--patience",
        type=float,
        default=READY_SECONDS,
        help="seconds that a release may take to become ready (default: %(default)g)",
    )


def open_environment(args: argparse.Namespace, settings: Settings) -> LocalEnvironment:
    """The environment that the arguments name."""
    patience = getattr(args, "patience", READY_SECONDS)
    return LocalEnvironment(settings.releases_dir / args.env, args.port, patience)


@contextmanager
def recorded(
    event: str, args: argparse.Namespace, settings: Settings, environment: LocalEnvironment
) -> Iterator[None]:
    """Change an environment while no other process does, and record in the ledger what became of
    it, whether the change failed or not; nothing where the environment stays as it was."""
    with environment.alone():
        before = environment.known()
        try:
            yield
        finally:
            after = environment.known()
            changed = after or before
            if changed and after != before:
                FileLedger(settings.ledger).append(
                    event if after else "stop",
                    changed.model,
                    changed.version,
                    env=args.env,
                    port=environment.port if after else None,
                    bento_tag=changed.bento_tag,
                )


def write_release_receipt(receipt: Path | None, environment: str, release: Release) -> None:
    """Write what was deployed, without what is secret."""
    if receipt:
        public = {name: v for name, v in asdict(release).items() if name not in _SECRETS}
        write_receipt(receipt, env=environment, **public)
