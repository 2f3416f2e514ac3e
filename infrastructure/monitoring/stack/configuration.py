"""Writes the configuration of Prometheus, Alertmanager and Grafana."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from infrastructure.monitoring.stack.dashboards import DASHBOARDS, dashboard

FILES = Path(__file__).parent / "files"


@dataclass(frozen=True)
class Addresses:
    """What the stack watches and where it listens, always on 127.0.0.1.

    Attributes:
        environment: name of the watched deployment, a label of all its series.
        service: its port.
        prometheus, alertmanager, grafana: ports of the stack.
        webhook: URL that Alertmanager posts alerts to; empty: it only shows them.
    """

    environment: str
    service: int
    prometheus: int = 9090
    alertmanager: int = 9093
    grafana: int = 3030
    webhook: str = ""


def write_configuration(folder: Path, addresses: Addresses) -> None:
    """Write all files of the stack to a folder, which only this user may enter.

    The address of a webhook is often a secret, and the files must be readable in containers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(FILES, folder, dirs_exist_ok=True)
    folder.chmod(0o700)
    _replace(
        folder / "prometheus.yml",
        {
            "127.0.0.1:9093": f"127.0.0.1:{addresses.alertmanager}",
            "127.0.0.1:3000": f"127.0.0.1:{addresses.service}",
            "environment: staging": f"environment: {json.dumps(addresses.environment)}",
        },
    )
    _replace(
        folder / "compose.yml",
        {
            "127.0.0.1:9090": f"127.0.0.1:{addresses.prometheus}",
            "127.0.0.1:9093": f"127.0.0.1:{addresses.alertmanager}",
            '"3030"': f'"{addresses.grafana}"',
        },
    )
    _replace(
        folder / "grafana/datasources.yml",
        {"127.0.0.1:9090": f"127.0.0.1:{addresses.prometheus}"},
    )
    receiver = "    webhook_configs:\n      - url: ALERT_WEBHOOK_URL\n"
    configured = receiver.replace("ALERT_WEBHOOK_URL", json.dumps(addresses.webhook))
    _replace(folder / "alertmanager.yml", {receiver: configured if addresses.webhook else ""})
    (folder / "grafana/dashboards").mkdir(exist_ok=True)
    for title in DASHBOARDS:
        path = folder / f"grafana/dashboards/{title.lower()}.json"
        path.write_text(json.dumps(dashboard(title), indent=2) + "\n", encoding="utf-8")


def _replace(path: Path, replacements: dict[str, str]) -> None:
    """Replace texts, each of which must be there."""
    text = path.read_text(encoding="utf-8")
    for old, new in replacements.items():
        if old not in text:
            raise ValueError(f"{path.name} does not contain {old!r}")
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
