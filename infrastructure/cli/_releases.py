"""Shared code of the commands that change an environment."""

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
    add_port(parser, None, f"the environment's current port, else {DEFAULT_PORT}")


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
def record_change(
    event: str, args: argparse.Namespace, settings: Settings, environment: LocalEnvironment
) -> Iterator[None]:
    """Lock an environment while it changes, and enter the change into the ledger.

    The entry is written even if the command failed, and left out if nothing changed.
    """
    with environment.alone():
        before = environment.current_if_known()
        try:
            yield
        finally:
            after = environment.current_if_known()
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
