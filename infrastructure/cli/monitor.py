"""Watch a deployed service with Prometheus, Alertmanager and Grafana, until Ctrl-C.

They run in containers where Docker or Podman has compose; otherwise Prometheus and Alertmanager run
as processes of this machine, if they are installed.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

from domain.errors import BuildError, DeploymentError
from infrastructure.cli._releases import add_environment_and_port, open_environment
from infrastructure.monitoring.stack import processes
from infrastructure.monitoring.stack.configuration import Addresses, write_configuration
from infrastructure.packaging.container_engine import find_engine
from shared.console import show_step
from shared.ports import listens
from shared.settings import MonitorSettings, Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the environment, its port, the container engine and whether to start anything."""
    add_environment_and_port(parser)
    parser.add_argument("--engine", help="docker or podman (default: the first that works)")
    parser.add_argument(
        "--files-only", action="store_true", help="write the configuration and start nothing"
    )


def run(args: argparse.Namespace) -> None:
    """Write the configuration and run the stack."""
    settings, monitor = Settings.load(), MonitorSettings.load()
    addresses = Addresses(
        args.env,
        open_environment(args, settings).port,
        monitor.prometheus_port,
        monitor.alertmanager_port,
        monitor.grafana_port,
        monitor.alert_webhook_url,
    )
    folder = settings.receipts_dir / "monitor"
    write_configuration(folder, addresses)
    show_step("written", f"{folder}: configuration, alert rules and dashboards")
    if args.files_only:
        return
    ports = {
        "PROMETHEUS_PORT": addresses.prometheus,
        "ALERTMANAGER_PORT": addresses.alertmanager,
    }
    engine = _engine(args.engine)
    if engine:
        processes.check_ports({**ports, "GRAFANA_PORT": addresses.grafana})
        _show(addresses, f"http://127.0.0.1:{addresses.grafana}")
        if subprocess.run(processes.compose_command(engine, folder), check=False).returncode:
            raise DeploymentError(f"{engine} compose has failed: see its output above")
        return
    commands = processes.local_commands(folder, addresses)
    processes.check_ports(ports)
    used = dict(zip(commands, ports.values(), strict=True))
    with processes.running(commands, used, folder) as started:
        _show(addresses, _without_grafana(folder))
        processes.wait_for_end(started, folder)


def _engine(wanted: str | None) -> str | None:
    """The container engine to use; None if none works, unless one is wanted."""
    try:
        engine = find_engine(wanted or None)
    except BuildError:
        if wanted:
            raise
        return None
    if processes.has_compose(engine):
        return engine
    if wanted:
        raise DeploymentError(f"{engine} has no compose: install its compose plugin")
    return None


def _without_grafana(folder: Path) -> str:
    return f"not started, as it needs a container engine: import {folder}/grafana/dashboards"


def _show(addresses: Addresses, grafana: str) -> None:
    service = f"http://127.0.0.1:{addresses.service}/metrics"
    absent = "" if listens(addresses.service) else ", where nothing listens yet"
    show_step("service", f"{addresses.environment}: {service}{absent}")
    show_step("metrics", f"Prometheus: http://127.0.0.1:{addresses.prometheus}")
    sent = (
        "sent to ALERT_WEBHOOK_URL" if addresses.webhook else "sent nowhere: set ALERT_WEBHOOK_URL"
    )
    show_step("alerts", f"Alertmanager: http://127.0.0.1:{addresses.alertmanager}, {sent}")
    show_step("grafana", grafana)
    show_step("running", "until Ctrl-C")
