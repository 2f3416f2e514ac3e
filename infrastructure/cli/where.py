"""Show where everything is, and what to do next."""

from __future__ import annotations

import argparse

from infrastructure.cli import status
from infrastructure.cli._arguments import add_environment, add_model
from shared.console import show_step
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add whose commands are shown."""
    add_model(parser)
    add_environment(parser)


def run(args: argparse.Namespace) -> None:
    """Show what is deployed, the stores, and the next commands."""
    model = f" MODEL={args.model}" if args.model != "iris" else ""
    environment = f" ENV={args.env}" if args.env != "staging" else ""
    print("What is deployed; each serves its page on that address, and metrics on /metrics:")
    status.run(args)
    print("More:")
    settings = Settings.load()
    show_step("runs", "make mlflow-ui")
    show_step("packages", str(settings.packages_dir))
    show_step("predict", f"make demo{environment}; stop it with: make stop{environment}")
    config = f"application/training/configs/{args.model}_config.json"
    again = f"make quickstart{model}{environment}"
    show_step("next", f"change {config} and run {again} again; every target: make help")
