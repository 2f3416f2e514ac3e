"""What the commands that read the prediction log share: its place, and the period."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from domain.errors import DataError, PredictionLogError
from infrastructure.cli._arguments import add_environment, valid_moment
from infrastructure.deployment.local import LocalEnvironment
from infrastructure.storage.prediction_log import SqlPredictionLog, sqlite_file
from shared.settings import Settings


@dataclass(frozen=True)
class Period:
    """From `since` until before `until`, in seconds since the epoch."""

    since: float
    until: float


def add_period(parser: argparse.ArgumentParser) -> None:
    """Add the environment and the period."""
    add_environment(parser)
    when = 'a time such as "2026-11-20 14:00", or how long ago, such as 24h or 7d'
    parser.add_argument("--since", type=valid_moment, help=f"{when} (default: the first one)")
    parser.add_argument("--until", type=valid_moment, help=f"{when} (default: now)")


def period_of(args: argparse.Namespace) -> Period:
    """The period that the user chose.

    Raises:
        DataError: it ends before it begins.
    """
    since = args.since.timestamp() if args.since else 0.0
    until = args.until.timestamp() if args.until else time.time()
    if since >= until:
        raise DataError("SINCE is not before UNTIL: no prediction can be in between")
    return Period(since, until)


@contextmanager
def open_log(args: argparse.Namespace, settings: Settings, name: str) -> Iterator[SqlPredictionLog]:
    """The log of PREDICTION_LOG_URL, else of what is deployed in the environment, to read.

    Raises:
        PredictionLogError: there is none.
    """
    url = LocalEnvironment(settings.releases_dir / args.env).log_url(settings.prediction_log_url)
    file = sqlite_file(url)
    if file and not file.exists():
        raise PredictionLogError(
            f"there is no prediction log {file}: choose another ENV, or set PREDICTION_LOG_URL"
        )
    log = SqlPredictionLog(url, name, retention_days=float("inf"))  # reading removes nothing
    try:
        yield log
    finally:
        log.close()
