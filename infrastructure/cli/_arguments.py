"""Arguments that several commands share, checked before they become part of a path or address."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from application.registry.history import parse_time
from domain.errors import ConfigError
from shared.paths import ROOT

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def read_default(variable: str, makefile: Path = ROOT / "Makefile") -> str:
    """The default of a variable that the Makefile sets, such as ``MODEL``.

    Raises:
        ConfigError: the Makefile does not set it.
    """
    line = re.search(rf"^{variable} *[:?]?= *(\S+)", makefile.read_text("utf-8"), re.MULTILINE)
    if not line:
        raise ConfigError(f"{makefile} does not set {variable}")
    return line[1]


def add_model(parser: argparse.ArgumentParser, all_models: bool = False) -> None:
    """Add ``--model``.

    Args:
        all_models: whether leaving it out means all models; otherwise it means the Makefile's.
    """
    default = None if all_models else read_default("MODEL")
    parser.add_argument(
        "--model",
        type=valid_model_name,
        default=default,
        help=f"name in domain/models (default: {default or 'all models'})",
    )


def add_version(parser: argparse.ArgumentParser, default: str | None, default_text: str) -> None:
    """Add ``--version``.

    Args:
        default_text: the default as help shows it.
    """
    parser.add_argument(
        "--version",
        default=default,
        help=f"version, by number, alias, package version or run ID (default: {default_text})",
    )


def add_receipt(parser: argparse.ArgumentParser) -> None:
    """Add ``--receipt``."""
    parser.add_argument("--receipt", type=Path, help="write a receipt to this file")


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add ``--config``."""
    parser.add_argument(
        "--config",
        type=Path,
        help="JSON file (default: the model's in application/training/configs)",
    )


def add_environment(parser: argparse.ArgumentParser) -> None:
    """Add ``--env``."""
    parser.add_argument(
        "--env",
        type=valid_environment,
        default=read_default("ENV"),
        help="staging, production or any other name (default: %(default)s)",
    )


def environment_option(name: str) -> str:
    """`` ENV=name``, for a make command; empty for make's default."""
    return "" if name == read_default("ENV") else f" ENV={name}"


def add_port(parser: argparse.ArgumentParser, default: int | None, default_text: str = "") -> None:
    """Add ``--port``.

    Args:
        default_text: the default as help shows it, if it is not a fixed number.
    """
    parser.add_argument(
        "--port",
        type=valid_port,
        default=default,
        help=f"TCP port (default: {default_text or default})",
    )


def valid_model_name(text: str) -> str:
    """The name of a model, which is also the name of its files."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", text):
        raise argparse.ArgumentTypeError(
            f"{text[:80]!r} is not a valid model name: use up to 64 lower-case letters, digits "
            "and '_', starting with a letter, such as churn"
        )
    return text


def valid_time(text: str) -> datetime:
    """A time, local unless it has a time zone."""
    try:
        return parse_time(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a time: write "2026-11-20 14:00", or ISO 8601'
        ) from None


def valid_moment(text: str) -> datetime:
    """A time, or how long ago it is: a number of minutes, hours or days, such as 7d."""
    ago = re.fullmatch(r"([0-9]{1,5})([mhd])", text.strip())
    if ago:
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        return valid_time(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f'{text[:80]!r} is not a time: write "2026-11-20 14:00", ISO 8601, or how long ago it '
            "is, such as 30m, 24h or 7d"
        ) from None


def valid_port(text: str) -> int:
    """A TCP port."""
    if not (re.fullmatch("[0-9]{1,5}", text) and 0 < int(text) < 2**16):
        raise argparse.ArgumentTypeError(
            f"{text[:80]!r} is not a port: use a number from 1 to 65535, such as 3001"
        )
    return int(text)


def valid_count(text: str) -> int:
    """A number of lines or seconds."""
    if not (re.fullmatch("[0-9]{1,5}", text) and int(text) > 0):
        raise argparse.ArgumentTypeError(
            f"{text[:80]!r} is not a whole number from 1 to 99999, such as 60"
        )
    return int(text)


def valid_workers(text: str) -> int:
    """A number of processes."""
    if not (re.fullmatch("[0-9]{1,4}", text) and int(text) > 0):
        raise argparse.ArgumentTypeError(
            f"{text[:80]!r} is not a number of processes: use a number from 1 to 9999, such as 2"
        )
    return int(text)


def valid_environment(text: str) -> str:
    """The name of an environment, which is also the name of its folder."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        raise argparse.ArgumentTypeError(
            f"{text[:80]!r} is not a valid environment name: use up to 64 letters, digits, '.', "
            "'_' and '-', starting with a letter or digit, such as staging"
        )
    return text
