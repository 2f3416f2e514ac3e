"""Shared code of the commands that change an environment."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from application.registry.history import Tenure, state_at
from infrastructure.cli._arguments import add_environment, add_port
from infrastructure.deployment.local import PORTS, Build, LocalEnvironment
from infrastructure.deployment.processes import READY_SECONDS
from infrastructure.deployment.release import Canary, Release, public_port
from infrastructure.registry.ledger import FileLedger, open_ledger
from shared.console import show_step
from shared.files import locked
from shared.settings import Settings


def add_environment_and_port(parser: argparse.ArgumentParser) -> None:
    """Add ``--env`` and ``--port``."""
    add_environment(parser)
    ports = ", ".join(f"{port} for {name}" for name, port in PORTS.items())
    add_port(parser, None, f"the environment's current port; first {ports}, another one for others")


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
    event: str,
    args: argparse.Namespace,
    settings: Settings,
    environment: LocalEnvironment,
    build: Build | None = None,
) -> Iterator[None]:
    """Lock an environment while it changes, and enter the change into the ledger.

    The entry is written even if the command failed, and left out if nothing changed. If only the
    canary changed, it is a `canary` with its share, 0 at its end. A change that a killed command
    made, but did not record, is entered first.

    Args:
        build: the build to deploy, for which the environment's folder is created.

    Raises:
        RegistryError: the ledger is damaged or not writable; nothing was changed.
    """
    ledger = open_ledger(settings.ledger)
    if build:
        environment.prepare(build)
    with environment.alone():
        before = environment.current_if_known()
        _record_missing(ledger, settings.releases_dir / args.env, environment)
        try:
            yield
        finally:
            after = environment.current_if_known()
            changed = after or before
            port = environment.port if after else None
            if changed and _alone(after) != _alone(before):
                _record(ledger, event if after else "stop", args.env, changed, port)
            elif after and before and after.canary != before.canary:
                ended = replace(before.canary, share=0) if before.canary else None
                if canary := after.canary or ended:
                    _record_canary(ledger, args.env, canary, port)
            if after:
                environment.keep_running()


def record_missing_changes(settings: Settings) -> None:
    """Enter what killed commands changed, so that the ledger names what is deployed.

    Environments that another command is changing are left to that command. Without permission to
    write, nothing is entered.
    """
    for folder in sorted(path for path in settings.releases_dir.glob("*/") if path.is_dir()):
        with suppress(TimeoutError, PermissionError), locked(folder / "lock", 0):
            _record_missing(open_ledger(settings.ledger), folder, LocalEnvironment(folder))


def _record_missing(ledger: FileLedger, folder: Path, environment: LocalEnvironment) -> None:
    """Enter the last change of an environment if the ledger lacks it."""
    tenure = state_at(ledger.entries()).deployed.get(folder.name)
    recorded = (tenure.model_name, tenure.version) if tenure else None
    current, stopped = environment.current_if_known(), environment.stopped()
    if current and (current.model, current.version) != recorded:
        show_step("recorded", f"{current.bento_tag} is deployed, which the ledger lacked")
        since = _written(folder / "current.json")
        _record(ledger, "deploy", folder.name, current, public_port(folder), since=since)
    elif stopped and (stopped.model, stopped.version) == recorded:
        show_step("recorded", f"{stopped.bento_tag} was stopped, which the ledger lacked")
        since = _written(folder / "previous.json")
        _record(ledger, "stop", folder.name, stopped, None, since=since)
    canary = current.canary if current else None
    noted = state_at(ledger.entries()).canaries.get(folder.name)
    if canary and (not noted or _facts(noted) != (canary.release.version, canary.share)):
        show_step("recorded", f"{canary.release.bento_tag} is a canary, which the ledger lacked")
        _record_canary(ledger, folder.name, canary, public_port(folder))
    elif current and noted and not canary:
        show_step("recorded", f"the canary {noted.version} ended, which the ledger lacked")
        details: dict[str, str | float | None] = {**noted.since.details, "share": 0}
        ledger.append("canary", noted.model_name, noted.version, **details)


def _written(state: Path) -> str:
    """When a state file was written, for an entry that is made later."""
    at = datetime.fromtimestamp(state.stat().st_mtime, UTC)
    return at.isoformat(timespec="microseconds")


def _facts(canary: Tenure) -> tuple[str, str | float | None]:
    return canary.version, canary.since.details.get("share")


def _alone(release: Release | None) -> Release | None:
    """A release without its canary."""
    return replace(release, canary=None) if release else None


def _record(
    ledger: FileLedger,
    event: str,
    name: str,
    release: Release,
    port: int | None,
    **more: str | float | None,
) -> None:
    details = {"env": name, "port": port, "bento_tag": release.bento_tag, **more}
    ledger.append(event, release.model, release.version, **details)


def _record_canary(ledger: FileLedger, name: str, canary: Canary, port: int | None) -> None:
    by = canary.header or "connection"
    _record(ledger, "canary", name, canary.release, port, share=canary.share, by=by)
