"""What the commands that change an environment share."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from infrastructure.cli._arguments import add_environment, add_port
from infrastructure.deployment.local import DEFAULT_PORT, READY_SECONDS, LocalEnvironment
from infrastructure.registry.ledger import FileLedger
from shared.settings import Settings


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
