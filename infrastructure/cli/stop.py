"""Stop what is deployed in an environment."""

from __future__ import annotations

import argparse

from domain.errors import RegistryError
from infrastructure.cli._releases import add_environment_and_port, open_environment, record_change
from infrastructure.cli._targets import recorded_target, stop
from shared.console import show_step
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the environment and its port."""
    add_environment_and_port(parser)


def run(args: argparse.Namespace) -> None:
    """Stop the service; on this machine the front, the release and its canary."""
    settings = Settings.load()
    folder = settings.releases_dir / args.env
    with recorded_target(folder) as target:
        if target:
            stopped = stop(target, folder)
            show_step("stopped", args.env if stopped else f"nothing: {args.env} was not running")
            return
    environment = open_environment(args, settings)
    stopped = False
    try:
        with record_change("stop", args, settings, environment):
            stopped = environment.stop()
    except RegistryError as error:  # a service must be stopped whatever the ledger's state
        with environment.alone():
            stopped = environment.stop() or stopped
        state = "is stopped" if stopped else "was not running"
        raise RegistryError(f"{args.env} {state}, but not recorded: {error}") from error
    show_step("stopped", args.env if stopped else f"nothing: {args.env} was not running")
