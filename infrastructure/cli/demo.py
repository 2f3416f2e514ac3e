"""Send a deployed service a request and its feedback, and show the metrics that change."""

from __future__ import annotations

import argparse

from domain.errors import DeploymentError
from infrastructure.cli._releases import add_environment_and_port, open_environment
from infrastructure.deployment.demo import Service, demonstrate
from infrastructure.deployment.golden import golden_of
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the environment and its port."""
    add_environment_and_port(parser)


def run(args: argparse.Namespace) -> None:
    """Send the request and the feedback."""
    environment = open_environment(args, Settings.load())
    release = environment.current()
    if release is None:
        raise DeploymentError(
            f"nothing is deployed in {args.env}: run make deploy ENV={args.env} MODEL=…"
        )
    service = Service(f"http://127.0.0.1:{environment.port}", release.api_key, release.model)
    demonstrate(service, golden_of(release.bento))
