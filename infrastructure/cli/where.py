"""Show where everything is, and what to do next."""

from __future__ import annotations

import argparse

from infrastructure.cli import status
from infrastructure.cli._arguments import (
    add_environment,
    add_model,
    environment_option,
    read_default,
)
from shared.console import show_step
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model and the environment."""
    add_model(parser)
    add_environment(parser)


def run(args: argparse.Namespace) -> None:
    """Show what is deployed, where models are stored, and the next commands."""
    model = f" MODEL={args.model}" if args.model != read_default("MODEL") else ""
    environment = environment_option(args.env)
    print("Deployed (open an address for the service's page; metrics are at /metrics):")
    status.run(args)
    print("More:")
    settings = Settings.load()
    show_step("runs", "make mlflow-ui")
    show_step("packages", str(settings.packages_dir))
    if (settings.releases_dir / args.env / "current.json").exists():
        show_step("predict", f"make demo{environment}")
        show_step("stop", f"make stop{environment}")
    else:
        show_step("deploy", f"make deploy{model}{environment}")
    config = f"application/training/configs/{args.model}_config.json"
    show_step("next", f"edit {config}, then run: make quickstart{model}{environment}")
    show_step("help", "make help lists every target")
