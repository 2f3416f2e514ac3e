"""Browse runs and versions in MLflow's web interface."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from typing import Any

from domain.errors import ConfigError
from infrastructure.cli._arguments import add_port
from infrastructure.tracking.database import prepare_database
from shared.console import show_step
from shared.ports import holder_of, listens
from shared.settings import Settings

# Without it, MLflow 3 shows its pages for language models, which list no runs. MLflow's own links
# drop it, so this command shows a link for each experiment.
_VIEW = "?workflowType=machine_learning"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the port."""
    add_port(parser, 5000)


def run(args: argparse.Namespace) -> int:
    """Serve MLflow's web interface until interrupted, and open it in a browser if there is one."""
    uri = Settings.load().tracking_uri
    if uri.startswith("http"):
        _open(uri.rstrip("/"))
        return 0
    if listens(args.port):
        raise ConfigError(
            f"port {args.port} is in use by {holder_of(args.port)}: stop that process, or choose "
            f"another port: make mlflow-ui PORT={args.port + 1}"
        )
    prepare_database(uri)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--workers", "1"]
    # otherwise MLflow starts seven background processes for jobs of language models
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}
    show_step("mlflow", "starting, about ten seconds ...")
    with subprocess.Popen([*command, "--port", str(args.port)], env=environment) as server:
        threading.Thread(target=_open_when_ready, args=(server, args.port), daemon=True).start()
        try:
            return server.wait()
        except KeyboardInterrupt:
            server.terminate()
    return 0


def _open_when_ready(server: subprocess.Popen[bytes], port: int) -> None:
    while server.poll() is None:
        if listens(port):
            _open(f"http://127.0.0.1:{port}")
            show_step("stop", "press Ctrl-C")
            return
        time.sleep(0.2)


def _open(server: str) -> None:
    """Show a link to each experiment, and open the newest one."""
    links = {
        found["name"]: f"{server}/#/experiments/{found['experiment_id']}/runs{_VIEW}"
        for found in _experiments(server)
        if found["experiment_id"] != "0"  # MLflow's own
    } or {"browse": f"{server}/#/experiments{_VIEW}"}
    for name, link in links.items():
        show_step(name, link)
    # without a desktop, this could be a text browser that takes over the terminal
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(next(iter(links.values())))


def _experiments(server: str) -> list[dict[str, Any]]:
    """The experiments, newest first; empty if the server requires authentication."""
    query = {"max_results": 100, "order_by": ["last_update_time DESC"]}
    request = urllib.request.Request(
        f"{server}/api/2.0/mlflow/experiments/search",
        json.dumps(query).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # nosec B310  # from settings
            found: list[dict[str, Any]] = json.load(response).get("experiments", [])
            return found
    except (OSError, ValueError):
        return []
