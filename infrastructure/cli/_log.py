"""What the commands that read the prediction log share: its place, the period, the packages."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager

from application.monitoring.export import Contracts
from domain.contract import Transcript
from domain.errors import ContractError, DataError, PredictionLogError, RegistryError
from infrastructure.cli._arguments import add_environment, valid_moment
from infrastructure.deployment.local import LocalEnvironment
from infrastructure.packaging.model_package import ModelPackage
from infrastructure.registry.mlflow_registry import CHAMPION, MlflowRegistry
from infrastructure.storage.prediction_log import sqlite_file
from infrastructure.storage.watch_log import WatchLog
from shared.settings import Settings


def add_period(parser: argparse.ArgumentParser, since: str | None = None) -> None:
    """Add the environment and the period.

    Args:
        since: how long ago it begins by default; None for the first prediction.
    """
    add_environment(parser)
    when = 'a time such as "2026-11-20 14:00", or how long ago, such as 24h or 7d'
    first = since or "the first one"
    parser.add_argument(
        "--since", type=valid_moment, default=since, help=f"{when} (default: {first})"
    )
    parser.add_argument("--until", type=valid_moment, help=f"{when} (default: now)")


def period_of(args: argparse.Namespace) -> tuple[float, float]:
    """The period that the user chose, in seconds since the epoch; its end is not part of it.

    Raises:
        DataError: it ends before it begins.
    """
    since = args.since.timestamp() if args.since else 0.0
    until = args.until.timestamp() if args.until else time.time()
    if since >= until:
        raise DataError("SINCE is not before UNTIL: no prediction can be in between")
    return since, until


@contextmanager
def open_log(
    settings: Settings, name: str, env: str, version: str | None = None
) -> Iterator[WatchLog]:
    """The log of PREDICTION_LOG_URL, else of what is deployed in an environment.

    It removes no old rows. A log that several environments share has the rows of all of them.

    Args:
        name: registered name of the model.
        version: the deployed one, for its drift.

    Raises:
        PredictionLogError: there is none, or it cannot be opened.
    """
    url = LocalEnvironment(settings.releases_dir / env).log_url(settings.prediction_log_url)
    file = sqlite_file(url)
    if file and not file.exists():
        deployed = _environments(settings, name)
        where = f"deployed here: {', '.join(deployed)}" if deployed else "nothing is deployed here"
        if serving := [env for env, serves in deployed.items() if serves]:
            where = f"{name} is deployed in {', '.join(serving)}"
        raise PredictionLogError(
            f"there is no prediction log {file}: choose another ENV ({where}; see make status), or "
            "set PREDICTION_LOG_URL"
        )
    log = WatchLog(url, name, float("inf"), version=version, environment=env)
    try:
        yield log
    finally:
        log.close()


def no_predictions(
    settings: Settings, name: str, env: str, version: str | None = None
) -> PredictionLogError:
    """The error of a period in which a model, or a version of it, has made no prediction."""
    which = f"{name} {version}" if version else name
    others = [other for other, serves in _environments(settings, name).items() if serves]
    where = f" ({name} is deployed in {', '.join(others)})" if others and env not in others else ""
    return PredictionLogError(
        f"no prediction of {which} in the log of {env} in this period: choose another SINCE, "
        f"UNTIL, VERSION or ENV{where}"
    )


def _environments(settings: Settings, name: str) -> dict[str, bool]:
    """The environments here with a deployment, and whether it serves the model."""
    folders = sorted(path.parent for path in settings.releases_dir.glob("*/current.json"))
    releases = {folder.name: LocalEnvironment(folder).current_if_known() for folder in folders}
    return {env: bool(found and found.model == name) for env, found in releases.items()}


def package_version(
    registry: MlflowRegistry, name: str, which: str | None, logged: list[str | None]
) -> str | None:
    """The package version that the user chose; it may be in the log only."""
    if which is None or which in logged:
        return which
    return registry.find(name, which).package_version


def packages_of(registry: MlflowRegistry, name: str, logged: list[str]) -> dict[str, ModelPackage]:
    """The packages of some versions that are still there, by package version."""
    known: dict[str, ModelPackage] = {}
    for version in registry.versions(name):
        if version.package_version in logged:
            try:
                registry.folder_of(version)
            except RegistryError:
                continue
            known[version.package_version] = registry.open_package(version)
    return known


def contracts_of(registry: MlflowRegistry, name: str, logged: list[str]) -> Contracts:
    """The contracts of the champion and of the versions whose packages are still there."""
    champion = registry.open_package(registry.find(name, CHAMPION)).spec
    if isinstance(champion.output, Transcript):
        raise ContractError(f"{name} takes recordings, which are not logged")
    packages = packages_of(registry, name, logged)
    return Contracts({version: package.spec for version, package in packages.items()}, champion)
